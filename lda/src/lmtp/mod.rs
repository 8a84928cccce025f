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
//! | [`slots`] | transactions of one user at a time |
//! | [`identity`] | acting as a recipient |

pub mod command;
pub mod connection;
pub mod data;
pub mod identity;
pub mod path;
pub mod reply;
pub mod session;
pub mod slots;
pub mod stream;
pub mod trace;
