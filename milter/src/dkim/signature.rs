//! A DKIM-Signature field, read and checked before any key is looked up (RFC 6376 §3.5, §6.1.1).

use std::fmt;
use std::ops::Range;

use super::base64;
use super::canonical::Canonicalization;
use super::crypto::KeyKind;
use super::domain::{Domain, MAX_NAME_BYTES};
use super::tags::{TagError, TagList, items, without_white_space};

/// The name of the field.
pub const FIELD_NAME: &str = "DKIM-Signature";

/// The most characters of `b=` that a result shows: what an RSA key of 8192 bits gives.
pub const MAX_SHOWN_BASE64: usize = 1368;

/// The signing algorithms that are known (RFC 6376 §3.3, RFC 8463 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `rsa-sha1`, which must neither be made nor accepted any more (RFC 8301 §3.1).
    RsaSha1,
    /// `rsa-sha256`
    RsaSha256,
    /// `ed25519-sha256`
    Ed25519Sha256,
}

impl Algorithm {
    /// The kind of key it takes.
    #[must_use]
    pub fn key_kind(self) -> KeyKind {
        match self {
            Self::RsaSha1 | Self::RsaSha256 => KeyKind::Rsa,
            Self::Ed25519Sha256 => KeyKind::Ed25519,
        }
    }

    /// As `a=` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha1 => "rsa-sha1",
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// What a signature says of itself, as far as it is fit to be printed.
///
/// A part that does not keep to its syntax is absent, so that nothing here can
/// break out of a header field or a log line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `d=` in lower case and with A-labels.
    pub domain: Option<String>,
    /// `s=` in lower case and with A-labels.
    pub selector: Option<String>,
    /// `i=`, or `@` and the domain; only when its domain is `d=` or below it.
    pub identity: Option<String>,
    /// `a=` in lower case, also of an algorithm that is not known.
    pub algorithm: Option<String>,
    /// `b=` without white space, up to [`MAX_SHOWN_BASE64`] characters; empty if it is not base64.
    pub signature_base64: String,
}

/// A signature that keeps to the rules; whether it is good is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `a=`
    pub algorithm: Algorithm,
    /// The part of `c=` before the slash.
    pub header_canonicalization: Canonicalization,
    /// The part of `c=` after the slash.
    pub body_canonicalization: Canonicalization,
    /// `d=`
    pub domain: Domain,
    /// `s=`
    pub selector: Domain,
    /// Whether the domain of `i=` is `d=` itself, as the key flag `t=s` asks for.
    pub identity_in_domain: bool,
    /// `bh=`, decoded: 32 octets, or 20 with SHA-1.
    pub body_hash: Vec<u8>,
    /// `b=`, decoded.
    pub signature: Vec<u8>,
    /// `l=`; numbers beyond 64 bits are the largest that is.
    pub length: Option<u64>,
    /// `t=` in seconds since 1970.
    pub timestamp: Option<u64>,
    /// `x=` in seconds since 1970.
    pub expiration: Option<u64>,
    /// Where in the field's value that of `b=` lies, white space included.
    pub b_value: Range<usize>,
    header_list: &'a [u8],
}

/// Why a signature cannot be evaluated. Each is a `permerror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// It is no tag list.
    Syntax(TagError),
    /// A tag that must be there is not.
    Missing(&'static str),
    /// `v=` is not 1.
    Version,
    /// `a=` names an algorithm that is not known.
    Algorithm,
    /// `c=` names a canonicalization that is not known.
    Canonicalization,
    /// `d=` is no domain name.
    Domain,
    /// `s=` is no selector.
    Selector,
    /// `d=` and `s=` together are too long for a domain name.
    QueryName,
    /// `i=` is no address.
    Identity,
    /// The domain of `i=` is neither `d=` nor below it.
    IdentityOutside,
    /// `h=` has something in it that is no field name.
    HeaderList,
    /// `h=` does not name From (RFC 6376 §5.4).
    FromNotSigned,
    /// `b=` is not base64 or empty.
    SignatureData,
    /// `bh=` is not the base64 of a hash.
    BodyHash,
    /// `l=` is not a number.
    Length,
    /// `t=` is not a number.
    Timestamp,
    /// `x=` is not a number.
    Expiration,
    /// `x=` is not after `t=`.
    ExpirationOrder,
    /// `q=` does not name dns/txt.
    QueryMethod,
}

impl fmt::Display for SignatureError {
    /// Where OpenDKIM 2.11 has a text for it, it is the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax(error) => return write!(f, "signature syntax error: {error}"),
            Self::Missing(tag) => return write!(f, "signature has no {tag}= tag"),
            Self::Version => "unsupported signature version",
            Self::Algorithm => "signature algorithm invalid",
            Self::Canonicalization => "invalid canonicalization",
            Self::Domain => "domain tag invalid",
            Self::Selector => "selector tag invalid",
            Self::QueryName => "selector and domain too long",
            Self::Identity => "identity tag invalid",
            Self::IdentityOutside => "invalid domain coverage",
            Self::HeaderList => "header list invalid",
            Self::FromNotSigned => "header list missing required entries",
            Self::SignatureData => "signature data corrupt",
            Self::BodyHash => "body hash corrupt",
            Self::Length => "body length value invalid",
            Self::Timestamp => "signature timestamp invalid",
            Self::Expiration => "signature expiration invalid",
            Self::ExpirationOrder => "signature timestamp order error",
            Self::QueryMethod => "query method invalid",
        })
    }
}

impl<'a> Signature<'a> {
    /// Reads the value of a DKIM-Signature field, folds as CRLF.
    ///
    /// The claims are what may be printed, whatever the outcome. Values of `a=`, `c=` and `q=` are
    /// compared without case, as OpenDKIM does.
    ///
    /// # Errors
    /// The first [`SignatureError`] that was found.
    pub fn parse(value: &'a [u8]) -> (Claims, Result<Self, SignatureError>) {
        match TagList::parse(value) {
            Ok(tags) => {
                let (claims, identity) = claims(&tags);
                let signature = check(&tags, identity);
                (claims, signature)
            }
            Err(error) => (Claims::default(), Err(SignatureError::Syntax(error))),
        }
    }

    /// The names in `h=`, in its order.
    pub fn signed_names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        items(self.header_list)
    }

    /// The domain name under which the key is published (RFC 6376 §3.6.2.1).
    #[must_use]
    pub fn query_name(&self) -> String {
        query_name(&self.selector, &self.domain)
    }
}

/// The domain name of the key for a selector and a domain.
#[must_use]
pub(crate) fn query_name(selector: &Domain, domain: &Domain) -> String {
    format!("{}._domainkey.{}", selector.as_str(), domain.as_str())
}

/// `i=` when it stands in the list, checked.
type Identity = Result<Option<Domain>, SignatureError>;

fn claims(tags: &TagList<'_>) -> (Claims, Identity) {
    let domain = tags.value("d").and_then(Domain::parse);
    let named = tags.value("i").map(identity);
    let identity = match (&named, &domain) {
        (Some(Some((local, host))), Some(domain)) if host.is_or_is_below(domain) => {
            Some(format!("{local}@{}", host.as_str()))
        }
        (None, Some(domain)) => Some(format!("@{}", domain.as_str())),
        _ => None,
    };
    let is_token = |text: &&[u8]| {
        (1..=32).contains(&text.len()) && text.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    };
    let algorithm = tags.value("a").filter(is_token).and_then(|text| std::str::from_utf8(text).ok());
    let mut shown = without_white_space(tags.value("b").unwrap_or_default());
    shown.truncate(MAX_SHOWN_BASE64);
    let is_base64 = shown.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'='));
    let claims = Claims {
        domain: domain.map(|domain| domain.as_str().to_owned()),
        selector: tags.value("s").and_then(Domain::parse_selector).map(|name| name.as_str().to_owned()),
        identity,
        algorithm: algorithm.map(str::to_ascii_lowercase),
        signature_base64: if is_base64 {
            String::from_utf8(shown).unwrap_or_default()
        } else {
            String::new()
        },
    };
    let identity = match named {
        None => Ok(None),
        Some(Some((_, host))) => Ok(Some(host)),
        Some(None) => Err(SignatureError::Identity),
    };
    (claims, identity)
}

fn check<'a>(tags: &TagList<'a>, identity: Identity) -> Result<Signature<'a>, SignatureError> {
    let value = |name: &'static str| tags.value(name).ok_or(SignatureError::Missing(name));
    if value("v")? != b"1" {
        return Err(SignatureError::Version);
    }
    let algorithm = algorithm(value("a")?).ok_or(SignatureError::Algorithm)?;
    let domain = Domain::parse(value("d")?).ok_or(SignatureError::Domain)?;
    let selector = Domain::parse_selector(value("s")?).ok_or(SignatureError::Selector)?;
    if query_name(&selector, &domain).len() > MAX_NAME_BYTES {
        return Err(SignatureError::QueryName);
    }
    let (header_canonicalization, body_canonicalization) = match tags.value("c") {
        Some(text) => canonicalizations(text).ok_or(SignatureError::Canonicalization)?,
        None => (Canonicalization::Simple, Canonicalization::Simple),
    };
    let header_list = value("h")?;
    if !items(header_list).all(is_field_name) {
        return Err(SignatureError::HeaderList);
    }
    if !items(header_list).any(|name| name.eq_ignore_ascii_case(b"from")) {
        return Err(SignatureError::FromNotSigned);
    }
    let identity = identity?;
    if identity.as_ref().is_some_and(|host| !host.is_or_is_below(&domain)) {
        return Err(SignatureError::IdentityOutside);
    }
    let hash_bytes = if algorithm == Algorithm::RsaSha1 { 20 } else { 32 };
    let body_hash = base64::decode(value("bh")?).filter(|hash| hash.len() == hash_bytes);
    let b = tags.tag("b").ok_or(SignatureError::Missing("b"))?;
    let signature = base64::decode(b.value).filter(|octets| !octets.is_empty());
    let query_methods = tags.value("q").unwrap_or(b"dns/txt");
    if !items(query_methods).any(|method| method.eq_ignore_ascii_case(b"dns/txt")) {
        return Err(SignatureError::QueryMethod);
    }
    let number = |name, error| tags.value(name).map(|text| number(text).ok_or(error)).transpose();
    let timestamp = number("t", SignatureError::Timestamp)?;
    let expiration = number("x", SignatureError::Expiration)?;
    if timestamp.zip(expiration).is_some_and(|(made, ends)| ends <= made) {
        return Err(SignatureError::ExpirationOrder);
    }
    Ok(Signature {
        algorithm,
        header_canonicalization,
        body_canonicalization,
        identity_in_domain: identity.is_none_or(|host| host == domain),
        domain,
        selector,
        body_hash: body_hash.ok_or(SignatureError::BodyHash)?,
        signature: signature.ok_or(SignatureError::SignatureData)?,
        length: number("l", SignatureError::Length)?,
        timestamp,
        expiration,
        b_value: b.span.clone(),
        header_list,
    })
}

fn algorithm(text: &[u8]) -> Option<Algorithm> {
    let all = [Algorithm::RsaSha1, Algorithm::RsaSha256, Algorithm::Ed25519Sha256];
    all.into_iter().find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(text))
}

fn canonicalizations(text: &[u8]) -> Option<(Canonicalization, Canonicalization)> {
    let one = |text: &[u8]| match text.to_ascii_lowercase().as_slice() {
        b"simple" => Some(Canonicalization::Simple),
        b"relaxed" => Some(Canonicalization::Relaxed),
        _ => None,
    };
    let mut parts = text.splitn(2, |octet| *octet == b'/');
    let header = one(parts.next()?)?;
    // RFC 6376 §3.5: with one name only, the body is simple.
    let body = parts.next().map_or(Some(Canonicalization::Simple), one)?;
    Some((header, body))
}

/// RFC 5322 §3.6.8 `ftext`; a semicolon cannot occur, it ends the tag.
fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|octet| matches!(octet, b'!'..=b'9' | b';'..=b'~'))
}

/// Digits, up to the 76 that RFC 6376 §3.5 allows for `l=`.
fn number(text: &[u8]) -> Option<u64> {
    if !(1..=76).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = text.iter().map(|digit| u64::from(digit - b'0'));
    Some(digits.fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(digit)))
}

/// The local part, possibly empty, and the domain of `i=`. The local part is a dot-atom or a
/// quoted string (RFC 5321 §4.1.2, with UTF-8 as RFC 6531 has it).
pub(crate) fn identity(text: &[u8]) -> Option<(&str, Domain)> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_IDENTITY_BYTES)?;
    let (local, host) = text.rsplit_once('@')?;
    let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || is_letter(c);
    let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let valid = local.chars().all(is_atom) || quoted.is_some_and(is_quoted_content);
    let host = Domain::parse(host.as_bytes())?;
    valid.then_some((local, host))
}

fn is_quoted_content(text: &str) -> bool {
    let mut escaped = false;
    let valid = text.chars().all(|c| {
        let good = (matches!(c, ' '..='~') || is_letter(c)) && (escaped || c != '"');
        escaped = !escaped && c == '\\';
        good
    });
    valid && !escaped
}

/// Beyond ASCII, without controls and what looks like a line end or turns the direction of text.
fn is_letter(c: char) -> bool {
    !c.is_ascii()
        && !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A local part of 64 octets and a domain of 255 (RFC 5321 §4.5.3.1), with room for UTF-8.
const MAX_IDENTITY_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
