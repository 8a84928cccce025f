//! The LMTP server (RFC 2033): bytes ↔ commands and replies without sockets, and the loop that owns the socket.
//!
//! | file | its job |
//! |---|---|
//! | [`path`] | the addresses of MAIL and RCPT |
//! | [`command`] | one line → one command |
//! | [`reply`] | one reply → its bytes |
//! | [`data`] | what follows DATA and BDAT → the message |
//! | [`session`] | the conversation: who may say what, and what is answered |
//! | [`trace`] | Return-Path, Delivered-To, Received |
//! | [`agent`] | users, files, deliveries: what the conversation needs from outside |
//! | [`slots`] | transactions of one user at a time |
//! | [`identity`] | acting as a recipient |
//! | [`connection`], [`stream`] | one connection: reads, writes, time limits |
//! | [`server`], [`service`] | the daemon's loop, and what all connections share |
//! | [`metrics`] | figures |
//! | [`program`], [`cli`] | from the command line to the exit code |

pub mod agent;
pub mod cli;
pub mod command;
pub mod connection;
pub mod data;
pub mod identity;
pub mod metrics;
pub mod path;
pub mod program;
pub mod reply;
pub mod server;
pub mod service;
pub mod session;
pub mod slots;
pub mod stream;
pub mod trace;
