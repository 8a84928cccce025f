//! Random messages that our core signs, judged by a verifier that shares no code with it (mail-auth).

use std::sync::Arc;

use harness::dns::Zone;
use harness::keys::{ED25519, RSA};
use harness::second_opinion::mail_auth;
use milter::dkim::{Canonicalization, HeaderBlock, SignatureTemplate, Signing, SigningKey};
use proptest::prelude::*;

/// A field's value as a milter gets it: a leading blank, folds as LF and white space.
fn value() -> impl Strategy<Value = String> {
    let word = "[!-9;-~äß]{1,12}";
    let gap = prop_oneof![Just(" "), Just("  "), Just("\t"), Just("\n "), Just("\n\t"), Just(" \n  ")];
    proptest::collection::vec((gap, word), 0..8)
        .prop_map(|words| words.into_iter().fold(" x".to_owned(), |text, (gap, word)| text + gap + &word))
}

/// Lines of a body, blank ones and trailing white space included, each with its CRLF.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(String::new()),
        "[ \t]{1,3}",
        "[a-zé.]{1,10}([ \t]{1,3}[a-z=]{1,10}){0,4}[ \t]{0,2}"
    ];
    proptest::collection::vec(line, 0..12)
        .prop_map(|lines| lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect())
}

fn canonicalization() -> impl Strategy<Value = Canonicalization> {
    prop_oneof![Just(Canonicalization::Simple), Just(Canonicalization::Relaxed)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn what_we_sign_another_verifies(
        fields in proptest::collection::vec(("[A-Z][a-z-]{0,10}", value()), 0..8),
        body in body(),
        header_canonicalization in canonicalization(),
        body_canonicalization in canonicalization(),
        cut in 1_usize..40,
    ) {
        let mut headers = HeaderBlock::new();
        headers.push(b"From", b" Anna <anna@example.com>");
        for (name, value) in &fields {
            // A second author, or a signature of somebody else, is another test.
            let name = if name.eq_ignore_ascii_case("from") { "X-From" } else { name };
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let templates = [("rsa", RSA), ("ed", ED25519)].map(|(selector, key)| SignatureTemplate {
            key: Arc::new(SigningKey::parse(key.pem.as_bytes()).unwrap()),
            domain: "example.com".to_owned(),
            selector: selector.to_owned(),
            identity: None,
            header_canonicalization,
            body_canonicalization,
            timestamp: 1_700_000_000,
            expiration: None,
            signed_fields: (0..headers.len()).collect(),
            oversigned: vec!["From".to_owned()],
        });
        let mut signing = Signing::begin(&headers, templates.to_vec(), false).unwrap();
        body.chunks(cut).for_each(|chunk| signing.body(chunk));
        let mut message = Vec::new();
        for ready in signing.finish() {
            let value = ready.sign().unwrap().value.replace('\n', "\r\n");
            message.extend_from_slice(format!("DKIM-Signature:{value}\r\n").as_bytes());
        }
        for field in headers.iter() {
            message.extend_from_slice(&[field.name, b":", field.value, b"\r\n"].concat());
        }
        message.extend_from_slice(&[b"\r\n", &body[..]].concat());

        let zone = RSA.publish(Zone::new(), "rsa", "example.com");
        let zone = ED25519.publish(zone, "ed", "example.com");
        let opinions = mail_auth(&message, &zone);
        let verdicts: Vec<&str> = opinions.iter().map(|opinion| opinion.verdict.as_str()).collect();
        prop_assert_eq!(verdicts, ["pass", "pass"], "{}", String::from_utf8_lossy(&message));
    }
}
