//! Tests of signing: what the field looks like, and that our own verifier takes it.

use std::sync::LazyLock;

use super::*;
use crate::dkim::result::{AuthResult, SignatureResult};
use crate::dkim::verify::{KeyAnswer, Verification, VerifyPolicy};
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;

static ED25519: LazyLock<Arc<SigningKey>> =
    LazyLock::new(|| Arc::new(SigningKey::parse(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap()));
static RSA: LazyLock<Arc<SigningKey>> = LazyLock::new(|| Arc::new(SigningKey::generate_rsa(2048).unwrap()));

fn record(key: &SigningKey) -> KeyAnswer {
    let text = format!("v=DKIM1; k={}; p={}", key.kind(), base64::encode(&key.public_key().unwrap()));
    KeyAnswer::Records(vec![text.into_bytes()])
}

fn template(key: &Arc<SigningKey>, headers: &HeaderBlock) -> SignatureTemplate {
    SignatureTemplate {
        key: Arc::clone(key),
        domain: "example.com".to_owned(),
        selector: "sel".to_owned(),
        identity: None,
        header_canonicalization: Canonicalization::Relaxed,
        body_canonicalization: Canonicalization::Simple,
        timestamp: NOW,
        expiration: None,
        signed_fields: (0..headers.len()).collect(),
        oversigned: Vec::new(),
    }
}

fn message() -> HeaderBlock {
    let mut headers = HeaderBlock::new();
    headers.push(b"From", b" Anna <anna@example.com>");
    headers.push(b"to", b" bob@example.net,\n\tcarl@example.net");
    headers.push(b"Subject", b"  hello  ");
    headers
}

/// What the message is when the milter's new fields are on top, as Postfix writes them.
fn with_fields(fields: &[SignedField], headers: &HeaderBlock) -> HeaderBlock {
    let mut signed = HeaderBlock::new();
    fields.iter().for_each(|field| signed.push(FIELD_NAME.as_bytes(), field.value.as_bytes()));
    headers.iter().for_each(|field| signed.push(field.name, field.value));
    signed
}

fn sign(headers: &HeaderBlock, templates: Vec<SignatureTemplate>, body: &[&[u8]]) -> Vec<SignedField> {
    let mut signing = Signing::begin(headers, templates, false).unwrap();
    body.iter().for_each(|piece| signing.body(piece));
    signing.finish().into_iter().map(|ready| ready.sign().unwrap()).collect()
}

fn verify(headers: &HeaderBlock, body: &[u8], answer: &KeyAnswer) -> Vec<SignatureResult> {
    let mut verification = Verification::begin(headers, None, |_| false, &VerifyPolicy::at(NOW));
    verification.body(body);
    verification.finish(|_| Some(answer))
}

#[test]
fn the_field_as_it_is_written() {
    let headers = message();
    let long = SignatureTemplate {
        identity: Some("anna@mail.Example.com".to_owned()),
        expiration: Some(NOW + 3600),
        oversigned: vec!["From".to_owned(), "Cc".to_owned()],
        ..template(&ED25519, &headers)
    };
    let fields = sign(&headers, vec![template(&ED25519, &headers), long], &[b"hello\r\n"]);
    let (text, _) = fields[0].value.rsplit_once("b=").unwrap();
    let bh = body_hash(b"hello\r\n");
    let want = [
        " v=1; a=ed25519-sha256; c=relaxed/simple; d=example.com;",
        "\ts=sel; t=1800000000;",
        &format!("\tbh={bh}; h=From:to:Subject;"),
        "\t",
    ];
    assert_eq!(text, want.join("\n"));
    assert_eq!((fields[0].domain.as_str(), fields[0].selector.as_str()), ("example.com", "sel"));
    let flat: String = fields[1].value.split_whitespace().collect();
    assert!(
        flat.starts_with(
            "v=1;a=ed25519-sha256;c=relaxed/simple;d=example.com;s=sel;t=1800000000;x=1800003600;i=anna@mail.Example.com;bh="
        ),
        "{flat}"
    );
    assert!(flat.contains("=;h=From:to:Subject:From:Cc;b="), "{flat}");
    for field in &fields {
        assert!(field.value.starts_with(" v=1; "));
        assert!(field.value.lines().all(|line| line.len() <= 75 && !line.contains('\r')), "{}", field.value);
    }
}

fn body_hash(canonical: &[u8]) -> String {
    let mut sha256 = Sha256::new();
    sha256.update(canonical);
    base64::encode(&sha256.finish())
}

#[test]
fn our_own_verifier_takes_every_combination() {
    let headers = message();
    let body: &[u8] = b" hello \t world\r\n\r\n\r\n";
    for key in [&ED25519, &RSA] {
        let mut templates = Vec::new();
        for header_canonicalization in [Canonicalization::Simple, Canonicalization::Relaxed] {
            for body_canonicalization in [Canonicalization::Simple, Canonicalization::Relaxed] {
                templates.push(SignatureTemplate {
                    header_canonicalization,
                    body_canonicalization,
                    oversigned: vec!["from".to_owned(), "reply-to".to_owned()],
                    identity: Some("@example.com".to_owned()),
                    ..template(key, &headers)
                });
            }
        }
        let fields = sign(&headers, templates, &[&body[..9], &body[9..]]);
        assert_eq!(fields.len(), 4);
        let mut signed = with_fields(&fields, &headers);
        for result in verify(&signed, body, &record(key)) {
            assert_eq!(result.result, AuthResult::Pass, "{}", result.reason);
            assert_eq!(result.key_bits, Some(key.bits()));
            assert_eq!(result.claims.identity.as_deref(), Some("@example.com"));
        }
        signed.push(b"Reply-To", b" eve@example.org");
        for result in verify(&signed, body, &record(key)) {
            assert_eq!(result.result, AuthResult::Fail, "Reply-To is oversigned");
        }
    }
}

#[test]
fn two_keys_in_one_pass() {
    let headers = message();
    let rsa = SignatureTemplate { selector: "rsa".to_owned(), ..template(&RSA, &headers) };
    let fields = sign(&headers, vec![rsa, template(&ED25519, &headers)], &[b"x"]);
    assert_eq!(fields[0].algorithm, Algorithm::RsaSha256);
    assert_eq!(fields[1].algorithm, Algorithm::Ed25519Sha256);
    let signed = with_fields(&fields, &headers);
    let mut verification = Verification::begin(&signed, None, |_| false, &VerifyPolicy::at(NOW));
    verification.body(b"x");
    let answers = [record(&RSA), record(&ED25519)];
    let results = verification.finish(|query| answers.get(query));
    assert!(results.iter().all(|result| result.result == AuthResult::Pass), "{results:?}");
}

#[test]
fn an_oversigned_name_that_is_not_chosen_is_signed() {
    let mut headers = message();
    headers.push(b"X-Loop", b" 1");
    let only_from = SignatureTemplate {
        signed_fields: vec![0],
        oversigned: vec!["X-Loop".to_owned(), "x-loop".to_owned()],
        ..template(&ED25519, &headers)
    };
    let fields = sign(&headers, vec![only_from], &[]);
    let signed = with_fields(&fields, &headers);
    assert_eq!(verify(&signed, b"", &record(&ED25519))[0].result, AuthResult::Pass);
}

#[test]
fn odd_names_and_what_is_on_the_message_already() {
    let mut headers = HeaderBlock::new();
    headers.push(b"DKIM-Signature", b" v=1; junk");
    headers.push(b"X;Y", b" semicolon");
    headers.push("X-\u{fc}".as_bytes(), b" 8-bit");
    headers.push(b"X Y", b" blank");
    headers.push(b"From \t", b" \xfc <a@example.com>");
    headers.push(b"Received", b" 1");
    headers.push(b"Received", b" 2");
    let fields = sign(&headers, vec![template(&ED25519, &headers)], &[]);
    let flat: String = fields[0].value.split_whitespace().collect();
    assert!(flat.contains("h=DKIM-Signature:From:Received:Received;"), "{flat}");
    let signed = with_fields(&fields, &headers);
    let results = verify(&signed, b"", &record(&ED25519));
    assert_eq!(results[0].result, AuthResult::Pass);
    assert_eq!(results[1].result, AuthResult::PermError);
}

#[test]
fn a_u_label_is_written_as_a_label() {
    let headers = message();
    let unicode = SignatureTemplate { domain: "Bücher.example".to_owned(), ..template(&ED25519, &headers) };
    let field = sign(&headers, vec![unicode], &[]).remove(0);
    assert!(field.value.contains("d=xn--bcher-kva.example;"), "{}", field.value);
    assert_eq!(field.domain, "xn--bcher-kva.example");
}

#[test]
fn what_cannot_be_signed() {
    let headers = message();
    let good = template(&ED25519, &headers);
    let text = |text: &str| text.to_owned();
    let many: Vec<String> = (0..2000).map(|n| format!("X-Field-{n:08}")).collect();
    let identity = |identity: &str| SignatureTemplate { identity: Some(text(identity)), ..good.clone() };
    for (template, error) in [
        (SignatureTemplate { domain: text("com"), ..good.clone() }, SignError::Domain),
        (SignatureTemplate { domain: text("a.com; x=1"), ..good.clone() }, SignError::Domain),
        (SignatureTemplate { selector: text(""), ..good.clone() }, SignError::Selector),
        (SignatureTemplate { selector: vec!["a"; 120].join("."), ..good.clone() }, SignError::Selector),
        (identity("anna"), SignError::Identity),
        (identity("anna@example.org"), SignError::Identity),
        (identity("anna@notexample.com"), SignError::Identity),
        (identity("\"a;b\"@example.com"), SignError::Identity),
        (identity("a b@example.com"), SignError::Identity),
        (identity("a\n@example.com"), SignError::Identity),
        (SignatureTemplate { expiration: Some(NOW), ..good.clone() }, SignError::Expiration),
        (SignatureTemplate { signed_fields: vec![1, 2, 99], ..good.clone() }, SignError::FromNotSigned),
        (SignatureTemplate { oversigned: vec![text("a:b")], ..good.clone() }, SignError::OversignedName),
        (SignatureTemplate { oversigned: many, ..good.clone() }, SignError::HeaderListTooLong),
    ] {
        let got = Signing::begin(&headers, vec![good.clone(), template], false).err();
        assert_eq!(got, Some(error));
    }
}

#[test]
fn the_key_can_work_elsewhere() {
    fn is_sendable<T: Send + 'static>(value: T) -> T {
        value
    }
    let headers = message();
    let signing = is_sendable(Signing::begin(&headers, vec![template(&RSA, &headers)], false).unwrap());
    let ready = is_sendable(signing.finish().remove(0));
    assert_eq!(ready.key_kind(), KeyKind::Rsa);
    let field = std::thread::spawn(|| ready.sign().unwrap()).join().unwrap();
    let signed = with_fields(&[field], &headers);
    assert_eq!(verify(&signed, b"", &record(&RSA))[0].result, AuthResult::Pass);
}

proptest! {
    #[test]
    fn what_is_signed_verifies(
        fields in proptest::collection::vec(
            ("[!-9<-~]{1,20}", "([ \t]{0,2}[!-~\u{e4}]{0,9}(\n[ \t])?){0,6}"), 0..12),
        body in proptest::collection::vec(
            proptest::sample::select(vec![&b"\r\n"[..], b" ", b"\t", b"text", b"\xe4\r"]), 0..20),
        cut in any::<prop::sample::Index>(),
        simple_header in any::<bool>(),
        simple_body in any::<bool>(),
        oversigned in proptest::collection::vec("[a-z-]{1,8}", 0..3),
    ) {
        let mut headers = message();
        fields.iter().for_each(|(name, value)| headers.push(name.as_bytes(), value.as_bytes()));
        let how = |simple| if simple { Canonicalization::Simple } else { Canonicalization::Relaxed };
        let template = SignatureTemplate {
            header_canonicalization: how(simple_header),
            body_canonicalization: how(simple_body),
            oversigned,
            ..template(&ED25519, &headers)
        };
        let body = body.concat();
        let (head, tail) = body.split_at(cut.index(body.len() + 1));
        let fields = sign(&headers, vec![template], &[head, tail]);
        let signed = with_fields(&fields, &headers);
        let result = verify(&signed, &body, &record(&ED25519)).remove(0);
        prop_assert_eq!(result.result, AuthResult::Pass, "{}", result.reason);
        let mut longer = body.clone();
        longer.extend_from_slice(b"more");
        let result = verify(&signed, &longer, &record(&ED25519)).remove(0);
        prop_assert_eq!(result.result, AuthResult::Fail);
    }
}
