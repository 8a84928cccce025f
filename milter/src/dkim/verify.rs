//! Verifying: from the header over the body to one result for each signature (RFC 6376 §6.1).

use super::body::{BodyHash, BodyHashId, BodyHashes};
use super::canonical::{signature_field, signed_field};
use super::crypto::{KeyKind, MAXIMUM_RSA_BITS, MINIMUM_RSA_BITS, Sha256, VerifyingKey};
use super::domain::Domain;
use super::headers::{Chooser, Field, HeaderBlock};
use super::record::KeyRecord;
use super::result::{AuthResult, BodyLength, Reason, SignatureResult};
use super::signature::{Algorithm, Claims, FIELD_NAME, Signature};

/// The most DKIM-Signature fields of a message that are read; those below are only counted.
pub const MAX_READ: usize = 64;

/// The most TXT records of one name that are tried.
const MAX_RECORDS: usize = 8;

/// What the admin asks of signatures, and what time it is.
#[derive(Clone, Debug)]
pub struct VerifyPolicy {
    /// Seconds since 1970.
    pub now: u64,
    /// How many seconds `t=` may be ahead and `x=` may be over; OpenDKIM's `ClockDrift`.
    pub clock_drift_secs: u64,
    /// The least bits of an RSA key; numbers below 1024 mean 1024 (RFC 8301 §3.2).
    pub minimum_key_bits: u32,
    /// How many signatures are evaluated, which costs a DNS query and hashing each.
    pub max_signatures: usize,
    /// Names of fields of which every instance must be signed; OpenDKIM's `MustBeSigned`.
    pub must_be_signed: Vec<String>,
    /// Whether a bare CR or LF in the body counts as CRLF; OpenDKIM's `FixCRLF`.
    pub fix_crlf: bool,
    /// Whether a signature passes that leaves the end of the body unsigned with `l=`.
    pub accept_unsigned_tail: bool,
}

impl VerifyPolicy {
    /// The usual policy at a time given in seconds since 1970.
    #[must_use]
    pub fn at(now: u64) -> Self {
        Self {
            now,
            clock_drift_secs: 300,
            minimum_key_bits: MINIMUM_RSA_BITS,
            max_signatures: 8,
            must_be_signed: Vec::new(),
            fix_crlf: false,
            accept_unsigned_tail: false,
        }
    }
}

/// What DNS said about the TXT records at the name of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAnswer {
    /// The records, each with its strings joined.
    Records(Vec<Vec<u8>>),
    /// The name, or a TXT record at it, does not exist.
    NotFound,
    /// It could not be found out now; the text says why and ends up in the reason.
    TempFail(String),
}

/// The signatures of one message on the way to their results.
///
/// Begun when the header is complete, then given the body piece by piece, and
/// finished with the answers to its queries, which may be fetched meanwhile. It
/// borrows nothing: the header is hashed when it begins.
#[derive(Debug)]
pub struct Verification {
    entries: Vec<Entry>,
    queries: Vec<String>,
    body: BodyHashes,
    minimum_key_bits: u32,
    accept_unsigned_tail: bool,
    unread: usize,
}

#[derive(Debug)]
struct Entry {
    field: usize,
    claims: Claims,
    state: State,
}

#[derive(Debug)]
enum State {
    Decided(Reason),
    Waiting(Box<Waiting>),
}

/// A signature of which only the key and the body are missing.
#[derive(Debug)]
struct Waiting {
    query: usize,
    kind: KeyKind,
    header_hash: [u8; 32],
    body: BodyHashId,
    body_hash: Vec<u8>,
    signature: Vec<u8>,
    length: Option<u64>,
    identity_in_domain: bool,
}

impl Verification {
    /// Reads all signatures of a header and hashes the header for those that are to be evaluated.
    ///
    /// When there are more than `max_signatures`, those of `author_domain` come first, then those
    /// of domains above or below it, then those that `trusted` says yes to (it gets `d=` in lower
    /// case with A-labels), then the others, each from the top down. Signatures that are settled
    /// without a key take no place.
    #[must_use]
    pub fn begin(
        headers: &HeaderBlock,
        author_domain: Option<&str>,
        trusted: impl Fn(&str) -> bool,
        policy: &VerifyPolicy,
    ) -> Self {
        let mut all = headers.iter().enumerate().filter(|(_, field)| field.is_called(FIELD_NAME.as_bytes()));
        let author = author_domain.and_then(|domain| Domain::parse(domain.as_bytes()));
        let mut entries = Vec::new();
        let mut candidates = Vec::new();
        for (position, (index, field)) in all.by_ref().take(MAX_READ).enumerate() {
            let (claims, parsed) = Signature::parse(field.value);
            let state = match parsed.map_err(Reason::Signature).and_then(|it| settle(it, headers, policy)) {
                Err(reason) => State::Decided(reason),
                Ok(signature) => {
                    let rank = rank(&signature.domain, author.as_ref(), &trusted);
                    candidates.push((rank, position, index, field, signature));
                    State::Decided(Reason::Ignored)
                }
            };
            entries.push(Entry { field: index, claims, state });
        }
        let unread = all.count();
        candidates.sort_by_key(|(rank, position, ..)| (*rank, *position));
        candidates.truncate(policy.max_signatures);
        let mut verification = Self {
            entries,
            queries: Vec::new(),
            body: BodyHashes::new(policy.fix_crlf),
            minimum_key_bits: policy.minimum_key_bits.max(MINIMUM_RSA_BITS),
            accept_unsigned_tail: policy.accept_unsigned_tail,
            unread,
        };
        if !candidates.is_empty() {
            let mut chooser = Chooser::new(headers);
            for (_, position, index, field, signature) in candidates {
                let header_hash = header_hash(&mut chooser, index, field, &signature);
                verification.evaluate(position, signature, header_hash);
            }
        }
        verification
    }

    fn evaluate(&mut self, position: usize, signature: Signature<'_>, header_hash: [u8; 32]) {
        let name = signature.query_name();
        let query = self.queries.iter().position(|query| *query == name).unwrap_or_else(|| {
            self.queries.push(name);
            self.queries.len() - 1
        });
        let body = self.body.request(signature.body_canonicalization, signature.length);
        if let Some(entry) = self.entries.get_mut(position) {
            entry.state = State::Waiting(Box::new(Waiting {
                query,
                kind: signature.algorithm.key_kind(),
                header_hash,
                body,
                body_hash: signature.body_hash,
                signature: signature.signature,
                length: signature.length,
                identity_in_domain: signature.identity_in_domain,
            }));
        }
    }

    /// The TXT queries whose answers are needed: a number for each, from 0, and the domain name,
    /// with A-labels and no final dot. Signatures with the same key share one.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = (usize, &str)> {
        self.queries.iter().map(String::as_str).enumerate()
    }

    /// Whether the message has no signature at all.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many DKIM-Signature fields beyond [`MAX_READ`] were not looked at.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Whether the body is needed; if not, it need not be given.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        !self.body.is_idle()
    }

    /// Takes the next piece of the body as it is on the wire, cut anywhere.
    pub fn body(&mut self, piece: &[u8]) {
        self.body.update(piece);
    }

    /// Ends the message and gives the results in the order of the fields in the header.
    ///
    /// `answer` is asked with the numbers of [`queries`](Self::queries); `None` counts as a
    /// temporary failure.
    #[must_use]
    pub fn finish<'a>(self, answer: impl Fn(usize) -> Option<&'a KeyAnswer>) -> Vec<SignatureResult> {
        let Self { entries, body, minimum_key_bits, accept_unsigned_tail, .. } = self;
        let body = body.finish();
        let judge = Judge { minimum_key_bits, accept_unsigned_tail };
        let finish = |Entry { field, claims, state }| {
            let (finding, body_length) = match state {
                State::Decided(reason) => (Finding::new(reason), None),
                State::Waiting(waiting) => {
                    let hash = body.hash(waiting.body);
                    let body_length = waiting.length.zip(hash);
                    let length =
                        |(signed, hash): (u64, BodyHash)| BodyLength { signed, total: hash.canonical_bytes };
                    (judge.finding(&waiting, hash, answer(waiting.query)), body_length.map(length))
                }
            };
            let Finding { reason, key_bits, testing } = finding;
            SignatureResult { result: reason.result(), reason, claims, field, key_bits, testing, body_length }
        };
        entries.into_iter().map(finish).collect()
    }
}

/// What can be said of a signature before its key is known; `Err` if that is all there is to say.
fn settle<'a>(
    signature: Signature<'a>,
    headers: &HeaderBlock,
    policy: &VerifyPolicy,
) -> Result<Signature<'a>, Reason> {
    let latest = policy.now.saturating_add(policy.clock_drift_secs);
    if signature.timestamp.is_some_and(|made| made > latest) {
        return Err(Reason::FromTheFuture);
    }
    if signature.expiration.is_some_and(|ends| ends.saturating_add(policy.clock_drift_secs) < policy.now) {
        return Err(Reason::Expired);
    }
    if signature.algorithm == Algorithm::RsaSha1 {
        return Err(Reason::WeakAlgorithm);
    }
    let unprotected = policy.must_be_signed.iter().find(|name| {
        let name = name.as_bytes();
        let signed = signature.signed_names().filter(|signed| signed.eq_ignore_ascii_case(name)).count();
        headers.iter().filter(|field| field.is_called(name)).count() > signed
    });
    match unprotected {
        Some(name) => Err(Reason::UnprotectedField(name.clone())),
        None => Ok(signature),
    }
}

/// Which signatures come first when not all can be evaluated; lower is earlier.
fn rank(domain: &Domain, author: Option<&Domain>, trusted: &impl Fn(&str) -> bool) -> u8 {
    match author {
        Some(author) if author == domain => 0,
        Some(author) if author.is_or_is_below(domain) || domain.is_or_is_below(author) => 1,
        _ if trusted(domain.as_str()) => 2,
        _ => 3,
    }
}

/// RFC 6376 §3.7: the chosen fields, then the signature's own without the value of `b=`.
fn header_hash(
    chooser: &mut Chooser<'_>,
    index: usize,
    field: Field<'_>,
    signature: &Signature<'_>,
) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    chooser.restart();
    for name in signature.signed_names() {
        if let Some(field) = chooser.choose(name, Some(index)) {
            signed_field(signature.header_canonicalization, field, &mut sha256);
        }
    }
    signature_field(signature.header_canonicalization, field, &signature.b_value, &mut sha256);
    sha256.finish()
}

struct Judge {
    minimum_key_bits: u32,
    accept_unsigned_tail: bool,
}

struct Finding {
    reason: Reason,
    key_bits: Option<u32>,
    testing: bool,
}

impl Finding {
    fn new(reason: Reason) -> Self {
        Self { reason, key_bits: None, testing: false }
    }

    /// How much a finding says when there are several records; more is better.
    fn weight(&self) -> u8 {
        match self.reason.result() {
            AuthResult::Pass => 4,
            AuthResult::Policy => 3,
            AuthResult::Fail => 2,
            _ if !matches!(self.reason, Reason::Record(_)) => 1,
            _ => 0,
        }
    }
}

impl Judge {
    /// RFC 6376 §3.6.2.2 leaves open what several records mean. Each is tried, and the best counts.
    fn finding(&self, waiting: &Waiting, body: Option<BodyHash>, answer: Option<&KeyAnswer>) -> Finding {
        let records = match answer {
            Some(KeyAnswer::Records(records)) => records,
            Some(KeyAnswer::NotFound) => return Finding::new(Reason::KeyNotFound),
            Some(KeyAnswer::TempFail(why)) => return Finding::new(Reason::KeyLookupFailed(why.clone())),
            None => return Finding::new(Reason::KeyLookupFailed("no answer".to_owned())),
        };
        let mut best: Option<Finding> = None;
        for record in records.iter().take(MAX_RECORDS) {
            let next = self.with_record(waiting, body, record);
            if best.as_ref().is_none_or(|best| next.weight() > best.weight()) {
                best = Some(next);
            }
        }
        best.unwrap_or_else(|| Finding::new(Reason::KeyNotFound))
    }

    fn with_record(&self, waiting: &Waiting, body: Option<BodyHash>, record: &[u8]) -> Finding {
        let record = match KeyRecord::parse(record) {
            Ok(record) => record,
            Err(error) => return Finding::new(Reason::Record(error)),
        };
        let testing = record.testing;
        if record.kind != waiting.kind {
            return Finding { testing, ..Finding::new(Reason::KeyTypeMismatch) };
        }
        let Ok(key) = VerifyingKey::parse(record.kind, &record.public_key) else {
            return Finding { testing, ..Finding::new(Reason::KeyCorrupt) };
        };
        let reason = self.with_key(waiting, body, &record, &key);
        Finding { reason, key_bits: Some(key.bits()), testing }
    }

    fn with_key(
        &self,
        waiting: &Waiting,
        body: Option<BodyHash>,
        record: &KeyRecord,
        key: &VerifyingKey,
    ) -> Reason {
        if record.strict_identity && !waiting.identity_in_domain {
            return Reason::UnauthorizedSubdomain;
        }
        if record.kind == KeyKind::Rsa && key.bits() < self.minimum_key_bits {
            return Reason::KeyTooSmall;
        }
        if record.kind == KeyKind::Rsa && key.bits() > MAXIMUM_RSA_BITS {
            return Reason::KeyTooLarge;
        }
        let Some(body) = body else { return Reason::BodyHashMismatch };
        if waiting.length.is_some_and(|length| length > body.canonical_bytes) {
            return Reason::LengthExceedsBody;
        }
        if waiting.body_hash != body.digest {
            return Reason::BodyHashMismatch;
        }
        if !key.verifies(&waiting.header_hash, &waiting.signature) {
            return Reason::SignatureMismatch;
        }
        match waiting.length {
            Some(length) if length < body.canonical_bytes && !self.accept_unsigned_tail => {
                Reason::UnsignedTail
            }
            _ => Reason::Verified,
        }
    }
}
