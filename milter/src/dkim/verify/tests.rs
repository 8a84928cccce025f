//! Tests of verifying: the RFCs' examples, and signatures that are good but for one thing.

use std::sync::LazyLock;

use super::*;
use crate::dkim::base64;
use crate::dkim::canonical::Canonicalization;
use crate::dkim::crypto::SigningKey;
use proptest::prelude::*;

mod flaws;
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
