//! Keys that tokens are verified with: PEM files, HMAC secrets, JWKS documents (RFC 7517, RFC 7518).

use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// The largest key file, in bytes.
const FILE_LIMIT: u64 = 64 * 1024;

/// The most keys that a JWKS document may hold: a token without `kid` is tried against each.
const KEYS_LIMIT: usize = 64;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Lengths of an RSA modulus that serve. AWS-LC refuses the others as well, but only when a token comes.
const RSA_BYTES: RangeInclusive<usize> = 256..=1024;

/// Bytes of an Ed25519 public key.
const ED25519_LENGTH: usize = 32;

/// A key and what it may be used for.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl VerifyingKey {
    /// Whether a token of this algorithm and `kid` may be signed with this key. A key without `kid`
    /// (from a file) may have signed any token, and a token without one may be signed with any key.
    #[must_use]
    pub fn may_have_signed(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let same = match (&self.kid, kid) {
            (Some(own), Some(named)) => own == named,
            (None, _) | (_, None) => true,
        };
        same && self.algorithms.contains(&algorithm)
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }
}

/// Reads a file of `keys`: with the name `*.key` an HMAC secret, otherwise PEM. Blocks.
///
/// # Errors
/// What is wrong with the file, with its name.
pub fn read_key_file(path: &Path) -> Result<Vec<VerifyingKey>, String> {
    let bytes = read_bounded(path, FILE_LIMIT)?;
    let parsed = if path.extension().is_some_and(|extension| extension == "key") {
        parse_hmac(&bytes).map(|key| vec![key])
    } else {
        parse_pem(&bytes)
    };
    parsed.map_err(|why| format!("{}: {why}", path.display()))
}

/// The bytes of a file, if it is not larger than `limit`. Blocks.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{}: larger than {limit} bytes", path.display()));
    }
    Ok(bytes)
}

/// An HMAC secret: the bytes as they stand, without line ends after them. It serves the algorithms whose
/// hash is not longer than it is (RFC 7518 §3.2).
///
/// # Errors
/// When it is too short for all of them, or is a PEM file.
pub fn parse_hmac(bytes: &[u8]) -> Result<VerifyingKey, String> {
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err("a .key file holds an HMAC secret, but this is PEM; rename a public key to .pem".into());
    }
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    let algorithms: Vec<Algorithm> = [(32, Algorithm::HS256), (48, Algorithm::HS384), (64, Algorithm::HS512)]
        .into_iter()
        .filter(|(least, _)| secret.len() >= *least)
        .map(|(_, algorithm)| algorithm)
        .collect();
    if algorithms.is_empty() {
        return Err(format!("an HMAC secret needs 32 bytes, this has {}", secret.len()));
    }
    Ok(VerifyingKey { kid: None, algorithms, key: DecodingKey::from_secret(secret) })
}

/// Public keys and certificates in PEM: RSA, P-256, P-384 and Ed25519. Of a certificate only the key is
/// used; neither its dates nor who signed it.
///
/// # Errors
/// When there is none, or one is of another kind, or a private key.
pub fn parse_pem(bytes: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    let text = std::str::from_utf8(bytes).ok().ok_or("not PEM")?;
    let mut keys = Vec::new();
    for part in text.split("-----BEGIN ").skip(1) {
        let (label, _) = part.split_once("-----").ok_or("malformed PEM")?;
        if label.ends_with("PRIVATE KEY") {
            return Err("a private key; only the public key is needed here, so keep the other away".into());
        }
        if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE") {
            return Err(format!("{label:?} is not a public key or certificate"));
        }
        keys.push(public_key(format!("-----BEGIN {part}").as_bytes())?);
    }
    if keys.is_empty() { Err("no public key in it".into()) } else { Ok(keys) }
}

fn public_key(pem: &[u8]) -> Result<VerifyingKey, String> {
    let (algorithms, key) = if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        // A certificate that was signed with Ed25519 is taken for an Ed25519 key, whatever its own key is.
        if key.try_get_as_bytes().map_or(0, <[u8]>::len) != ED25519_LENGTH {
            return Err("not an Ed25519 key, though signed with one; extract the public key".into());
        }
        (vec![Algorithm::EdDSA], key)
    } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let algorithm = match key.try_get_as_bytes().unwrap_or_default() {
            [4, point @ ..] if point.len() == 64 => Algorithm::ES256,
            [4, point @ ..] if point.len() == 96 => Algorithm::ES384,
            _ => return Err("an elliptic curve other than P-256 and P-384".into()),
        };
        (vec![algorithm], key)
    } else if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let bytes = modulus_bytes(&key).ok_or("a malformed RSA key")?;
        if !RSA_BYTES.contains(&bytes) {
            return Err(format!("an RSA key of {} bits; 2048 to 8192 are accepted", bytes * 8));
        }
        (RSA.to_vec(), key)
    } else {
        return Err("neither an RSA, a P-256, a P-384 nor an Ed25519 key".into());
    };
    Ok(VerifyingKey { kid: None, algorithms, key })
}

/// How long the modulus of an RSA public key is, in bytes.
fn modulus_bytes(key: &DecodingKey) -> Option<usize> {
    match Jwk::from_decoding_key(key, None).ok()?.algorithm {
        AlgorithmParameters::RSA(parameters) => Some(URL_SAFE_NO_PAD.decode(parameters.n).ok()?.len()),
        _ => None,
    }
}

/// The keys of a JWKS document that can verify tokens. Keys of unknown types, for encryption only, and
/// symmetric ones are left out: a document that others can read holds no secrets.
///
/// # Errors
/// When the document is not a JWKS, or no key in it is usable.
pub fn parse_jwks(bytes: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
    let Some(list) = document.get("keys").and_then(Value::as_array) else {
        return Err("not a JWKS document: no \"keys\"".into());
    };
    if list.len() > KEYS_LIMIT {
        return Err(format!("{} keys, and at most {KEYS_LIMIT} are taken", list.len()));
    }
    let keys: Vec<VerifyingKey> = list.iter().filter_map(json_key).collect();
    if keys.is_empty() { Err("no key in it can verify tokens".into()) } else { Ok(keys) }
}

fn json_key(jwk: &Value) -> Option<VerifyingKey> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    if member("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
        && !operations.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let (mut algorithms, key) = match (member("kty")?, member("crv")) {
        ("RSA", _) => (RSA.to_vec(), rsa(member("n")?, member("e")?)?),
        ("EC", Some("P-256")) => (vec![Algorithm::ES256], point(member("x")?, member("y")?, 32)?),
        ("EC", Some("P-384")) => (vec![Algorithm::ES384], point(member("x")?, member("y")?, 48)?),
        ("OKP", Some("Ed25519")) => {
            let key = URL_SAFE_NO_PAD.decode(member("x")?).ok().filter(|key| key.len() == ED25519_LENGTH)?;
            (vec![Algorithm::EdDSA], DecodingKey::from_ed_der(&key))
        }
        _ => return None,
    };
    if let Some(name) = member("alg") {
        algorithms.retain(|algorithm| name.parse() == Ok(*algorithm));
    }
    let kid = member("kid").map(str::to_owned);
    (!algorithms.is_empty()).then_some(VerifyingKey { kid, algorithms, key })
}

fn rsa(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let modulus = URL_SAFE_NO_PAD.decode(modulus).ok()?;
    let exponent = URL_SAFE_NO_PAD.decode(exponent).ok()?;
    RSA_BYTES.contains(&modulus.len()).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// Coordinates have the full length of the curve (RFC 7518 §6.2.1.2).
fn point(x: &str, y: &str, length: usize) -> Option<DecodingKey> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        point.extend(URL_SAFE_NO_PAD.decode(coordinate).ok().filter(|bytes| bytes.len() == length)?);
    }
    Some(DecodingKey::from_ec_der(&point))
}
