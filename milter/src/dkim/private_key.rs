//! Private keys as admins have them: PEM, DER, base64 in one line, an Ed25519 seed.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::crypto::{MAXIMUM_RSA_BITS, MINIMUM_SIGNING_BITS, Refused, SigningKey};

/// The largest key file that is looked at, in octets; 8192-bit RSA takes about 6500 as PEM.
pub const MAX_KEY_BYTES: usize = 65_536;

/// Why something is no private key to sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There is nothing in it.
    Empty,
    /// It is longer than [`MAX_KEY_BYTES`].
    TooLong,
    /// It is neither PEM nor DER nor base64.
    NotAKey,
    /// It is protected with a passphrase, and nobody is there to type it.
    Encrypted,
    /// It is a public key or a certificate.
    Public,
    /// It is a private key of another kind (DSA, EC, OpenSSH ...).
    OtherKind,
    /// The PEM block has no end or its base64 is broken.
    BrokenPem,
    /// The key in it is damaged, or its numbers do not fit each other.
    Corrupt,
    /// An RSA key with fewer bits than can be used for signing.
    TooSmall {
        /// Its size.
        bits: u32,
    },
    /// An RSA key with more than 8192 bits.
    TooLarge {
        /// Its size.
        bits: u32,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no key in it"),
            Self::TooLong => write!(f, "longer than {MAX_KEY_BYTES} bytes"),
            Self::NotAKey => f.write_str("neither PEM nor DER nor base64 of a private key"),
            Self::Encrypted => f.write_str("the key is encrypted with a passphrase"),
            Self::Public => f.write_str("a public key or certificate, not a private key"),
            Self::OtherKind => f.write_str("not an RSA or Ed25519 private key"),
            Self::BrokenPem => f.write_str("the PEM text is damaged"),
            Self::Corrupt => f.write_str("the private key is damaged"),
            Self::TooSmall { bits } => {
                write!(f, "the RSA key has {bits} bits; signing needs at least {MINIMUM_SIGNING_BITS}")
            }
            Self::TooLarge { bits } => {
                write!(f, "the RSA key has {bits} bits; the largest usable has {MAXIMUM_RSA_BITS}")
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl SigningKey {
    /// Reads a private key in any of the usual forms: PEM of PKCS#1 or PKCS#8 (text before it
    /// and other blocks are skipped), DER of the same, base64 of the DER, or base64 of the 32
    /// octets of an Ed25519 seed (RFC 8463 §A.1). Copies made on the way are wiped.
    ///
    /// # Errors
    /// [`KeyError`] says what it is instead.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong);
        }
        if text.trim_ascii().is_empty() {
            return Err(KeyError::Empty);
        }
        if memchr::memmem::find(text, BEGIN).is_some() {
            return from_pem(text);
        }
        if text.first() == Some(&SEQUENCE) && der_value(text, SEQUENCE).is_some() {
            return from_der(text);
        }
        let octets = base64_octets(text).ok_or(KeyError::NotAKey)?;
        match <&[u8; 32]>::try_from(octets.as_slice()) {
            Ok(seed) => Self::ed25519_from_seed(seed).map_err(|Refused| KeyError::Corrupt),
            Err(_) => from_der(&octets),
        }
    }
}

fn from_pem(text: &[u8]) -> Result<SigningKey, KeyError> {
    let mut rest = text;
    let mut error = KeyError::BrokenPem;
    while let Some(at) = memchr::memmem::find(rest, BEGIN) {
        rest = rest.get(at + BEGIN.len()..).unwrap_or_default();
        let label_end = memchr::memmem::find(rest, b"-----").ok_or(KeyError::BrokenPem)?;
        let (label, after) = rest.split_at_checked(label_end).unwrap_or_default();
        rest = after.get(5..).unwrap_or_default();
        let end = memchr::memmem::find(rest, b"-----END ").ok_or(KeyError::BrokenPem)?;
        let (body, after) = rest.split_at_checked(end).unwrap_or_default();
        rest = after;
        match label {
            b"ENCRYPTED PRIVATE KEY" => error = KeyError::Encrypted,
            b"RSA PRIVATE KEY" if memchr::memmem::find(body, b"ENCRYPTED").is_some() => {
                error = KeyError::Encrypted;
            }
            b"RSA PRIVATE KEY" | b"PRIVATE KEY" => {
                return from_der(&base64_octets(body).ok_or(KeyError::BrokenPem)?);
            }
            label if label.ends_with(b"PRIVATE KEY") => error = KeyError::OtherKind,
            _ if error == KeyError::BrokenPem => error = KeyError::Public,
            _ => {}
        }
    }
    Err(error)
}

/// Without white space, so that PEM lines and a folded one-line key read alike.
fn base64_octets(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let dense: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect());
    // Made large enough at once: a growing vector would leave copies behind.
    let mut octets = Zeroizing::new(vec![0; dense.len() / 4 * 3 + 3]);
    let length = BASE64_STANDARD.decode_slice(dense.as_slice(), &mut octets).ok()?;
    octets.truncate(length);
    Some(octets)
}

fn from_der(der: &[u8]) -> Result<SigningKey, KeyError> {
    let (key, _) = der_value(der, SEQUENCE).ok_or(KeyError::NotAKey)?;
    // A public key begins with its modulus or with an algorithm, a private key with a version.
    let (version, rest) = der_value(key, INTEGER).ok_or(KeyError::Public)?;
    if version.len() > 1 {
        return Err(KeyError::Public);
    }
    if let Some((modulus, _)) = der_value(rest, INTEGER) {
        return rsa(der, modulus, false);
    }
    let (algorithm, rest) = der_value(rest, SEQUENCE).ok_or(KeyError::OtherKind)?;
    match der_value(algorithm, OBJECT_IDENTIFIER).ok_or(KeyError::Corrupt)?.0 {
        RSA_ENCRYPTION => {
            let pkcs1 = der_value(rest, OCTET_STRING).and_then(|(inner, _)| der_value(inner, SEQUENCE));
            let modulus = pkcs1
                .and_then(|(fields, _)| der_value(fields, INTEGER))
                .and_then(|(_, fields)| der_value(fields, INTEGER));
            rsa(der, modulus.ok_or(KeyError::Corrupt)?.0, true)
        }
        ID_ED25519 => SigningKey::ed25519_from_pkcs8(der).map_err(|Refused| KeyError::Corrupt),
        _ => Err(KeyError::OtherKind),
    }
}

fn rsa(der: &[u8], modulus: &[u8], pkcs8: bool) -> Result<SigningKey, KeyError> {
    let bits = bits(modulus);
    match bits {
        ..MINIMUM_SIGNING_BITS => Err(KeyError::TooSmall { bits }),
        MINIMUM_SIGNING_BITS..=MAXIMUM_RSA_BITS => {
            SigningKey::rsa_from_der(der, pkcs8).map_err(|Refused| KeyError::Corrupt)
        }
        _ => Err(KeyError::TooLarge { bits }),
    }
}

fn bits(integer: &[u8]) -> u32 {
    let skip = integer.iter().position(|octet| *octet != 0).unwrap_or(integer.len());
    let magnitude = integer.get(skip..).unwrap_or_default();
    let all = u32::try_from(magnitude.len() * 8).unwrap_or(u32::MAX);
    all - magnitude.first().map_or(0, |octet| octet.leading_zeros())
}

/// The contents of a DER value that has this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (short, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*short) {
        length @ ..0x80 => (length, rest),
        long => {
            let (octets, rest) = rest.split_at_checked(long & 0x7f)?;
            if octets.len() > 3 {
                return None;
            }
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
    };
    if *first != tag { None } else { rest.split_at_checked(length) }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.3.101.112
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

#[cfg(test)]
mod tests;
