//! Tests of verifying: the RFCs' examples, and signatures that are good but for one thing.

use std::sync::LazyLock;

use super::*;
use crate::dkim::base64;
use crate::dkim::canonical::Canonicalization;
use crate::dkim::crypto::SigningKey;
use crate::dkim::record::RecordError;
use crate::dkim::signature::SignatureError;
use crate::dkim::tags::TagError;
use proptest::prelude::*;

mod rfc;

const NOW: u64 = 1_800_000_000;
const BODY: &str = "Hello  Bob,\r\n\r\nbye \r\n";
const CANONICAL_BODY: &str = "Hello Bob,\r\n\r\nbye\r\n";

/// The key of RFC 8463 §A.1 and §A.2.
static ED25519: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::parse(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap());
const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate_rsa(2048).unwrap());

fn rsa_record() -> String {
    format!("v=DKIM1; p={}", base64::encode(&RSA.public_key().unwrap()))
}

fn message() -> HeaderBlock {
    let mut headers = HeaderBlock::new();
    headers.push(b"Received", b" from a by b;\n\tFri, 10 Nov 2023 10:00:00 +0000");
    headers.push(b"From", b" Anna <anna@example.com>");
    headers.push(b"To", b" bob@example.net");
    headers.push(b"Subject", b" one\n two");
    headers
}

fn sha256(text: &[u8]) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    sha256.update(text);
    sha256.finish()
}

/// The tags of a signature that passes; rows of the table change one of them.
const GOOD: &str = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=sel; t=1700000000; \
                    h=from:to:subject; bh=<bh>";

/// Puts a signature on top that is genuine for whatever `tags` say; `<bh>` stands for the body hash.
fn sign_as_told(key: &SigningKey, headers: &mut HeaderBlock, tags: &str, names: &[&str], body: &[u8]) {
    let bh = base64::encode(&sha256(body));
    let value = format!(" {}; b=", tags.replace("<bh>", &bh));
    let field = Field { name: b"DKIM-Signature", value: value.as_bytes() };
    let how = if tags.contains("c=relaxed") { Canonicalization::Relaxed } else { Canonicalization::Simple };
    let mut hash = Sha256::new();
    let mut chooser = Chooser::new(headers);
    for name in names {
        if let Some(field) = chooser.choose(name.as_bytes(), None) {
            signed_field(how, field, &mut hash);
        }
    }
    signature_field(how, field, &(value.len()..value.len()), &mut hash);
    let value = value.clone() + &base64::encode(&key.sign(&hash.finish()).unwrap());
    let mut signed = HeaderBlock::new();
    signed.push(b"DKIM-Signature", value.as_bytes());
    headers.iter().for_each(|field| signed.push(field.name, field.value));
    *headers = signed;
}

fn verify(
    headers: &HeaderBlock,
    body: &str,
    policy: &VerifyPolicy,
    answer: &KeyAnswer,
) -> Vec<SignatureResult> {
    let mut verification = Verification::begin(headers, None, |_| false, policy);
    verification.body(body.as_bytes());
    verification.finish(|_| Some(answer))
}

fn records(texts: &[&str]) -> KeyAnswer {
    KeyAnswer::Records(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

/// The only result for a message signed with these tags and names.
fn one(tags: &str, policy: &VerifyPolicy, record: &str) -> SignatureResult {
    let mut headers = message();
    let names: Vec<&str> = tags
        .split("h=")
        .nth(1)
        .map(|rest| rest.split(';').next().unwrap().split(':').map(str::trim).collect())
        .unwrap_or_default();
    let key = if tags.contains("a=rsa") { &RSA } else { &ED25519 };
    let length = tags.split("l=").nth(1).and_then(|rest| rest.split(';').next().unwrap().parse().ok());
    let cut = CANONICAL_BODY.len().min(length.unwrap_or(usize::MAX));
    sign_as_told(key, &mut headers, tags, &names, &CANONICAL_BODY.as_bytes()[..cut]);
    let mut results = verify(&headers, BODY, policy, &records(&[record]));
    assert_eq!(results.len(), 1);
    results.remove(0)
}

#[test]
fn tags_that_are_wrong_in_a_genuine_signature() {
    use Reason::{Expired, FromTheFuture, Signature, Verified, WeakAlgorithm};
    let change = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    let with = |tag: &str| format!("{GOOD}; {tag}");
    for (tags, reason) in [
        (GOOD.to_owned(), Verified),
        (change("v=1; ", ""), Signature(SignatureError::Missing("v"))),
        (change("v=1", "v=2"), Signature(SignatureError::Version)),
        (change("v=1", "v=0.5"), Signature(SignatureError::Version)),
        (change("v=1", "v="), Signature(SignatureError::Version)),
        (change("a=ed25519-sha256", "a=ed25519-sha1"), Signature(SignatureError::Algorithm)),
        (change("a=ed25519-sha256; ", ""), Signature(SignatureError::Missing("a"))),
        (change("a=ed", "a=Ed"), Verified),
        (change("c=relaxed/relaxed", "c=relaxed/nothing"), Signature(SignatureError::Canonicalization)),
        (change("c=relaxed/relaxed", "c=relaxed/"), Signature(SignatureError::Canonicalization)),
        (change("c=relaxed/relaxed", "c="), Signature(SignatureError::Canonicalization)),
        (change("c=relaxed/relaxed", "c=relaxed/relaxed/x"), Signature(SignatureError::Canonicalization)),
        (change("d=example.com; ", ""), Signature(SignatureError::Missing("d"))),
        (change("d=example.com", "d=com"), Signature(SignatureError::Domain)),
        (change("d=example.com", "d=example.net(.example.com"), Signature(SignatureError::Domain)),
        (change("d=example.com", "d=EXAMPLE.com"), Verified),
        (change("d=example.com", "d=bücher.example"), Verified),
        (change("s=sel", "s=se(l"), Signature(SignatureError::Selector)),
        (change("s=sel", "s=a.b-c_d"), Verified),
        (change("s=sel; ", ""), Signature(SignatureError::Missing("s"))),
        (change("from:to:subject", "to:subject"), Signature(SignatureError::FromNotSigned)),
        (change("from:to:subject", "from:to:"), Signature(SignatureError::HeaderList)),
        (change("from:to:subject", ""), Signature(SignatureError::HeaderList)),
        (change("from:to:subject", "FROM : to:x-absent: from"), Verified),
        (change("h=from:to:subject; ", ""), Signature(SignatureError::Missing("h"))),
        (change("t=1700000000", "t=yesterday"), Signature(SignatureError::Timestamp)),
        (change("t=1700000000", "t="), Signature(SignatureError::Timestamp)),
        (change("t=1700000000", "t=1800000300"), Verified),
        (change("t=1700000000", "t=1800000301"), FromTheFuture),
        (change("t=1700000000", &format!("t={}", "9".repeat(76))), FromTheFuture),
        (change("t=1700000000", &format!("t={}", "9".repeat(77))), Signature(SignatureError::Timestamp)),
        (with("x=1799999700"), Verified),
        (with("x=1799999699"), Expired),
        (with("x=soon"), Signature(SignatureError::Expiration)),
        (with("x=1700000000"), Signature(SignatureError::ExpirationOrder)),
        (with("x=1600000000"), Signature(SignatureError::ExpirationOrder)),
        (with("q=dns/txt"), Verified),
        (with("q=http : dns/txt"), Verified),
        (with("q=http"), Signature(SignatureError::QueryMethod)),
        (with("q="), Signature(SignatureError::QueryMethod)),
        (with("i=@example.com"), Verified),
        (with("i=anna+x@Mail.Example.com"), Verified),
        (with("i=@example.org"), Signature(SignatureError::IdentityOutside)),
        (with("i=@evilexample.com"), Signature(SignatureError::IdentityOutside)),
        (with("i=@com"), Signature(SignatureError::Identity)),
        (with("i=example.com"), Signature(SignatureError::Identity)),
        (with("i="), Signature(SignatureError::Identity)),
        (with("i=<a>@example.com"), Signature(SignatureError::Identity)),
        (with("l=many"), Signature(SignatureError::Length)),
        (with("l=-1"), Signature(SignatureError::Length)),
        (with("z=From:a|To:b"), Verified),
        (with("x-unknown=1"), Signature(SignatureError::Syntax(TagError::Name))),
        (with("unknown=1"), Verified),
        (with("v=1"), Signature(SignatureError::Syntax(TagError::Duplicate))),
        (with(""), Signature(SignatureError::Syntax(TagError::Name))),
        (change("bh=<bh>", "bh="), Signature(SignatureError::BodyHash)),
        (change("bh=<bh>", "bh=Zm9vYg=="), Signature(SignatureError::BodyHash)),
        (change("bh=<bh>", "bh=<*>"), Signature(SignatureError::BodyHash)),
        (change("; bh=<bh>", ""), Signature(SignatureError::Missing("bh"))),
        (change("ed25519-sha256", "rsa-sha1").replace("<bh>", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="), WeakAlgorithm),
        (change("ed25519-sha256", "rsa-sha1"), Signature(SignatureError::BodyHash)),
    ] {
        let result = one(&tags, &VerifyPolicy::at(NOW), ED25519_RECORD);
        assert_eq!(result.reason, reason, "{tags}");
        assert_eq!(result.result, reason.result(), "{tags}");
        assert_eq!(result.reason == Verified, result.key_bits == Some(256), "{tags}");
    }
}

#[test]
fn key_records_that_are_wrong_for_a_genuine_signature() {
    use Reason::{KeyCorrupt, KeyTypeMismatch, Record, UnauthorizedSubdomain, Verified};
    let p = ED25519_RECORD.split("p=").nth(1).unwrap();
    let spki = base64::encode(
        &[&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &ED25519.public_key().unwrap()].concat(),
    );
    let below = format!("{GOOD}; i=@mail.example.com");
    for (tags, record, reason) in [
        (GOOD, format!("k=ed25519; p={p}"), Verified),
        (GOOD, format!("v=DKIM1; k=ed25519; h=sha256; s=email; t=y:s; p={p}"), Verified),
        (&below, format!("v=DKIM1; k=ed25519; t=y; p={p}"), Verified),
        (&below, format!("v=DKIM1; k=ed25519; t=y:s; p={p}"), UnauthorizedSubdomain),
        (GOOD, format!("v=DKIM1; k=ed25519; h=sha1; p={p}"), Record(RecordError::Hash)),
        (GOOD, format!("v=DKIM1; k=ed25519; s=tlsrpt; p={p}"), Record(RecordError::Service)),
        (GOOD, format!("v=DKIM2; k=ed25519; p={p}"), Record(RecordError::Version)),
        (GOOD, format!("k=ed25519; v=DKIM1; p={p}"), Record(RecordError::Version)),
        (GOOD, format!("v=DKIM1; p={p}"), KeyTypeMismatch),
        (GOOD, format!("v=DKIM1; k=rsa; p={p}"), KeyTypeMismatch),
        (GOOD, "v=DKIM1; k=ed25519; p=".to_owned(), Record(RecordError::Revoked)),
        (GOOD, "v=DKIM1; k=ed25519".to_owned(), Record(RecordError::NoKey)),
        (GOOD, "v=DKIM1; k=ed25519; p=Zm9vYg==".to_owned(), KeyCorrupt),
        (GOOD, format!("v=DKIM1; k=ed25519; p={spki}"), KeyCorrupt),
        (GOOD, rsa_record(), KeyTypeMismatch),
        (GOOD, "v=spf1 -all".to_owned(), Record(RecordError::Version)),
    ] {
        let result = one(tags, &VerifyPolicy::at(NOW), &record);
        assert_eq!(result.reason, reason, "{record}");
        assert_eq!(result.testing, record.contains("t=y") && reason != Record(RecordError::Hash));
    }
    let rsa = GOOD.replace("ed25519-", "rsa-");
    let bare = format!("p={}", base64::encode(&bare_rsa_key(&RSA.public_key().unwrap())));
    for record in [rsa_record(), bare] {
        let result = one(&rsa, &VerifyPolicy::at(NOW), &record);
        assert_eq!((result.reason, result.key_bits), (Verified, Some(2048)));
    }
    assert_eq!(one(&rsa, &VerifyPolicy::at(NOW), ED25519_RECORD).reason, KeyTypeMismatch);
}

/// RSAPublicKey out of SubjectPublicKeyInfo: what is behind the 22 octets of algorithm and headers
/// and the BIT STRING's four octets of header and one of padding count.
fn bare_rsa_key(spki: &[u8]) -> Vec<u8> {
    spki[24..].to_vec()
}

/// An RSAPublicKey with a modulus of so many bits; nobody has the private key.
fn rsa_key_of(bits: usize) -> Vec<u8> {
    let value = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let header = match length {
            [0, short @ 0..0x80] => vec![tag, short],
            [0, one] => vec![tag, 0x81, one],
            [high, low] => vec![tag, 0x82, high, low],
        };
        [&header, content].concat()
    };
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= (8 - bits % 8) % 8;
    if bits.is_multiple_of(8) {
        modulus.insert(0, 0);
    }
    value(0x30, &[value(2, &modulus), vec![2, 3, 1, 0, 1]].concat())
}

#[test]
fn sizes_of_rsa_keys() {
    let tags = GOOD.replace("ed25519-", "rsa-");
    let at_least = |minimum_key_bits| VerifyPolicy { minimum_key_bits, ..VerifyPolicy::at(NOW) };
    for (bits, minimum, reason) in [
        (512, 0, Reason::KeyTooSmall),
        (1023, 0, Reason::KeyTooSmall),
        (1023, 1024, Reason::KeyTooSmall),
        (1024, 1024, Reason::SignatureMismatch),
        (1024, 0, Reason::SignatureMismatch),
        (1024, 1025, Reason::KeyTooSmall),
        (8192, 1024, Reason::SignatureMismatch),
        (8200, 1024, Reason::KeyTooLarge),
    ] {
        let record = format!("p={}", base64::encode(&rsa_key_of(bits)));
        let result = one(&tags, &at_least(minimum), &record);
        assert_eq!(result.reason, reason, "{bits} bits");
        assert_eq!(result.key_bits, Some(u32::try_from(bits).unwrap()));
    }
    let strict = at_least(2049);
    assert_eq!(one(&tags, &strict, &rsa_record()).result, AuthResult::Policy);
    assert_eq!(one(GOOD, &strict, ED25519_RECORD).result, AuthResult::Pass, "Ed25519 is exempt");
}

#[test]
fn body_lengths() {
    let total = u64::try_from(CANONICAL_BODY.len()).unwrap();
    let lenient = VerifyPolicy { accept_unsigned_tail: true, ..VerifyPolicy::at(NOW) };
    for (length, policy, reason) in [
        (total, VerifyPolicy::at(NOW), Reason::Verified),
        (total - 1, VerifyPolicy::at(NOW), Reason::UnsignedTail),
        (total - 1, lenient.clone(), Reason::Verified),
        (0, VerifyPolicy::at(NOW), Reason::UnsignedTail),
        (0, lenient.clone(), Reason::Verified),
        (total + 1, VerifyPolicy::at(NOW), Reason::LengthExceedsBody),
        (total + 1, lenient, Reason::LengthExceedsBody),
    ] {
        let result = one(&format!("{GOOD}; l={length}"), &policy, ED25519_RECORD);
        assert_eq!(result.reason, reason, "l={length}");
        assert_eq!(result.body_length, Some(BodyLength { signed: length, total }));
    }
    assert_eq!(one(GOOD, &VerifyPolicy::at(NOW), ED25519_RECORD).body_length, None);
    // All of an empty body is covered by l=0.
    let mut headers = message();
    sign_as_told(&ED25519, &mut headers, &format!("{GOOD}; l=0"), &["from", "to", "subject"], b"");
    let results = verify(&headers, "\r\n \r\n", &VerifyPolicy::at(NOW), &records(&[ED25519_RECORD]));
    assert_eq!(results[0].reason, Reason::Verified);
}

/// A name and a value.
type Octets = (Vec<u8>, Vec<u8>);

#[test]
fn what_was_changed_on_the_way_shows() {
    let mut signed = message();
    sign_as_told(&ED25519, &mut signed, GOOD, &["from", "to", "subject"], CANONICAL_BODY.as_bytes());
    let with = |change: &dyn Fn(Field<'_>) -> Option<Octets>| {
        let mut headers = HeaderBlock::new();
        for field in signed.iter() {
            if let Some((name, value)) = change(field) {
                headers.push(&name, &value);
            }
        }
        headers
    };
    let keep = |field: Field<'_>| Some((field.name.to_vec(), field.value.to_vec()));
    let reason = |headers: &HeaderBlock, body: &str| {
        verify(headers, body, &VerifyPolicy::at(NOW), &records(&[ED25519_RECORD])).remove(0).reason
    };
    assert_eq!(reason(&with(&keep), BODY), Reason::Verified);
    assert_eq!(reason(&with(&keep), "Hello Bob,\r\n\r\nbye"), Reason::Verified);
    assert_eq!(reason(&with(&keep), "Hello Bob,\r\n\r\nbye!\r\n"), Reason::BodyHashMismatch);
    assert_eq!(reason(&with(&keep), ""), Reason::BodyHashMismatch);
    let renamed = |field: Field<'_>| keep(field).map(|(name, value)| (name.to_ascii_uppercase(), value));
    assert_eq!(reason(&with(&renamed), BODY), Reason::Verified);
    let no_subject = |field: Field<'_>| keep(field).filter(|_| !field.is_called(b"subject"));
    assert_eq!(reason(&with(&no_subject), BODY), Reason::SignatureMismatch);
    let no_received = |field: Field<'_>| keep(field).filter(|_| !field.is_called(b"received"));
    assert_eq!(reason(&with(&no_received), BODY), Reason::Verified);
    let mut below = with(&keep);
    below.push(b"Subject", b" three");
    assert_eq!(reason(&below, BODY), Reason::SignatureMismatch);
    for at in 0..3 {
        let edited = |field: Field<'_>| {
            let (name, mut value) = keep(field).unwrap();
            if field.is_called(FIELD_NAME.as_bytes()) {
                let b = value.len() - 10 - at;
                value[b] = if value[b] == b'A' { b'B' } else { b'A' };
            }
            Some((name, value))
        };
        assert_eq!(reason(&with(&edited), BODY), Reason::SignatureMismatch);
    }
}

#[test]
fn fields_that_must_be_signed() {
    let must = |names: &[&str]| VerifyPolicy {
        must_be_signed: names.iter().map(|name| (*name).to_owned()).collect(),
        ..VerifyPolicy::at(NOW)
    };
    let reason = |policy| one(GOOD, &policy, ED25519_RECORD).reason;
    assert_eq!(reason(must(&["Subject", "TO", "x-absent"])), Reason::Verified);
    assert_eq!(reason(must(&["To", "received"])), Reason::UnprotectedField("received".to_owned()));
    let mut headers = message();
    sign_as_told(&ED25519, &mut headers, GOOD, &["from", "to", "subject"], CANONICAL_BODY.as_bytes());
    let mut twice = HeaderBlock::new();
    twice.push(b"Subject", b" put on top");
    headers.iter().for_each(|field| twice.push(field.name, field.value));
    let result = verify(&twice, BODY, &must(&["subject"]), &records(&[ED25519_RECORD])).remove(0);
    assert_eq!(result.result, AuthResult::Policy, "one instance of the two is not signed");
    assert_eq!(result.reason.to_string(), "unprotected header field subject");
}

#[test]
fn answers_of_dns() {
    let mut headers = message();
    sign_as_told(&ED25519, &mut headers, GOOD, &["from", "to", "subject"], CANONICAL_BODY.as_bytes());
    let verification = || {
        let mut verification = Verification::begin(&headers, None, |_| false, &VerifyPolicy::at(NOW));
        verification.body(BODY.as_bytes());
        verification
    };
    assert_eq!(verification().queries().collect::<Vec<_>>(), [(0, "sel._domainkey.example.com")]);
    assert!(verification().needs_body() && !verification().is_unsigned());
    assert_eq!(verification().finish(|_| None)[0].result, AuthResult::TempError);
    let spf = "v=spf1 -all";
    let other = "v=DKIM1; k=ed25519; p=YVLFVSJs4OESsDIbaYCkIrQt4ewvVU1TPb1RFM8SOgc=";
    let revoked = "v=DKIM1; p=";
    for (answer, result) in [
        (KeyAnswer::NotFound, AuthResult::PermError),
        (KeyAnswer::TempFail("SERVFAIL".to_owned()), AuthResult::TempError),
        (records(&[]), AuthResult::PermError),
        (records(&[spf, ED25519_RECORD]), AuthResult::Pass),
        (records(&[other, ED25519_RECORD]), AuthResult::Pass),
        (records(&[revoked, other]), AuthResult::Fail),
        (records(&[spf, revoked]), AuthResult::PermError),
        (records(&[spf; MAX_RECORDS + 1]), AuthResult::PermError),
    ] {
        assert_eq!(verification().finish(|_| Some(&answer))[0].result, result, "{answer:?}");
    }
    let mut late = vec![spf; MAX_RECORDS];
    late.push(ED25519_RECORD);
    let late = records(&late);
    assert_eq!(verification().finish(|_| Some(&late))[0].result, AuthResult::PermError);
    let failed = KeyAnswer::TempFail("timed out".to_owned());
    let results = verification().finish(|_| Some(&failed));
    assert_eq!(results[0].reason.to_string(), "key DNS query failed: timed out");
}

#[test]
fn which_signatures_are_evaluated() {
    let mut headers = message();
    let domains = ["four.example", "sub.author.example", "trusted.example", "author.example", "two.example"];
    for domain in domains.iter().rev() {
        let tags = GOOD.replace("example.com", domain);
        sign_as_told(&ED25519, &mut headers, &tags, &["from", "to", "subject"], CANONICAL_BODY.as_bytes());
    }
    // Signatures that are settled at once take no place.
    let mut junk = HeaderBlock::new();
    (0..20).for_each(|_| junk.push(b"DKIM-Signature", b" v=1; junk"));
    headers.iter().for_each(|field| junk.push(field.name, field.value));
    let evaluated = |max_signatures, author: Option<&str>| {
        let policy = VerifyPolicy { max_signatures, ..VerifyPolicy::at(NOW) };
        let mut verification =
            Verification::begin(&junk, author, |domain| domain == "trusted.example", &policy);
        assert_eq!(verification.queries().len(), max_signatures.min(5));
        verification.body(BODY.as_bytes());
        let results = verification.finish(|_| Some(&KeyAnswer::NotFound));
        assert_eq!(results.len(), 25);
        assert!(results.iter().enumerate().all(|(at, result)| result.field == at));
        let ignored = results.iter().filter(|result| result.result == AuthResult::Neutral).count();
        assert_eq!(ignored, 5 - max_signatures.min(5));
        let asked = results.into_iter().filter(|result| result.reason == Reason::KeyNotFound);
        asked.map(|result| result.claims.domain.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(evaluated(1, Some("Author.example")), ["author.example"]);
    assert_eq!(evaluated(2, Some("author.example")), ["sub.author.example", "author.example"]);
    assert_eq!(evaluated(2, Some("mail.author.example")), ["trusted.example", "author.example"]);
    assert_eq!(evaluated(1, None), ["trusted.example"]);
    assert_eq!(evaluated(3, Some("not a domain")), ["four.example", "sub.author.example", "trusted.example"]);
    assert_eq!(evaluated(9, None), domains);
    assert_eq!(evaluated(0, None), [""; 0]);
}

#[test]
fn endless_signatures_are_not_read() {
    let mut headers = HeaderBlock::new();
    (0..5000).for_each(|_| headers.push(b"dkim-signature ", b" v=1"));
    let verification = Verification::begin(&headers, None, |_| false, &VerifyPolicy::at(NOW));
    assert_eq!(verification.unread(), 5000 - MAX_READ);
    assert!(!verification.needs_body());
    assert_eq!(verification.finish(|_| None).len(), MAX_READ);
    let none = Verification::begin(&message(), None, |_| false, &VerifyPolicy::at(NOW));
    assert!(none.is_unsigned() && none.finish(|_| None).is_empty());
}

#[test]
fn a_signature_does_not_sign_itself() {
    // h= names DKIM-Signature twice: the one below, and one that must not be there (oversigned).
    let mut headers = message();
    headers.push(b"DKIM-Signature", b" v=1; junk");
    let tags = GOOD.replace("subject", "dkim-signature:dkim-signature");
    let names = ["from", "to", "dkim-signature", "dkim-signature"];
    sign_as_told(&ED25519, &mut headers, &tags, &names, CANONICAL_BODY.as_bytes());
    let results = verify(&headers, BODY, &VerifyPolicy::at(NOW), &records(&[ED25519_RECORD]));
    assert_eq!(results[0].reason, Reason::Verified);
    assert_eq!(results[1].result, AuthResult::PermError);
}

#[test]
fn signatures_with_the_same_key_ask_once() {
    let mut headers = message();
    for tags in [GOOD.to_owned(), GOOD.replace("relaxed/relaxed", "simple/relaxed")] {
        sign_as_told(&ED25519, &mut headers, &tags, &["from", "to", "subject"], CANONICAL_BODY.as_bytes());
    }
    let mut verification = Verification::begin(&headers, None, |_| false, &VerifyPolicy::at(NOW));
    assert_eq!(verification.queries().len(), 1);
    verification.body(BODY.as_bytes());
    let answer = records(&[ED25519_RECORD]);
    let results = verification.finish(|_| Some(&answer));
    assert!(results.iter().all(|result| result.result == AuthResult::Pass), "{results:?}");
}

#[test]
fn bare_line_ends_can_be_taken_for_crlf() {
    let mut headers = message();
    sign_as_told(&ED25519, &mut headers, GOOD, &["from", "to", "subject"], b"a\r\nb\r\n");
    for (fix_crlf, body, result) in [
        (false, "a\r\nb\r\n", AuthResult::Pass),
        (false, "a\nb\n", AuthResult::Fail),
        (true, "a\nb\n", AuthResult::Pass),
        (true, "a\rb\r", AuthResult::Pass),
        (true, "a\r\nb\r\n", AuthResult::Pass),
    ] {
        let policy = VerifyPolicy { fix_crlf, ..VerifyPolicy::at(NOW) };
        assert_eq!(
            verify(&headers, body, &policy, &records(&[ED25519_RECORD]))[0].result,
            result,
            "{body:?}"
        );
    }
}

#[test]
fn claims_hold_only_what_may_be_printed() {
    let claims = |tags: &str| one(tags, &VerifyPolicy::at(NOW), ED25519_RECORD).claims;
    let good = claims(GOOD);
    assert_eq!(good.domain.as_deref(), Some("example.com"));
    assert_eq!(good.selector.as_deref(), Some("sel"));
    assert_eq!(good.identity.as_deref(), Some("@example.com"));
    assert_eq!(good.algorithm.as_deref(), Some("ed25519-sha256"));
    assert_eq!(good.signature_base64.len(), 88);
    let unicode = claims(&GOOD.replace("d=example.com", "d=Bücher.example; i=jürgen@bücher.example"));
    assert_eq!(unicode.domain.as_deref(), Some("xn--bcher-kva.example"));
    assert_eq!(unicode.identity.as_deref(), Some("jürgen@xn--bcher-kva.example"));
    let forged = claims(&GOOD.replace("example.com", "example.net(.example.com"));
    assert_eq!((forged.domain, forged.identity), (None, None));
    assert_eq!(forged.selector.as_deref(), Some("sel"));
    assert_eq!(claims(&format!("{GOOD}; i=@example.org")).identity, None);
    assert_eq!(claims(&format!("{GOOD}; i=a\u{202e}b@example.com")).identity, None);
    assert_eq!(claims(&format!("{GOOD}; i=a b@example.com")).identity, None);
    assert_eq!(
        claims(&format!("{GOOD}; i=\"a b\"@example.com")).identity.as_deref(),
        Some("\"a b\"@example.com")
    );
    assert_eq!(claims(&GOOD.replace("a=ed25519-sha256", "a=RSA-MD5")).algorithm.as_deref(), Some("rsa-md5"));
    assert_eq!(claims(&GOOD.replace("a=ed25519-sha256", "a=x (y")).algorithm, None);
}

proptest! {
    #[test]
    fn no_message_and_no_record_makes_it_panic(
        fields in proptest::collection::vec(("(?i)dkim-signature|from|[ -~]{0,5}", "[ -~\n\t;=]{0,60}"), 0..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        record in proptest::collection::vec(any::<u8>(), 0..60),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        now in any::<u64>(),
    ) {
        let mut value = format!(" {GOOD}; b=Zm9v").replace("<bh>", &base64::encode(&[1; 32])).into_bytes();
        for (at, octet) in changes {
            let at = at.index(value.len());
            value[at] = octet;
        }
        let mut headers = HeaderBlock::new();
        headers.push(b"DKIM-Signature", &value);
        fields.iter().for_each(|(name, value)| headers.push(name.as_bytes(), value.as_bytes()));
        let mut verification = Verification::begin(&headers, Some("example.com"), |_| true, &VerifyPolicy::at(now));
        verification.body(&body);
        let answer = KeyAnswer::Records(vec![record, ED25519_RECORD.as_bytes().to_vec()]);
        for result in verification.finish(|_| Some(&answer)) {
            prop_assert_ne!(result.result, AuthResult::Pass);
            let claims = result.claims;
            for text in [claims.domain, claims.selector].into_iter().flatten() {
                prop_assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)));
            }
            prop_assert!(claims.identity.is_none_or(|text| !text.contains(|c: char| c.is_control())));
        }
    }
}
