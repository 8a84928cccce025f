//! Tests of reading a signature; what each flaw leads to is in the tests of `verify`.

use super::*;
use proptest::prelude::*;

const GOOD: &str = "v=1; a=rsa-sha256; d=example.com; s=sel; h=from : To:\r\n\tx;\
                    bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=Zm9v\r\n Yg==; l=42; t=5; x=6; c=Relaxed";

#[test]
fn all_the_parts() {
    let (claims, signature) = Signature::parse(GOOD.as_bytes());
    let signature = signature.unwrap();
    assert_eq!(signature.algorithm, Algorithm::RsaSha256);
    assert_eq!(signature.header_canonicalization, Canonicalization::Relaxed);
    assert_eq!(signature.body_canonicalization, Canonicalization::Simple);
    assert_eq!(signature.query_name(), "sel._domainkey.example.com");
    assert_eq!(signature.signed_names().collect::<Vec<_>>(), [&b"from"[..], b"To", b"x"]);
    assert_eq!(signature.signature, b"foob");
    assert_eq!(signature.body_hash.len(), 32);
    assert_eq!((signature.length, signature.timestamp, signature.expiration), (Some(42), Some(5), Some(6)));
    assert!(signature.identity_in_domain);
    assert_eq!(GOOD.get(signature.b_value), Some("Zm9v\r\n Yg=="));
    assert_eq!(claims.signature_base64, "Zm9vYg==");
    assert_eq!(claims.algorithm.as_deref(), Some("rsa-sha256"));
}

#[test]
fn numbers() {
    assert_eq!(number(b"0"), Some(0));
    assert_eq!(number(b"0018446744073709551615"), Some(u64::MAX));
    assert_eq!(number(b"18446744073709551616"), Some(u64::MAX));
    assert_eq!(number("9".repeat(76).as_bytes()), Some(u64::MAX));
    for text in ["", "-1", "+1", "1.0", "1 2", "0x1", "\u{661}", &"9".repeat(77)] {
        assert_eq!(number(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn identities() {
    let parsed =
        |text: &str| identity(text.as_bytes()).map(|(local, host)| format!("{local}|{}", host.as_str()));
    for (text, want) in [
        ("@example.com", "|example.com"),
        ("joe@Example.com", "joe|example.com"),
        ("joe+a=b@example.com", "joe+a=b|example.com"),
        (".joe..@example.com", ".joe..|example.com"),
        ("\"joe q\"@example.com", "\"joe q\"|example.com"),
        ("\"a\\\"@b\"@example.com", "\"a\\\"@b\"|example.com"),
        ("ü@ü.example", "ü|xn--tda.example"),
    ] {
        assert_eq!(parsed(text).as_deref(), Some(want));
    }
    for text in [
        "",
        "example.com",
        "joe@",
        "joe@com",
        "joe q@example.com",
        "a@b@example.com",
        "(joe)@example.com",
        "\"@example.com",
        "\"a\"b\"@example.com",
        "\"a\\\"@example.com",
        "a\u{85}@example.com",
        "a\u{2028}@example.com",
        "a\u{202e}@example.com",
        "joe@example.com(comment",
    ] {
        assert_eq!(parsed(text), None, "{text:?}");
    }
    assert_eq!(identity(&[b"a".repeat(1100), b"@example.com".to_vec()].concat()), None);
    assert_eq!(identity(b"\xfc@example.com"), None);
}

#[test]
fn what_is_shown_of_b_is_base64_and_bounded() {
    let shown = |b: &str| Signature::parse(format!("b={b}").as_bytes()).0.signature_base64;
    assert_eq!(shown("ab cd\r\n ef"), "abcdef");
    assert_eq!(shown("***not*base64***"), "");
    assert_eq!(shown("ab(cd"), "");
    assert_eq!(shown(&"A".repeat(5000)), "A".repeat(MAX_SHOWN_BASE64));
}

proptest! {
    #[test]
    fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(Signature::parse(&text).1.is_err());
        let joined = [GOOD.as_bytes(), b";i=", &text].concat();
        let (claims, _) = Signature::parse(&joined);
        prop_assert!(claims.identity.is_none_or(|shown| !shown.chars().any(char::is_control)));
    }
}
