//! SCRAM verifiers `iterations,salt,StoredKey,ServerKey` (RFC 5802 §3): read, made, and checked
//! against a clear password.
//!
//! Passwords are used as they are, without SASLprep (RFC 4013), as Dovecot does.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use base::secret::Secret;

use super::digest::Hash;
use super::encoding::{from_base64, to_base64};
use super::error::HashError;
use super::pbkdf2;
use crate::mechanism::{CredentialKind, Credentials, ScramKeys};

/// Iterations of verifiers that are derived from clear passwords (RFC 7677 §4 asks for as many).
pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// Bytes of a new salt.
pub(super) const SALT: usize = 16;

/// Reads a verifier of `hash`.
pub(super) fn parse(hash: Hash, data: &[u8]) -> Result<ScramKeys, &'static str> {
    let text = std::str::from_utf8(data).ok().ok_or("not text")?;
    let mut fields = text.split(',');
    let iterations: NonZeroU32 =
        fields.next().and_then(|text| text.parse().ok()).ok_or("no iteration count")?;
    let mut field = || fields.next().and_then(|text| from_base64(text.as_bytes()));
    let salt = field().filter(|salt| !salt.is_empty()).ok_or("no salt")?;
    let mut key = || field().filter(|key| key.expose().len() == hash.length());
    let stored_key = key().ok_or("no StoredKey of the right length")?;
    let server_key = key().ok_or("no ServerKey of the right length")?;
    if fields.next().is_some() {
        return Err("more than four fields");
    }
    Ok(ScramKeys { iterations: iterations.get(), salt: salt.expose().to_vec(), stored_key, server_key })
}

/// The text of a verifier.
pub(super) fn text(keys: &ScramKeys) -> String {
    format!(
        "{},{},{},{}",
        keys.iterations,
        to_base64(&keys.salt),
        to_base64(keys.stored_key.expose()),
        to_base64(keys.server_key.expose())
    )
}

/// The verifier of a clear password.
///
/// # Errors
/// [`HashError::TooCostly`] for absurd iterations.
pub(super) fn derive(
    hash: Hash,
    iterations: NonZeroU32,
    salt: &[u8],
    password: &[u8],
) -> Result<ScramKeys, HashError> {
    let salted = pbkdf2::derive(hash, iterations, salt, password)?;
    let keyed =
        |name: &[u8]| hash.hmac(salted.expose(), name).ok_or(HashError::Library("no HMAC of it".to_owned()));
    let client_key = keyed(b"Client Key")?;
    Ok(ScramKeys {
        iterations: iterations.get(),
        salt: salt.to_vec(),
        stored_key: hash.of(&[client_key.expose()]),
        server_key: keyed(b"Server Key")?,
    })
}

/// The hash of a kind of credentials; `None` for CRAM-MD5.
pub(super) fn hash_of(kind: CredentialKind) -> Option<Hash> {
    match kind {
        CredentialKind::CramMd5 => None,
        CredentialKind::ScramSha1 => Some(Hash::Sha1),
        CredentialKind::ScramSha256 => Some(Hash::Sha256),
    }
}

/// The salt for a user whose password is stored in clear: always the same while the process runs,
/// so that a client can keep its salted password (RFC 5802 §5.1), and nobody can tell such a user
/// from one that does not exist ([`unknown_user`]). `length` is in bytes, at most 64. `None` if there
/// is no randomness.
pub(super) fn salt_for(hash: Hash, user: &str, length: usize) -> Option<Vec<u8>> {
    let secret = of_this_process(b"salt", user)?;
    let label: &[u8] = if hash == Hash::Sha1 { b"SCRAM-SHA-1" } else { b"SCRAM-SHA-256" };
    let salt = Hash::Sha512.hmac(secret.expose(), label)?;
    salt.expose().get(..length).map(<[u8]>::to_vec)
}

/// Credentials for a user who does not exist, which nothing matches: same salt and same amount of
/// work as for one whose password is stored in clear. `None` if there is no randomness.
///
/// Where the passwords are stored as verifiers, [`super::Stored::decoy`] of one gives better ones.
#[must_use]
pub fn unknown_user(kind: CredentialKind, user: &str) -> Option<Credentials> {
    let password = of_this_process(b"password", user)?;
    Some(match hash_of(kind) {
        None => Credentials::CramMd5(super::cram_md5::states(password.expose())),
        Some(hash) => {
            let salt = salt_for(hash, user, SALT)?;
            Credentials::Scram(derive(hash, ITERATIONS, &salt, password.expose()).ok()?)
        }
    })
}

/// Keys that nothing matches for a user who does not exist, with iterations and length of salt like
/// those of a verifier that does, and without work, as for that.
pub(super) fn stranger(hash: Hash, like: &ScramKeys, user: &str) -> Option<ScramKeys> {
    let key = |purpose| Some(hash.of(&[of_this_process(purpose, user)?.expose()]));
    Some(ScramKeys {
        iterations: like.iterations,
        salt: salt_for(hash, user, like.salt.len().min(64))?,
        stored_key: key(b"StoredKey")?,
        server_key: key(b"ServerKey")?,
    })
}

/// A secret of this process for `purpose` and `user`.
fn of_this_process(purpose: &[u8], user: &str) -> Option<Secret> {
    static KEY: OnceLock<Option<Secret>> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = vec![0; 32];
        aws_lc_rs::rand::fill(&mut key).ok()?;
        Some(Secret::new(key))
    });
    Hash::Sha256.hmac(key.as_ref()?.expose(), &[purpose, b"\0", user.as_bytes()].concat())
}
