//! The test harness: everything a test needs to run real mail through real daemons in a few lines.
//!
//! | module | what a test gets |
//! |---|---|
//! | [`scratch`] | a folder of its own |
//! | [`ports`] | ports nobody else has |
//! | [`dns`] | a DNS server that answers, lies, is slow or silent as told |
//! | [`keys`] | signing keys and their records |
//! | [`milter`] | a milter daemon, ours or the reference |
//! | [`milter_client`] | the milter protocol, one step at a time, right or wrong |
//! | [`postfix`] | a Postfix of its own |
//! | [`smtp_client`] | one SMTP command at a time |
//! | [`message`] | messages, written and read |
//! | [`second_opinion`] | what dkimpy, Mail::DKIM and mail-auth say of a signature |
//! | [`wait`] | patience with a limit |

pub mod dns;
pub mod keys;
pub mod message;
pub mod milter;
pub mod milter_client;
pub mod ports;
pub mod postfix;
pub mod scratch;
pub mod second_opinion;
pub mod smtp_client;
pub mod wait;
