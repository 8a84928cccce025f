//! What mechanisms need of cryptography: the two hashes of SCRAM with their HMACs, and a comparison that
//! takes the same time wherever the difference is.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

use super::CredentialKind;

/// Which SCRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sha {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

impl Sha {
    /// The mechanism's name.
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
        }
    }

    /// Bytes of a digest: 20 or 32.
    pub(super) fn output_len(self) -> usize {
        match self {
            Self::Sha1 => digest::SHA1_OUTPUT_LEN,
            Self::Sha256 => digest::SHA256_OUTPUT_LEN,
        }
    }

    pub(super) fn kind(self) -> CredentialKind {
        match self {
            Self::Sha1 => CredentialKind::ScramSha1,
            Self::Sha256 => CredentialKind::ScramSha256,
        }
    }

    pub(super) fn hash(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }
}

/// Whether two digests are the same; how long it takes tells no more than their lengths.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}
