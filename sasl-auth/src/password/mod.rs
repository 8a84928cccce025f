//! Stored passwords: `{SCHEME}data` in all of Dovecot's schemes, to verify, to convert, to make.
//!
//! [`Stored::parse`] reads what an admin's file or database holds; [`Stored::verify`] compares it
//! with a password and may take long ([`Stored::cost`] tells), so [`crate::hashing::Pool`] runs it.
//! [`generate`] makes new ones.

mod argon2;
mod cram_md5;
mod crypt;
mod digest;
mod encoding;
mod error;
mod generate;
mod otp;
mod pbkdf2;
mod scheme;
mod scram;
mod stored;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use error::{HashError, SchemeError};
pub use generate::{YESCRYPT, generate};
pub use scheme::{Encoding, Scheme, schemes};
pub use scram::unknown_user;
pub use stored::{Cost, Stored};

/// Rounds, iterations or passes beyond this are refused in every scheme that counts them one by
/// one: a check would take longer than any client waits (SHA-512 crypt needs some 3 s for them).
const MOST_ROUNDS: u32 = 10_000_000;

/// The most memory that one check may ask for, in bytes.
const MOST_MEMORY: u64 = 1 << 30;
