//! Delivery into Maildir, one message by process and many by LMTP.
//!
//! [`pipeline`] tells what happens to a message. Nothing here needs a runtime: all of it blocks, and the LMTP server
//! gives each connection a thread.
#![doc(html_no_source)]

pub mod bounce;
pub mod check_user;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod envelope;
pub mod lmtp;
pub mod location;
pub mod maildir;
pub mod message;
pub mod outcome;
pub mod own_file;
pub mod pipeline;
pub mod plan;
pub mod program;
pub mod quota;
pub mod recipient;
pub mod report;
pub mod sieve;
pub mod submit;
pub mod userdb;
pub mod variables;
