//! JWTs in compact form (RFC 7519, RFC 7515): the header, the choice of a key, the signature.
//!
//! The algorithm that the header names must be one that the key is for; which ones those are comes
//! from the key's own type, so a public key never serves as an HMAC secret, and `none` never serves.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::claims::{Claims, shortened};
use super::keys::VerifyingKey;

/// What of a JWT's header matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtHeader {
    /// `alg`.
    pub algorithm: Algorithm,
    /// `kid`.
    pub kid: Option<String>,
}

impl fmt::Display for JwtHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alg {:?}", self.algorithm)?;
        match &self.kid {
            Some(kid) => write!(f, ", kid {}", shortened(kid)),
            None => f.write_str(", no kid"),
        }
    }
}

/// Reads the header of a token; nothing in it is to be believed yet.
///
/// # Errors
/// Why the token is no JWT that could be checked.
pub fn parse_header(token: &[u8]) -> Result<JwtHeader, &'static str> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("it has not three parts");
    };
    let header = URL_SAFE_NO_PAD.decode(header).ok().ok_or("its header is not base64url")?;
    let header: Map<String, Value> =
        serde_json::from_slice(&header).ok().ok_or("its header is not a JSON object")?;
    if header.contains_key("crit") {
        return Err("its header has critical extensions (crit)");
    }
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("none") => return Err("it is not signed (alg none)"),
        Some(name) => name.parse().ok().ok_or("its alg is not supported")?,
        None => return Err("its header names no alg"),
    };
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("its kid is not a text"),
    };
    Ok(JwtHeader { algorithm, kid })
}

/// What checking a signature against a set of keys has shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A key fits; these are the claims.
    Claims(Claims),
    /// No key is for this algorithm and `kid`.
    NoKey,
    /// There are such keys, and the signature is of none of them.
    Forged,
}

impl Outcome {
    /// The better of two: claims, then a signature that does not match, then no key.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Claims(claims), _) | (_, Self::Claims(claims)) => Self::Claims(claims),
            (Self::NoKey, Self::NoKey) => Self::NoKey,
            (Self::Forged, _) | (_, Self::Forged) => Self::Forged,
        }
    }
}

/// Checks the signature of `token`, whose header is `header`, with the keys that may have made it:
/// those of the same `kid` where token and key have one, otherwise all of the right kind. Says
/// nothing of the claims.
#[must_use]
pub fn verify(token: &str, header: &JwtHeader, keys: &[VerifyingKey]) -> Outcome {
    let mut outcome = Outcome::NoKey;
    for key in keys.iter().filter(|key| key.may_have_signed(header.algorithm, header.kid.as_deref())) {
        let mut signature_only = Validation::new(header.algorithm);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        match jsonwebtoken::decode::<Claims>(token, key.decoding_key(), &signature_only) {
            Ok(decoded) => return Outcome::Claims(decoded.claims),
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::InvalidSignature) {
                    tracing::debug!("a JWT is unusable with one of the keys: {error}");
                }
                outcome = Outcome::Forged;
            }
        }
    }
    outcome
}
