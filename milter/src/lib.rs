//! DKIM signing and verifying for Postfix: the parts of `postrider-milter`.
//!
//! Read `pipeline` first: it tells what happens to one message.

pub mod config;
pub mod dkim;
pub mod keys;
pub mod table;
