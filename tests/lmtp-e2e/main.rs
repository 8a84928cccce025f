//! `postrider-lmtp` end to end: Maildirs, limits, kills, restarts, faults, Postfix in front and Dovecot behind.
//!
//! `LONG=1` runs the long forms: 1,000 messages under Postfix with kills, 60 s of delivery beside Dovecot; `LMTP_KILLS=1000`
//! that of `kills.rs`.

mod bounds;
mod delivery;
mod disk;
mod faults;
mod imap;
mod kills;
mod postfix;
mod service;
mod under_postfix;

/// Whether the long forms are to be run.
fn long() -> bool {
    std::env::var_os("LONG").is_some()
}
