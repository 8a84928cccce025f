//! Delivery into Maildir, one message by process and many by LMTP.
#![doc(html_no_source)]

pub mod sieve;
pub mod submit;
