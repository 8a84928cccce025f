//! Sieve end to end: postrider-lda delivers to a user with scripts, sendmail is a program that records what it is given,
//! and a real Dovecot reads the flags. Some seconds long.

mod answers;
mod faults;
mod folders;
mod lab;
mod lmtp;
mod pigeonhole;
mod redirects;
