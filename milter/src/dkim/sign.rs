//! Signing: makes DKIM-Signature fields for one message in one pass over its body (RFC 6376 §5).

use std::fmt;
use std::sync::Arc;

use super::base64;
use super::body::{BodyHashId, BodyHashes};
use super::canonical::{Canonicalization, signature_field, signed_field};
use super::crypto::{KeyKind, Refused, Sha256, SigningKey};
use super::domain::{Domain, MAX_NAME_BYTES};
use super::headers::{Chooser, Field, HeaderBlock};
use super::signature::{Algorithm, FIELD_NAME, identity, query_name};
use fold::Folded;

mod fold;

/// The longest `h=` that is made, in octets: a milter can add no field above 64 KiB.
pub const MAX_HEADER_LIST_BYTES: usize = 32_768;

/// What one signature is to say, and with which key it is made.
#[derive(Clone, Debug)]
pub struct SignatureTemplate {
    /// The private key; it decides about `a=`.
    pub key: Arc<SigningKey>,
    /// `d=`; written in lower case and with A-labels.
    pub domain: String,
    /// `s=`; written likewise.
    pub selector: String,
    /// `i=`: an address, or `@` and a domain, at `domain` or below it. `None` leaves it out.
    pub identity: Option<String>,
    /// The part of `c=` before the slash.
    pub header_canonicalization: Canonicalization,
    /// The part of `c=` after the slash.
    pub body_canonicalization: Canonicalization,
    /// `t=`, in seconds since 1970.
    pub timestamp: u64,
    /// `x=`, in seconds since 1970; must be later than `timestamp`.
    pub expiration: Option<u64>,
    /// Which fields are signed, as indices in message order. Among them must be a From. A field
    /// whose name cannot stand in `h=` (8-bit, control characters, a semicolon) is left out.
    pub signed_fields: Vec<usize>,
    /// Names that are put behind them, so that no further field of that name can be added.
    pub oversigned: Vec<String>,
}

/// Why a signature cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// `domain` is no domain name.
    Domain,
    /// `selector` is no selector, or too long together with the domain.
    Selector,
    /// `identity` is no address at `domain` or below it, or has a character that `i=` cannot have.
    Identity,
    /// `expiration` is not after `timestamp`.
    Expiration,
    /// No From is among the fields, so that the signature would be worth nothing (RFC 6376 §5.4).
    FromNotSigned,
    /// An oversigned name is no field name.
    OversignedName,
    /// There are more names than fit into [`MAX_HEADER_LIST_BYTES`].
    HeaderListTooLong,
    /// The library did not make a signature.
    Key,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Domain => "the signing domain is not a domain name",
            Self::Selector => "the selector is not valid",
            Self::Identity => "the signer identity is not an address in the signing domain",
            Self::Expiration => "the expiration is not after the time of signing",
            Self::FromNotSigned => "there is no From field to be signed",
            Self::OversignedName => "an oversigned name is not a field name",
            Self::HeaderListTooLong => "too many header fields to be signed",
            Self::Key => "the private key did not make a signature",
        })
    }
}

impl std::error::Error for SignError {}

/// The signatures of one message that are being made.
///
/// Begun when the header is complete, then given the body piece by piece. It
/// borrows nothing: the header is hashed when it begins.
#[derive(Debug)]
pub struct Signing {
    body: BodyHashes,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    template: SignatureTemplate,
    domain: Domain,
    selector: Domain,
    names: Vec<String>,
    /// The signed fields are in it already.
    header: Sha256,
    body: BodyHashId,
}

impl Signing {
    /// Checks the templates and hashes the fields they sign. With `fix_crlf` a bare CR or LF in the
    /// body counts as CRLF (OpenDKIM's `FixCRLF`).
    ///
    /// `h=` has the names of the signed fields in message order and with the message's spelling,
    /// then the oversigned names (OpenDKIM 2.11 observed).
    ///
    /// # Errors
    /// The first [`SignError`] of any template; nothing is signed then.
    pub fn begin(
        headers: &HeaderBlock,
        templates: Vec<SignatureTemplate>,
        fix_crlf: bool,
    ) -> Result<Self, SignError> {
        let mut chooser = Chooser::new(headers);
        let mut body = BodyHashes::new(fix_crlf);
        let mut parts = Vec::with_capacity(templates.len());
        for template in templates {
            let (domain, selector) = check(&template)?;
            let names = header_list(headers, &template)?;
            let mut header = Sha256::new();
            chooser.restart();
            for name in &names {
                if let Some(field) = chooser.choose(name.as_bytes(), None) {
                    signed_field(template.header_canonicalization, field, &mut header);
                }
            }
            let id = body.request(template.body_canonicalization, None);
            parts.push(Part { template, domain, selector, names, header, body: id });
        }
        Ok(Self { body, parts })
    }

    /// Takes the next piece of the body as it is on the wire, cut anywhere.
    pub fn body(&mut self, piece: &[u8]) {
        self.body.update(piece);
    }

    /// Ends the message. What is left is the private key's work, one piece for each template, in
    /// their order; each can be done on another thread.
    #[must_use]
    pub fn finish(self) -> Vec<ReadyToSign> {
        let body = self.body.finish();
        let ready = |part: Part| {
            let body_hash = body.hash(part.body).map(|hash| base64::encode(&hash.digest));
            part.ready(&body_hash.unwrap_or_default())
        };
        self.parts.into_iter().map(ready).collect()
    }
}

impl Part {
    fn ready(self, body_hash: &str) -> ReadyToSign {
        let Self { template, domain, selector, names, mut header, .. } = self;
        let algorithm = match template.key.kind() {
            KeyKind::Rsa => Algorithm::RsaSha256,
            KeyKind::Ed25519 => Algorithm::Ed25519Sha256,
        };
        let mut value = Folded::new(FIELD_NAME.len() + 1);
        value.word("v=1;");
        value.word(&format!("a={};", algorithm.as_str()));
        value.word(&format!("c={}/{};", template.header_canonicalization, template.body_canonicalization));
        value.word(&format!("d={};", domain.as_str()));
        value.word(&format!("s={};", selector.as_str()));
        value.word(&format!("t={};", template.timestamp));
        if let Some(expiration) = template.expiration {
            value.word(&format!("x={expiration};"));
        }
        if let Some(identity) = &template.identity {
            value.word(&format!("i={identity};"));
        }
        value.word(&format!("bh={body_hash};"));
        let last = names.len().saturating_sub(1);
        for (position, name) in names.iter().enumerate() {
            let end = if position == last { ";" } else { ":" };
            match position {
                0 => value.word(&format!("h={name}{end}")),
                _ => value.joined(&format!("{name}{end}")),
            }
        }
        value.word("b=");
        // The message will have CRLF where the milter says LF.
        let hashed = value.text().replace('\n', "\r\n");
        let field = Field { name: FIELD_NAME.as_bytes(), value: hashed.as_bytes() };
        let nothing = hashed.len()..hashed.len();
        signature_field(template.header_canonicalization, field, &nothing, &mut header);
        ReadyToSign { key: template.key, algorithm, domain, selector, header_hash: header.finish(), value }
    }
}

/// A signature of which only the private key's operation is missing: milliseconds of work for a
/// large RSA key.
#[derive(Debug)]
pub struct ReadyToSign {
    key: Arc<SigningKey>,
    algorithm: Algorithm,
    domain: Domain,
    selector: Domain,
    header_hash: [u8; 32],
    value: Folded,
}

impl ReadyToSign {
    /// The kind of the key, to decide where to do the work: Ed25519 is done in no time.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        self.key.kind()
    }

    /// The size of the key that will sign, in bits.
    #[must_use]
    pub fn key_bits(&self) -> u32 {
        self.key.bits()
    }

    /// Does the private key's operation.
    ///
    /// # Errors
    /// [`SignError::Key`] when the library refuses.
    pub fn sign(self) -> Result<SignedField, SignError> {
        let signature = self.key.sign(&self.header_hash).map_err(|Refused| SignError::Key)?;
        let mut value = self.value;
        value.characters(&base64::encode(&signature));
        Ok(SignedField {
            value: value.into_text(),
            domain: self.domain.as_str().to_owned(),
            selector: self.selector.as_str().to_owned(),
            algorithm: self.algorithm,
        })
    }
}

/// A finished DKIM-Signature field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedField {
    /// What stands after the colon, as a milter hands it to the MTA: it begins with a blank and is
    /// folded with LF and a tab. The MTA must not put another blank before it, else a simple
    /// header canonicalization breaks (`SMFIP_HDR_LEADSPC`).
    pub value: String,
    /// `d=` as written.
    pub domain: String,
    /// `s=` as written.
    pub selector: String,
    /// `a=`
    pub algorithm: Algorithm,
}

fn check(template: &SignatureTemplate) -> Result<(Domain, Domain), SignError> {
    let domain = Domain::parse(template.domain.as_bytes()).ok_or(SignError::Domain)?;
    let selector = Domain::parse_selector(template.selector.as_bytes()).ok_or(SignError::Selector)?;
    if query_name(&selector, &domain).len() > MAX_NAME_BYTES {
        return Err(SignError::Selector);
    }
    if let Some(text) = &template.identity {
        let within = identity(text.as_bytes()).is_some_and(|(_, host)| host.is_or_is_below(&domain));
        if !within || text.contains([';', ' ']) {
            return Err(SignError::Identity);
        }
    }
    if template.expiration.is_some_and(|ends| ends <= template.timestamp) {
        return Err(SignError::Expiration);
    }
    Ok((domain, selector))
}

fn header_list(headers: &HeaderBlock, template: &SignatureTemplate) -> Result<Vec<String>, SignError> {
    let signed = template.signed_fields.iter().filter_map(|index| headers.get(*index));
    let mut names: Vec<String> = signed.filter_map(|field| listable(field.bare_name())).collect();
    if !names.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        return Err(SignError::FromNotSigned);
    }
    for name in &template.oversigned {
        names.push(listable(name.as_bytes()).ok_or(SignError::OversignedName)?);
    }
    if names.iter().map(|name| name.len() + 3).sum::<usize>() > MAX_HEADER_LIST_BYTES {
        return Err(SignError::HeaderListTooLong);
    }
    Ok(names)
}

/// A field name that can stand in `h=`: RFC 5322 §3.6.8 `ftext`, without the semicolon.
fn listable(name: &[u8]) -> Option<String> {
    let valid = !name.is_empty() && name.iter().all(|octet| matches!(octet, b'!'..=b'9' | b'<'..=b'~'));
    valid.then(|| String::from_utf8_lossy(name).into_owned())
}
