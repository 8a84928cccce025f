//! The Dovecot auth protocol for SMTP servers: who may log in, checked against the admin's own users.
//!
//! Read [`pipeline`] first: it tells one authentication from line to line.

pub mod config;
pub mod fields;
pub mod hashing;
pub mod import;
pub mod mechanism;
pub mod oauth;
pub mod passdb;
pub mod password;
pub mod request;
pub mod userdb;
pub mod variables;
