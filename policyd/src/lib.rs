//! Limits on what may be sent, and greylisting, by Postfix's policy protocol.
#![doc(html_no_source)]

pub mod action;
pub mod condition;
pub mod config;
pub mod greylist;
pub mod import;
pub mod key;
pub mod limiter;
pub mod list;
pub mod notice;
pub mod postfix_check;
pub mod protocol;
pub mod rate;
pub mod store;
pub mod timezone;
