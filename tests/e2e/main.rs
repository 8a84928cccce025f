//! End to end: mail through two real Postfix instances, a signing and a verifying milter, into a Maildir.
//!
//! With `SUBJECT=reference` the milters are Debian's opendkim; what only ours can do is skipped with a printed line.

mod delivery;
mod dialogue;
mod faults;
mod site;
mod verdicts;
