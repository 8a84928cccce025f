//! Sieve scripts: what they say is to be done with a message.

use crate::maildir::{Mailboxes, Message};
use crate::pipeline::Delivery;
use crate::plan::{Plan, Sending};

/// Runs the user's scripts. `Ok(None)` when there is no script: the message goes where it would go anyway.
///
/// # Errors
/// A sentence for the log: the delivery is to be tried again.
pub fn run(
    _delivery: &Delivery<'_>,
    _boxes: &Mailboxes,
    _message: &mut Message,
) -> Result<Option<Plan>, String> {
    Ok(None)
}

/// Sends what a script wants sent, and remembers it.
///
/// # Errors
/// A sentence for the log: it could not be sent.
pub fn send(_delivery: &Delivery<'_>, _sending: &Sending, _message: &mut Message) -> Result<(), String> {
    Err("sending is not built in yet".to_owned())
}
