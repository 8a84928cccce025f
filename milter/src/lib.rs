//! DKIM signing and verifying for Postfix: the parts of `postrider-milter`.
//!
//! Read [`pipeline`] first: it tells what happens to one message. docs/architecture.md draws the
//! way there and back.

pub mod active;
pub mod address;
pub mod authres;
pub mod callbacks;
pub mod cli;
pub mod config;
pub mod connection;
pub mod dkim;
pub mod dns;
pub mod edits;
pub mod framing;
pub mod judge;
pub mod keys;
pub mod outcome;
pub mod pipeline;
pub mod plan;
pub mod report;
pub mod required;
pub mod server;
pub mod session;
pub mod signing;
pub mod table;
pub mod verifying;
