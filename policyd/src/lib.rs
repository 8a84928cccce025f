//! Limits on what may be sent, and greylisting, by Postfix's policy protocol.
//!
//! Read [`pipeline`] first: it tells the story of one request.
#![doc(html_no_source)]

pub mod action;
pub mod active;
pub mod cli;
pub mod client;
pub mod clock;
pub mod condition;
pub mod config;
pub mod control;
pub mod decide;
pub mod equipment;
pub mod greylist;
pub mod import;
pub mod key;
pub mod limiter;
pub mod limits;
pub mod list;
pub mod lists;
pub mod lookup;
pub mod messages;
pub mod metrics;
pub mod notice;
pub mod pipeline;
pub mod postfix_check;
pub mod protocol;
pub mod rate;
pub mod report;
pub mod server;
pub mod store;
pub mod timezone;
pub mod tools;
