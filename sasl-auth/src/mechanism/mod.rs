//! SASL mechanisms as state machines: bytes of the client in, what to do next out. No sockets, no clock.
//!
//! [`Mechanism::new`] makes one exchange; [`Mechanism::start`] takes the initial response, and each
//! [`Step`] names the call that comes next. [`offer`] tells which mechanisms there are, how the
//! greeting describes them, and what each needs of the passdbs.
//!
//! Names and passwords go as the client sent them: no SASLprep (RFC 4013) is applied, as in Dovecot,
//! so that hashes made by other programs stay valid.

mod anonymous;
mod bearer;
mod cram_md5;
mod crypto;
mod exchange;
mod external;
mod login;
pub mod offer;
mod plain;
pub mod scram;
#[cfg(test)]
mod tests;

use base::secret::Secret;

pub use bearer::{Bearer, parse_oauthbearer, parse_xoauth2};
pub use cram_md5::{CramResponse, cram_md5_digest, parse_cram_md5};
pub use exchange::{Environment, Mechanism};
pub use offer::{Abilities, Description, Need, descriptions, offerable, offered};
pub use plain::parse_plain;

/// What the mechanism needs or has found out. After every variant but the last three the exchange
/// goes on with the call that the variant names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this to the client, then call `respond` with the answer.
    Challenge(Vec<u8>),
    /// Check a clear-text password, then call `checked`.
    Verify(Identity, Secret),
    /// Look up what [`CredentialKind`] names, then call `credentials`.
    Credentials(Identity, CredentialKind),
    /// Check a bearer token, then call `token_checked`.
    Token {
        /// The user that the client says it is (`user=` or `a=`); may be empty for OAUTHBEARER.
        user: String,
        /// The token.
        token: Secret,
    },
    /// The user is known without a password (ANONYMOUS, EXTERNAL): the user must still exist in a
    /// passdb for EXTERNAL. Then call `checked`.
    Trusted(Identity),
    /// Authenticated. `data` is sent with the success (SCRAM's server-final message).
    Success {
        /// Final data for the client, inside OK or as a last challenge.
        data: Option<Vec<u8>>,
    },
    /// Not authenticated.
    Failure(Refusal),
}

/// Who the client says it is. Names are as sent: not normalised, UTF-8, without NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whose password it is (authcid).
    pub authentication: String,
    /// Whom the client wants to act for (authzid); `None` when absent, empty or the same.
    pub authorization: Option<String>,
}

/// The form of the password that a mechanism can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// The two MD5 states of HMAC-MD5 (32 bytes).
    CramMd5,
    /// Iterations, salt, `StoredKey`, `ServerKey` with SHA-1.
    ScramSha1,
    /// The same with SHA-256.
    ScramSha256,
}

/// What was found for a [`CredentialKind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// For [`CredentialKind::CramMd5`]: the state after the inner pad, then after the outer pad.
    CramMd5(Secret),
    /// For the SCRAM kinds.
    Scram(ScramKeys),
}

/// A SCRAM verifier (RFC 5802 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Iteration count, at least 1.
    pub iterations: u32,
    /// The salt, decoded.
    pub salt: Vec<u8>,
    /// `StoredKey`, 20 or 32 bytes.
    pub stored_key: Secret,
    /// `ServerKey`, 20 or 32 bytes.
    pub server_key: Secret,
}

/// Why a mechanism gives up, before or after the password was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// What the client sent does not follow the mechanism; the text says how, for the log.
    InvalidInput(&'static str),
    /// Password, response, proof or token is wrong, or the user is unknown.
    Mismatch,
}
