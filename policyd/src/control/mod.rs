//! `status`, `top`, `reset`, `raise` and `explain`: a running service looked at and changed by hand.
//!
//! A line of JSON with a question comes over a UNIX socket, a line of JSON with the answer goes back
//! ([`message`]). `server` knows who may ask, `answer` does it, `client` asks, `show` makes tables.

mod answer;
pub mod client;
pub mod message;
pub mod recent;
pub mod server;
pub mod show;

/// The longest line that goes either way, in bytes.
pub const LONGEST_LINE: usize = 1 << 20;
