//! `postrider-lmtp` end to end: Maildirs, limits, kills, restarts, Postfix in front and Dovecot behind.
//!
//! `LMTP_KILLS=1000` makes the kills of `kills.rs` the long form (25 otherwise).

mod bounds;
mod delivery;
mod kills;
mod postfix;
mod service;
