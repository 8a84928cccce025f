//! The Dovecot auth protocol for SMTP servers: who may log in, checked against the admin's own users.
//!
//! Read [`pipeline`] first: it tells one authentication from line to line.

pub mod active;
pub mod authenticate;
pub mod cache;
pub mod chain;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod field_templates;
pub mod fields;
pub mod hashing;
pub mod import;
pub mod ldap;
pub mod lookup;
pub mod mechanism;
pub mod metrics;
pub mod networks;
pub mod oauth;
pub mod outcome;
pub mod passdb;
pub mod password;
pub mod pipeline;
mod program;
mod record;
pub mod report;
pub mod request;
pub mod server;
pub mod session;
pub mod sql;
pub mod throttle;
mod tls;
pub mod tools;
mod user_file;
pub mod userdb;
pub mod userdb_client;
pub mod userdb_session;
pub mod username;
pub mod variables;
