//! One stored password: read, verified, turned into what other mechanisms need.

use std::fmt;

use base::secret::Secret;

use super::argon2::Argon2Hash;
use super::crypt::{CryptHash, Method};
use super::digest::{Hash, digest_md5, equal};
use super::encoding::{decode, split};
use super::error::{HashError, SchemeError};
use super::otp::Otp;
use super::pbkdf2::Pbkdf2;
use super::scheme::Scheme;
use super::{cram_md5, scram};
use crate::mechanism::{CredentialKind, Credentials, ScramKeys};

/// What a check costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Microseconds: to be done where one stands.
    Cheap,
    /// Fractions of a millisecond up to seconds: to be done by [`crate::hashing::Pool`].
    Slow {
        /// Memory that the check takes meanwhile, in bytes.
        memory_bytes: u64,
    },
}

/// A stored password. `Debug` shows its scheme only.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    scheme: Scheme,
    form: Form,
    decoy: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// Nothing matches: a locked account, or no password at all.
    Locked,
    Clear(Secret),
    /// The text, and whether any longer password with this beginning is right.
    Truncated(Secret, bool),
    Digest {
        hash: Hash,
        digest: Secret,
        salt: Vec<u8>,
    },
    /// Dovecot's order: the outer state, then the inner.
    CramMd5(Secret),
    DigestMd5(Secret),
    Crypt(CryptHash),
    Argon2(Argon2Hash),
    Pbkdf2(Pbkdf2),
    Scram(Hash, ScramKeys),
    Otp(Otp),
}

impl Stored {
    /// Reads `{SCHEME}data`, or bare data in `default_scheme` (a name, perhaps with a suffix such
    /// as `.hex`). Scheme names are matched in any case; `.hex`, `.b64` and `.base64` after them
    /// override the encoding, and digests of a fixed length may be hexadecimal or base64 anyway.
    ///
    /// Beyond `{SCHEME}`, as Dovecot 2.3.19 observed: bare `$1$…` is always MD5-CRYPT, `{MD5}` is
    /// that or a bare MD5, `{ARGON2I}` and `{ARGON2ID}` hold any variant of Argon2, the crypt family
    /// but for BLF-CRYPT and MD5-CRYPT any hash of crypt(3). Where the default is of the crypt
    /// family, libpam-pwdfile's `hash[13]`, `hash[34]` and `hash[56]` are understood.
    ///
    /// Unlike Dovecot: an empty password, and crypt data with `!`, `*` or `x` in place of a hash
    /// (locked accounts of passwd and shadow files), are read, and nothing matches them.
    ///
    /// # Errors
    /// [`SchemeError::Unknown`] and [`SchemeError::Malformed`]. `{PLAIN-TRUNC}` without its
    /// `length-`, which `doveadm pw` writes but Dovecot itself refuses to verify, is malformed.
    pub fn parse(text: &[u8], default_scheme: &str) -> Result<Self, SchemeError> {
        let (scheme, suffix, data) = split(text, default_scheme)?;
        let bytes = decode(scheme, suffix, data)?;
        let form =
            Form::read(scheme, bytes).map_err(|why| SchemeError::Malformed { scheme: scheme.name(), why })?;
        Ok(Self { scheme, form, decoy: false })
    }

    /// Whether `password` is right for `user` (whose full name DIGEST-MD5 hashes along). Compares in
    /// constant time. Takes as long as [`Self::cost`] says and does nothing but compute.
    ///
    /// # Errors
    /// [`HashError`] when the stored hash asks for too much or cannot be computed.
    pub fn verify(&self, user: &str, password: &[u8]) -> Result<bool, HashError> {
        let matches = match &self.form {
            Form::Locked => false,
            Form::Clear(text) => equal(text.expose(), password),
            Form::Truncated(text, cut) => {
                let length = text.expose().len();
                let beginning = if *cut { password.get(..length) } else { None };
                equal(text.expose(), beginning.unwrap_or(password))
            }
            Form::Digest { hash, digest, salt } => {
                equal(digest.expose(), hash.of(&[password, salt]).expose())
            }
            Form::CramMd5(states) => {
                let states = (states, cram_md5::swapped(cram_md5::states(password).expose()));
                matches!(states, (one, Some(other)) if equal(one.expose(), other.expose()))
            }
            Form::DigestMd5(digest) => equal(digest.expose(), digest_md5(user, password).expose()),
            Form::Crypt(hash) => hash.verify(password)?,
            Form::Argon2(hash) => equal(hash.digest(), hash.of(password)?.expose()),
            Form::Pbkdf2(hash) => equal(hash.key(), hash.of(password)?.expose()),
            Form::Scram(hash, keys) => {
                let rounds = keys.iterations.try_into().unwrap_or(std::num::NonZeroU32::MIN);
                let derived = scram::derive(*hash, rounds, &keys.salt, password)?;
                equal(keys.stored_key.expose(), derived.stored_key.expose())
            }
            Form::Otp(otp) => equal(otp.state(), otp.of(password).expose()),
        };
        Ok(matches && !self.decoy)
    }

    /// What [`Self::verify`] costs. Hashes that it refuses as too costly are cheap.
    #[must_use]
    pub fn cost(&self) -> Cost {
        match &self.form {
            Form::Locked
            | Form::Clear(_)
            | Form::Truncated(..)
            | Form::Digest { .. }
            | Form::CramMd5(_)
            | Form::DigestMd5(_) => Cost::Cheap,
            Form::Crypt(hash) => Cost::Slow { memory_bytes: hash.memory_bytes() },
            Form::Argon2(hash) => Cost::Slow { memory_bytes: hash.memory_bytes() },
            Form::Pbkdf2(_) | Form::Scram(..) | Form::Otp(_) => Cost::Slow { memory_bytes: 0 },
        }
    }

    /// Whether `allow_weak_schemes` is needed: the scheme is one that Dovecot 2.4 calls weak
    /// ([`Scheme::is_weak`]), or such a hash goes by the name of CRYPT (there Dovecot looks away).
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.scheme.is_weak() || matches!(&self.form, Form::Crypt(hash) if hash.is_weak())
    }

    /// The scheme's name in capitals, without a suffix.
    #[must_use]
    pub fn scheme_name(&self) -> &str {
        self.scheme.name()
    }

    /// What a mechanism needs: taken from a stored hash of that very kind, or derived from a clear
    /// password. SCRAM keys are derived with 4096 iterations, about a millisecond of work, and a
    /// salt that stays the same for a user while the process runs. `None` if it cannot be had.
    ///
    /// A decoy gives credentials of the same kind for `user` at the same cost, which nothing matches.
    #[must_use]
    pub fn credentials(&self, kind: CredentialKind, user: &str) -> Option<Credentials> {
        match (&self.form, scram::hash_of(kind)) {
            (Form::CramMd5(_), None) | (Form::Clear(_), _) if self.decoy => scram::unknown_user(kind, user),
            (Form::Scram(stored, keys), Some(wanted)) if *stored == wanted && self.decoy => {
                Some(Credentials::Scram(scram::stranger(wanted, keys, user)?))
            }
            (Form::CramMd5(states), None) => Some(Credentials::CramMd5(cram_md5::swapped(states.expose())?)),
            (Form::Clear(password), None) => Some(Credentials::CramMd5(cram_md5::states(password.expose()))),
            (Form::Scram(stored, keys), Some(wanted)) if *stored == wanted => {
                Some(Credentials::Scram(keys.clone()))
            }
            (Form::Clear(password), Some(hash)) => {
                let salt = scram::salt_for(hash, user, scram::SALT)?;
                let keys = scram::derive(hash, scram::ITERATIONS, &salt, password.expose());
                Some(Credentials::Scram(keys.ok()?))
            }
            _ => None,
        }
    }

    /// One that costs the same to verify and matches nothing, for users who do not exist. What was
    /// stored is still inside.
    #[must_use]
    pub fn decoy(&self) -> Self {
        Self { decoy: true, ..self.clone() }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({})", self.scheme.name())
    }
}

impl Form {
    fn read(scheme: Scheme, bytes: Secret) -> Result<Self, &'static str> {
        let data = bytes.expose();
        if data.is_empty() {
            return Ok(Self::Locked);
        }
        match scheme {
            Scheme::Plain | Scheme::Clear | Scheme::Cleartext => Ok(Self::Clear(bytes)),
            Scheme::PlainTrunc => truncated(data),
            Scheme::Crypt
            | Scheme::DesCrypt
            | Scheme::Md5Crypt
            | Scheme::Sha256Crypt
            | Scheme::Sha512Crypt
            | Scheme::BlfCrypt => crypt(scheme, data),
            Scheme::Argon2 | Scheme::Argon2i | Scheme::Argon2id => Argon2Hash::parse(data).map(Self::Argon2),
            Scheme::Pbkdf2 => Pbkdf2::parse(data).map(Self::Pbkdf2),
            Scheme::ScramSha1 => Ok(Self::Scram(Hash::Sha1, scram::parse(Hash::Sha1, data)?)),
            Scheme::ScramSha256 => Ok(Self::Scram(Hash::Sha256, scram::parse(Hash::Sha256, data)?)),
            Scheme::Sha | Scheme::Sha1 | Scheme::Ssha => salted(Hash::Sha1, data),
            Scheme::Sha256 | Scheme::Ssha256 => salted(Hash::Sha256, data),
            Scheme::Sha512 | Scheme::Ssha512 => salted(Hash::Sha512, data),
            Scheme::PlainMd4 => salted(Hash::Md4, data),
            Scheme::PlainMd5 | Scheme::LdapMd5 | Scheme::Smd5 => salted(Hash::Md5, data),
            Scheme::Md5 => {
                if data.starts_with(b"$1$") {
                    return crypt(Scheme::Md5Crypt, data);
                }
                let digest = decode(Scheme::LdapMd5, None, data);
                salted(Hash::Md5, digest.ok().ok_or("neither $1$ nor an MD5")?.expose())
            }
            Scheme::CramMd5 | Scheme::HmacMd5 => Ok(Self::CramMd5(bytes)),
            Scheme::DigestMd5 => Ok(Self::DigestMd5(bytes)),
            Scheme::Otp => Otp::parse(data).map(Self::Otp),
        }
    }
}

/// `length-text`. If the text is as long as the length, it may have been cut off there, and every
/// password that begins so is right; a length of 0 would let anyone in and means nothing here.
fn truncated(data: &[u8]) -> Result<Form, &'static str> {
    let dash = data.iter().position(|byte| *byte == b'-').ok_or("no length- before it")?;
    let (length, text) = data.split_at(dash);
    let text = text.get(1..).unwrap_or_default();
    let length: usize = std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse().ok())
        .ok_or("no length- before it")?;
    if text.is_empty() {
        return Ok(Form::Locked);
    }
    Ok(Form::Truncated(Secret::new(text), length == text.len()))
}

/// A digest and the salt that follows it, if any.
fn salted(hash: Hash, data: &[u8]) -> Result<Form, &'static str> {
    let (digest, salt) = data.split_at_checked(hash.length()).ok_or("too short")?;
    Ok(Form::Digest { hash, digest: Secret::new(digest), salt: salt.to_vec() })
}

fn crypt(scheme: Scheme, data: &[u8]) -> Result<Form, &'static str> {
    // `!hash`, `!!`, `*`, `*LK*` and `x` in passwd(5) and shadow(5).
    if data.starts_with(b"!") || data.starts_with(b"*") || data == b"x" {
        return Ok(Form::Locked);
    }
    let hash = CryptHash::parse(data)?;
    match (scheme, hash.method()) {
        (Scheme::BlfCrypt, method) if method != Method::Bcrypt => Err("not a bcrypt hash"),
        (Scheme::Md5Crypt, method) if method != Method::Md5 => Err("not a $1$ hash"),
        _ => Ok(Form::Crypt(hash)),
    }
}
