//! Does Postfix ask us at all, at the right stage, early enough, on a socket that it reaches? Pure: the texts of
//! `postconf` come in, findings with their lines come out.
//!
//! `main_cf` and `master_cf` read the two texts, `restrictions` takes a list apart, `endpoint` reads what
//! stands after `check_policy_service`, and `findings` says what is wrong with it.

mod endpoint;
mod findings;
mod main_cf;
mod master_cf;
mod restrictions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::config::{Report, Source};
use base::service::listen::Address;

use main_cf::MainCf;

/// What has to be known about us.
#[derive(Debug, Clone)]
pub struct Ours {
    /// Where we listen.
    pub listen: Vec<Address>,
    /// Within which time each request is answered.
    pub reply_within: Duration,
    /// Names of limits that go by the login (`sasl_username`).
    pub by_login: Vec<String>,
    /// Names of limits that go by the recipient or its domain, which DATA and END-OF-MESSAGE do not tell.
    pub by_recipient: Vec<String>,
    /// Names of limits that count bytes, which only END-OF-MESSAGE tells.
    pub by_bytes: Vec<String>,
    /// Names of limits with `stage = "rcpt"`.
    pub at_rcpt: Vec<String>,
    /// Names of limits with `stage = "data"`.
    pub at_data: Vec<String>,
    /// Names of limits with `stage = "end-of-message"`.
    pub at_end: Vec<String>,
    /// Whether greylisting is on, which needs RCPT.
    pub greylisting: bool,
}

/// Compares what `postconf -n` and `postconf -M` say with what we need.
///
/// Each finding cites its line and says what to write instead. Values that are not set have Postfix'
/// defaults (3.7, postconf(5)). A setup that is in order gives no errors or warnings, only one note for
/// each list that asks.
#[must_use]
pub fn check(main: &Arc<Source>, master: &Arc<Source>, ours: &Ours) -> Report {
    let mut report = Report::new();
    let main = MainCf::read(main);
    let services = master_cf::read(master);
    findings::all(&main, &services, ours, &mut report);
    report
}

/// The queue directory that `postconf -n` tells, or Postfix' default.
#[must_use]
pub fn queue_directory(main: &Arc<Source>) -> PathBuf {
    MainCf::read(main).queue_directory()
}

#[cfg(test)]
mod tests;
