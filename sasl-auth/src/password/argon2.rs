//! Argon2 (RFC 9106) in its text form `$argon2id$v=19$m=65536,t=3,p=1$salt$hash`.

use argon2::{Algorithm, Argon2, Params, Version};
use base::secret::Secret;
use zeroize::Zeroizing;

use super::encoding::{from_base64, to_base64};
use super::error::HashError;
use super::{MOST_MEMORY, MOST_ROUNDS};

/// Passes times memory may not exceed this many bytes: some 10 s of work.
const MOST_TRAFFIC: u64 = 16 << 30;

/// More lanes than any server has processors.
const MOST_LANES: u32 = 128;

/// A parsed hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2Hash {
    variant: Algorithm,
    version: Version,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    digest: Secret,
}

impl Argon2Hash {
    /// Reads the text form. A missing `v=` means version 16, as in the reference implementation.
    pub(super) fn parse(data: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(data).ok().ok_or("not text")?;
        let mut fields = text.strip_prefix('$').ok_or("no $ before it")?.split('$').peekable();
        let variant = match fields.next() {
            Some("argon2d") => Algorithm::Argon2d,
            Some("argon2i") => Algorithm::Argon2i,
            Some("argon2id") => Algorithm::Argon2id,
            _ => return Err("unknown variant of Argon2"),
        };
        let version = match fields.next_if(|field| field.starts_with("v=")) {
            None | Some("v=16") => Version::V0x10,
            Some("v=19") => Version::V0x13,
            Some(_) => return Err("unknown version of Argon2"),
        };
        let mut numbers = fields.next().ok_or("no parameters")?.split(',');
        let mut number =
            |name: &str| numbers.next()?.strip_prefix(name)?.strip_prefix('=')?.parse::<u32>().ok();
        let memory_kib = number("m").ok_or("no memory (m=)")?;
        let passes = number("t").ok_or("no passes (t=)")?;
        let lanes = number("p").ok_or("no lanes (p=)")?;
        let mut bytes = |why| fields.next().and_then(|text| from_base64(text.as_bytes())).ok_or(why);
        let salt = bytes("no salt")?.expose().to_vec();
        let digest = bytes("no digest")?;
        if !(8..=64).contains(&salt.len()) || !(4..=128).contains(&digest.expose().len()) {
            return Err("salt or digest of an odd length");
        }
        if passes == 0 || lanes == 0 || memory_kib < lanes.saturating_mul(8) {
            return Err("impossible parameters");
        }
        Ok(Self { variant, version, memory_kib, passes, lanes, salt, digest })
    }

    /// The text of a new hash with a digest of 32 bytes.
    pub(super) fn text(
        variant: Algorithm,
        memory_kib: u32,
        passes: u32,
        salt: Vec<u8>,
        password: &[u8],
    ) -> Result<String, HashError> {
        let digest = Secret::new(vec![0; 32]);
        let version = Version::V0x13;
        let new = Self { variant, version, memory_kib, passes, lanes: 1, salt, digest };
        let digest = new.of(password)?;
        let unpadded = |bytes: &[u8]| to_base64(bytes).trim_end_matches('=').to_owned();
        Ok(format!(
            "${variant}$v=19$m={memory_kib},t={passes},p=1${}${}",
            unpadded(&new.salt),
            unpadded(digest.expose())
        ))
    }

    /// Memory that a check takes, in bytes; 0 for a hash that [`Self::of`] refuses.
    pub(super) fn memory_bytes(&self) -> u64 {
        if self.excess().is_some() { 0 } else { u64::from(self.memory_kib) * 1024 }
    }

    fn excess(&self) -> Option<HashError> {
        let memory = u64::from(self.memory_kib) * 1024;
        if memory > MOST_MEMORY {
            Some(HashError::TooCostly("Argon2 with more than 1 GiB"))
        } else if self.lanes > MOST_LANES {
            Some(HashError::TooCostly("Argon2 with more than 128 lanes"))
        } else if self.passes > MOST_ROUNDS || memory.saturating_mul(u64::from(self.passes)) > MOST_TRAFFIC {
            Some(HashError::TooCostly("Argon2 with memory times passes beyond 16 GiB"))
        } else {
            None
        }
    }

    /// The digest of this password.
    pub(super) fn of(&self, password: &[u8]) -> Result<Secret, HashError> {
        if let Some(error) = self.excess() {
            return Err(error);
        }
        let refused = |error: argon2::Error| match error {
            argon2::Error::OutOfMemory => HashError::OutOfMemory,
            other => HashError::Library(other.to_string()),
        };
        let mut digest = Zeroizing::new(vec![0; self.digest.expose().len()]);
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(digest.len())).map_err(refused)?;
        Argon2::new(self.variant, self.version, params)
            .hash_password_into(password, &self.salt, &mut digest)
            .map_err(refused)?;
        Ok(Secret::new(digest.as_slice()))
    }

    /// The stored digest.
    pub(super) fn digest(&self) -> &[u8] {
        self.digest.expose()
    }
}
