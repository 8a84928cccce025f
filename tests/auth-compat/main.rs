//! Compatibility of the auth service: the same dialogues with Debian's Dovecot and with ours, line for line.
//!
//! Each dialogue stands here once, in the notation of [`dialogue`]. Where the two differ, the line has the number under
//! which docs/differences/dovecot-auth.md tells why; [`differences`] holds the numbers and the dialogues together.
//! `SUBJECT=reference` or `SUBJECT=ours` runs one of the two alone.

mod dialogue;
mod differences;

mod exchange;
mod fields;
mod handshake;
mod mechanisms;
mod names;
mod requests;
mod tokens;
mod userdb;
