//! Signatures and key records that are good but for one thing, and what each leads to.

use super::*;
use crate::dkim::record::RecordError;
use crate::dkim::signature::SignatureError;
use crate::dkim::tags::TagError;

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
