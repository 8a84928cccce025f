//! The same LMTP dialogues with Debian's Dovecot and with ours: replies, and what lies in the Maildirs afterwards.
//!
//! docs/differences/dovecot-lmtp.md lists every intended difference by number; the dialogues here show them.

mod delivered;
mod dialogue;
mod dialogues;
mod differences;
