//! The test harness: everything a test needs to run real mail through real daemons in a few lines.
//!
//! | module | what a test gets |
//! |---|---|
//! | [`scratch`] | a folder of its own |
//! | [`ports`] | ports nobody else has |
//! | [`dns`] | a DNS server that answers, lies, is slow or silent as told |

pub mod dns;
pub mod ports;
pub mod scratch;
pub mod wait;
