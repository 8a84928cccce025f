//! Limits on what may be sent, and greylisting, by Postfix's policy protocol.
#![doc(html_no_source)]

pub mod greylist;
pub mod postfix_check;
