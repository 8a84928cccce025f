//! End to end: a real Postfix and a real Exim log their users in with our auth service, and Dovecot's tools use it.
//!
//! With `SUBJECT=reference` the auth service is Debian's Dovecot; what only ours can do is skipped with a printed line.

mod broken;
mod dovecot;
mod exim;
mod fail2ban;
mod import;
mod outage;
mod site;
mod submission;
