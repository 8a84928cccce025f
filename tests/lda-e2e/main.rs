//! End to end: postrider-lda under Postfix, beside Dovecot, killed, out of space, with bad disks and bad input.
//!
//! `LONG=1` runs the long forms: 1,000 kills and 60 s of delivery beside Dovecot.

mod beside_dovecot;
mod disk;
mod faults;
mod input;
mod kills;
mod lab;
mod power;
mod under_postfix;
mod users;
