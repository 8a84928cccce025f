//! Where passwords are: what every passdb driver takes and gives.
//!
//! A driver either hands out stored passwords ([`Driver::lookup`]) or only tells whether a password
//! is right ([`Driver::verify`]: PAM, LDAP bind, command).

pub(crate) mod app_passwords;
mod constant;
mod driver;
pub mod pam;
pub(crate) mod passwd_file;
mod system;

use std::fmt;

use base::secret::Secret;

use crate::fields::Fields;

pub use driver::Driver;

/// The back end could not answer: down, too slow, misconfigured. The user is not to blame; the
/// client hears of a temporary failure and the log gets the detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// For the admin: what failed and, where known, what to do. Holds no password.
    pub detail: String,
}

impl Unavailable {
    /// A failure with its explanation.
    #[must_use]
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// What a passdb knows of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Stored passwords, the user's own first, then app passwords. Any of them opens.
    pub passwords: Vec<StoredPassword>,
    /// Extra fields (`nologin`, `allow_nets`, `user`, `userdb_home` …) without the password.
    pub fields: Fields,
}

/// One stored password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPassword {
    /// `{SCHEME}data`, or bare data in the passdb's default scheme. Empty with `nopassword`.
    pub text: Secret,
    /// The name of an app password for the log; `None` for the user's own password.
    pub label: Option<String>,
    /// The services it opens (`smtp`, `imap`); empty means all.
    pub services: Vec<String>,
    /// The second (UNIX time) from which it no longer opens.
    pub expires: Option<u64>,
}

/// Answer of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// There is no such user here.
    Unknown,
    /// The user's entry.
    Found(Entry),
    /// This driver hands out no passwords; ask [`Driver::verify`]. Fields that it knows without a
    /// password (a PASS lookup shows them) come along.
    OnlyVerifies,
}

/// Answer of a driver that checks passwords itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right; extra fields as in [`Entry::fields`].
    Right(Fields),
    /// The user exists, or the driver does not tell; the password is wrong. The text says what the
    /// back end said, for the log (`pam_authenticate() failed: …`); may be empty.
    Wrong(String),
    /// There is no such user.
    Unknown,
    /// The back end refuses the user though the password may be right (account locked, not at this hour).
    /// The text is for the log.
    Refused(String),
    /// The password or the account has expired. The text is for the log.
    Expired(String),
}
