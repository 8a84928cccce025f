//! `status`, `top`, `reset`, `raise` and `explain`: a running service looked at and changed by hand.
//!
//! A line of JSON with a question comes over a UNIX socket, a line of JSON with the answer goes back
//! ([`message`]). `server` knows who may ask, `answer` does it, `client` asks and shows.

pub mod recent;
