//! Hash functions by one name each, plain digests and comparison in constant time.

use aws_lc_rs::{constant_time, digest, hmac};
use base::secret::Secret;
use md4::Md4;
use md5::{Digest as _, Md5};

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Md4,
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    /// Bytes of its digest.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Md4 | Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The digest of all `parts` one after the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> Secret {
        let algorithm = match self {
            Self::Md4 => {
                let mut state = Md4::new();
                parts.iter().for_each(|part| state.update(part));
                return Secret::new(state.finalize().as_slice());
            }
            Self::Md5 => {
                let mut state = Md5::new();
                parts.iter().for_each(|part| state.update(part));
                return Secret::new(state.finalize().as_slice());
            }
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        let mut state = digest::Context::new(algorithm);
        parts.iter().for_each(|part| state.update(part));
        Secret::new(state.finish().as_ref())
    }

    /// The HMAC of `data`; `None` for MD4 and MD5, which nothing here asks for.
    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Option<Secret> {
        let algorithm = match self {
            Self::Md4 | Self::Md5 => return None,
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        Some(Secret::new(hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref()))
    }
}

/// MD5 of `user:realm:password`, the realm being what follows the user's last `@`, or empty
/// (RFC 2831 §2.1.2.1 without the challenge; Dovecot 2.3.19 observed).
pub(super) fn digest_md5(user: &str, password: &[u8]) -> Secret {
    let (user, realm) = user.rsplit_once('@').unwrap_or((user, ""));
    Hash::Md5.of(&[user.as_bytes(), b":", realm.as_bytes(), b":", password])
}

/// Whether both are the same, in a time that depends on their lengths only.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}
