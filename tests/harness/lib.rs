//! The test harness: everything a test needs to run real mail through real daemons in a few lines.
//!
//! | module | what a test gets |
//! |---|---|
//! | [`scratch`] | a folder of its own |
//! | [`ports`] | ports nobody else has |
//! | [`dns`] | a DNS server that answers, lies, is slow or silent as told |
//! | [`keys`] | signing keys and their records |
//! | [`auth`] | an auth server, ours or the reference, and a client of its protocol |
//! | [`lmtp`] | an LMTP server, ours or the reference, and a client |
//! | [`imap`] | a real Dovecot's IMAP session over a Maildir |
//! | [`differences`] | the numbers of a document of docs/differences, each held by a case |
//! | [`disk`], [`faults`] | file systems and system calls that fail |
//! | [`sasl`] | what a client says in a SASL exchange |
//! | [`milter`] | a milter daemon, ours or the reference |
//! | [`milter_client`] | the milter protocol, one step at a time, right or wrong |
//! | [`mmdb`] | a MaxMind DB file of a few networks |
//! | [`redis`] | Redis: a server, a cluster, a master with sentinels |
//! | [`policyd`] | our policy service, and a client that asks it |
//! | [`postfix`] | a Postfix of its own |
//! | [`exim`] | an Exim that lets users log in |
//! | [`smtp_client`] | one SMTP command at a time |
//! | [`certificates`] | a CA and a server's certificate |
//! | [`postgres`], [`mariadb`], [`slapd`] | a database or directory server, stopped and started as told |
//! | [`message`] | messages, written and read |
//! | [`second_opinion`] | what dkimpy, Mail::DKIM and mail-auth say of a signature |
//! | [`wait`] | patience with a limit |
//!
//! What goes wrong panics: a test reads as what it wants. Everything is ended and removed when it is dropped; with
//! `KEEP=1` the scratch folder stays, and what a killed run has left is cleared away by the next.
//!
//! ```no_run
//! use harness::dns::{Dns, Zone};
//! use harness::keys::RSA;
//! use harness::message::Message;
//! use harness::milter::{Conf, Milter, SigningKey, Subject};
//! use harness::milter_client::{Envelope, MilterClient};
//! use harness::scratch::Scratch;
//!
//! let scratch = Scratch::new("example");
//! let key = SigningKey { key: RSA, domain: "a.example", selector: "s" };
//! let conf = Conf::signing(&scratch, "signer", &[key]);
//! let milter = Milter::start(&scratch, "signer", Subject::from_env(), &conf);
//! let message = Message::new("anna@a.example", "bob@b.example", "hello", "Hello!\n");
//! let local = Envelope { client_address: Some([127, 0, 0, 1].into()), ..Envelope::default() };
//! let outcome = MilterClient::connect(&milter).first_message(&local, &message).unwrap();
//! let signed = outcome.apply(&message).to_bytes();
//! let zone = RSA.publish(Zone::new(), "s", "a.example");
//! harness::second_opinion::assert_verified(&signed, &zone, 1);
//! ```

pub mod auth;
pub mod certificates;
mod daemon;
pub mod differences;
pub mod disk;
pub mod dns;
pub mod exim;
pub mod faults;
pub mod imap;
pub mod keys;
pub mod lmtp;
pub mod mariadb;
pub mod message;
pub mod milter;
pub mod milter_client;
pub mod mmdb;
pub mod policyd;
pub mod ports;
pub mod postfix;
pub mod postgres;
pub mod redis;
pub mod sasl;
pub mod scratch;
pub mod second_opinion;
pub mod slapd;
pub mod smtp_client;
mod syslog;
pub mod wait;
mod watchdog;
