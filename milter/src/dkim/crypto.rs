//! Hashes, signatures and keys: the only file that knows aws-lc-rs.

use std::fmt;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKey as RsaPublicKey};
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_SHA256, RsaParameters,
};
use zeroize::Zeroizing;

/// The smallest RSA key that may give a pass, in bits (RFC 8301 §3.2).
pub const MINIMUM_RSA_BITS: u32 = 1024;

/// The largest RSA key that can be used, in bits.
pub const MAXIMUM_RSA_BITS: u32 = 8192;

/// The smallest RSA key that can sign, in bits: the library makes no signatures with less.
pub const MINIMUM_SIGNING_BITS: u32 = 2048;

/// SHA-256 over text that comes in pieces; small pieces are put together first.
pub(crate) struct Sha256 {
    context: Context,
    gathered: Vec<u8>,
}

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self { context: Context::new(&SHA256), gathered: Vec::new() }
    }

    pub(crate) fn update(&mut self, text: &[u8]) {
        if self.gathered.len() + text.len() > GATHER_BYTES {
            self.context.update(&self.gathered);
            self.gathered.clear();
        }
        // A call into the library costs as much as copying some hundred octets.
        if text.len() > GATHER_BYTES / 8 {
            if !self.gathered.is_empty() {
                self.context.update(&self.gathered);
                self.gathered.clear();
            }
            self.context.update(text);
        } else {
            self.gathered.extend_from_slice(text);
        }
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.context.update(&self.gathered);
        // SHA-256 gives 32 octets; were it not so, all zeros would match no hash.
        self.context.finish().as_ref().try_into().unwrap_or_default()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

const GATHER_BYTES: usize = 4096;

/// A private key that can sign. Its memory is wiped by the library when it is dropped.
pub struct SigningKey(Private);

enum Private {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// The two kinds of keys that DKIM knows (RFC 6376 §3.3, RFC 8463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `k=rsa`
    Rsa,
    /// `k=ed25519`
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// The library refused an operation; it says nothing about why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl SigningKey {
    /// RSA from DER, PKCS#1 or PKCS#8.
    pub(crate) fn rsa_from_der(der: &[u8], pkcs8: bool) -> Result<Self, Refused> {
        let pair = if pkcs8 { RsaKeyPair::from_pkcs8(der) } else { RsaKeyPair::from_der(der) };
        pair.map(|pair| Self(Private::Rsa(Box::new(pair)))).map_err(refused)
    }

    /// Ed25519 from PKCS#8 in version 1 or 2.
    pub(crate) fn ed25519_from_pkcs8(der: &[u8]) -> Result<Self, Refused> {
        let pair = Ed25519KeyPair::from_pkcs8(der);
        pair.map(|pair| Self(Private::Ed25519(Box::new(pair)))).map_err(refused)
    }

    /// Ed25519 from its seed.
    pub(crate) fn ed25519_from_seed(seed: &[u8; 32]) -> Result<Self, Refused> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(|pair| Self(Private::Ed25519(Box::new(pair)))).map_err(refused)
    }

    /// Makes a new RSA key of 2048, 3072, 4096 or 8192 bits. Takes from a tenth of a second to minutes.
    ///
    /// # Errors
    /// [`Refused`] for another size, or when the library fails.
    pub fn generate_rsa(bits: u32) -> Result<Self, Refused> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            8192 => KeySize::Rsa8192,
            _ => return Err(Refused),
        };
        RsaKeyPair::generate(size).map(|pair| Self(Private::Rsa(Box::new(pair)))).map_err(refused)
    }

    /// Makes a new Ed25519 key.
    ///
    /// # Errors
    /// [`Refused`] when the library fails.
    pub fn generate_ed25519() -> Result<Self, Refused> {
        Ed25519KeyPair::generate().map(|pair| Self(Private::Ed25519(Box::new(pair)))).map_err(refused)
    }

    /// What kind of key this is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self.0 {
            Private::Rsa(_) => KeyKind::Rsa,
            Private::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// The size of the key in bits; 256 for Ed25519.
    #[must_use]
    pub fn bits(&self) -> u32 {
        match &self.0 {
            Private::Rsa(pair) => {
                RsaParameters::public_modulus_len(pair.public_key().as_ref()).unwrap_or_default()
            }
            Private::Ed25519(_) => 256,
        }
    }

    /// The public key as `p=` has it before base64: SubjectPublicKeyInfo for RSA (RFC 6376
    /// §3.6.1), 32 octets for Ed25519 (RFC 8463 §4.2).
    ///
    /// # Errors
    /// [`Refused`] when the library fails.
    pub fn public_key(&self) -> Result<Vec<u8>, Refused> {
        match &self.0 {
            Private::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(refused)?;
                Ok(der.as_ref().to_vec())
            }
            Private::Ed25519(pair) => Ok(pair.public_key().as_ref().to_vec()),
        }
    }

    /// The private key as PKCS#8 DER in version 1, to be written to a file.
    ///
    /// # Errors
    /// [`Refused`] when the library fails.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let der: Pkcs8V1Der<'_> = match &self.0 {
            Private::Rsa(pair) => pair.as_der(),
            Private::Ed25519(pair) => pair.as_der(),
        }
        .map_err(refused)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// Signs the SHA-256 hash of the header: with PKCS#1 v1.5 (RFC 6376 §3.3.2), or as the
    /// message of pure Ed25519 (RFC 8463 §3).
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, Refused> {
        match &self.0 {
            Private::Rsa(pair) => {
                let digest = Digest::import_less_safe(digest, &SHA256).map_err(refused)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).map_err(refused)?;
                Ok(signature)
            }
            Private::Ed25519(pair) => {
                pair.try_sign(digest).map(|signature| signature.as_ref().to_vec()).map_err(refused)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {} bits)", self.kind(), self.bits())
    }
}

/// A public key from a key record.
pub(crate) struct VerifyingKey {
    kind: KeyKind,
    key: ParsedPublicKey,
    bits: u32,
}

impl VerifyingKey {
    /// Reads the octets of `p=`: for RSA SubjectPublicKeyInfo or the bare RSAPublicKey (RFC 6376
    /// erratum 3017), for Ed25519 exactly 32 octets (RFC 8463 §4.2).
    pub(crate) fn parse(kind: KeyKind, octets: &[u8]) -> Result<Self, Refused> {
        match kind {
            KeyKind::Rsa => {
                let public = RsaPublicKey::from_der(octets).map_err(refused)?;
                let bits = RsaParameters::public_modulus_len(public.as_ref()).map_err(refused)?;
                let verify = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = ParsedPublicKey::new(verify, public.as_ref()).map_err(refused)?;
                Ok(Self { kind, key, bits })
            }
            KeyKind::Ed25519 => {
                let octets: &[u8; 32] = octets.try_into().map_err(refused)?;
                let key = ParsedPublicKey::new(&ED25519, octets).map_err(refused)?;
                Ok(Self { kind, key, bits: 256 })
            }
        }
    }

    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether `signature` is one of the header hash `digest`. RSA keys outside of
    /// [`MINIMUM_RSA_BITS`] to [`MAXIMUM_RSA_BITS`] fit no signature.
    pub(crate) fn verifies(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        match self.kind {
            KeyKind::Rsa => Digest::import_less_safe(digest, &SHA256)
                .is_ok_and(|digest| self.key.verify_digest_sig(&digest, signature).is_ok()),
            KeyKind::Ed25519 => self.key.verify_sig(digest, signature).is_ok(),
        }
    }
}

fn refused<E>(_: E) -> Refused {
    Refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_does_not_depend_on_the_pieces() {
        let text: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let want = aws_lc_rs::digest::digest(&SHA256, &text);
        for size in [1, 7, 511, 512, 513, 4095, 4096, 4097, 20_000] {
            let mut sha256 = Sha256::new();
            text.chunks(size).for_each(|piece| sha256.update(piece));
            assert_eq!(sha256.finish(), want.as_ref(), "pieces of {size}");
            assert!(Sha256::new().gathered.capacity() <= GATHER_BYTES);
        }
    }

    #[test]
    fn keys_sign_and_verify_and_print_no_secret() {
        for key in [SigningKey::generate_rsa(2048).unwrap(), SigningKey::generate_ed25519().unwrap()] {
            let signature = key.sign(&[7; 32]).unwrap();
            let public = VerifyingKey::parse(key.kind(), &key.public_key().unwrap()).unwrap();
            assert_eq!(public.bits(), key.bits());
            assert!(public.verifies(&[7; 32], &signature));
            assert!(!public.verifies(&[8; 32], &signature));
            assert!(!public.verifies(&[7; 32], &signature[1..]));
            assert!(!public.verifies(&[7; 32], b""));
            let shown = format!("{key:?}");
            assert_eq!(shown, format!("SigningKey({}, {} bits)", key.kind(), key.bits()));
        }
        assert_eq!(SigningKey::generate_rsa(1024).err(), Some(Refused));
    }

    #[test]
    fn odd_public_keys_are_refused() {
        let ed25519 = SigningKey::generate_ed25519().unwrap().public_key().unwrap();
        assert!(VerifyingKey::parse(KeyKind::Ed25519, &ed25519).is_ok());
        assert!(VerifyingKey::parse(KeyKind::Ed25519, &ed25519[..31]).is_err());
        assert!(VerifyingKey::parse(KeyKind::Rsa, &ed25519).is_err());
        assert!(VerifyingKey::parse(KeyKind::Rsa, b"").is_err());
        assert!(VerifyingKey::parse(KeyKind::Ed25519, b"").is_err());
    }
}
