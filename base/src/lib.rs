//! What two or more services need, and what every service is made of.
//!
//! A module enters this crate when a second service uses it, or when it is the
//! machinery of a service as such: the clock, exit codes, configuration reports,
//! the log, listeners, signals and the conversation with the service manager.
#![doc(html_no_source)]

pub mod clock;
pub mod config;
pub mod country;
pub mod dovecot;
pub mod exit;
pub mod line;
pub mod log;
pub mod passwd_file;
pub mod secret;
pub mod servers;
pub mod service;
#[cfg(feature = "sql")]
pub mod sql;
