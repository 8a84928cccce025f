//! PBKDF2 (RFC 8018 §5.2), and Dovecot's `$1$salt$rounds$hex` of it with HMAC-SHA-1.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base::secret::Secret;

use super::MOST_ROUNDS;
use super::digest::Hash;
use super::encoding::{from_hex, to_hex};
use super::error::HashError;

/// The error of every hash with more than [`MOST_ROUNDS`].
pub(super) const TOO_MANY_ROUNDS: HashError = HashError::TooCostly("more than 10000000 rounds");

/// The derived key, as long as the hash's digest.
///
/// # Errors
/// [`HashError::TooCostly`] beyond [`MOST_ROUNDS`]; [`HashError::Library`] for MD4 and MD5.
pub(super) fn derive(
    hash: Hash,
    rounds: NonZeroU32,
    salt: &[u8],
    password: &[u8],
) -> Result<Secret, HashError> {
    if rounds.get() > MOST_ROUNDS {
        return Err(TOO_MANY_ROUNDS);
    }
    let algorithm = match hash {
        Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        Hash::Md4 | Hash::Md5 => return Err(HashError::Library("no PBKDF2 of it".to_owned())),
    };
    let mut key = zeroize::Zeroizing::new(vec![0; hash.length()]);
    pbkdf2::derive(algorithm, rounds, salt, password, &mut key);
    Ok(Secret::new(key.as_slice()))
}

/// A parsed hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pbkdf2 {
    salt: String,
    rounds: NonZeroU32,
    key: Secret,
}

impl Pbkdf2 {
    /// Reads `$1$salt$rounds$hex`; the salt is used as it is written.
    pub(super) fn parse(data: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(data).ok().ok_or("not text")?;
        let mut fields = text.strip_prefix("$1$").ok_or("no $1$ before it")?.split('$');
        let salt = fields.next().unwrap_or_default().to_owned();
        let rounds = fields.next().and_then(|text| text.parse().ok()).ok_or("no rounds")?;
        let key = fields.next().and_then(|text| from_hex(text.as_bytes())).ok_or("no key")?;
        if key.expose().len() != Hash::Sha1.length() || fields.next().is_some() {
            return Err("a key of other than 20 bytes");
        }
        Ok(Self { salt, rounds, key })
    }

    /// The text of a new hash.
    pub(super) fn text(rounds: NonZeroU32, salt: &str, password: &[u8]) -> Result<String, HashError> {
        let key = derive(Hash::Sha1, rounds, salt.as_bytes(), password)?;
        Ok(format!("$1${salt}${rounds}${}", to_hex(key.expose())))
    }

    /// The key of this password.
    pub(super) fn of(&self, password: &[u8]) -> Result<Secret, HashError> {
        derive(Hash::Sha1, self.rounds, self.salt.as_bytes(), password)
    }

    /// The stored key.
    pub(super) fn key(&self) -> &[u8] {
        self.key.expose()
    }
}
