//! Reading keys: every kind and algorithm, and the files that are refused.

use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Value, json};

use crate::oauth::jwt::{Outcome, parse_header, verify};
use crate::oauth::keys::{VerifyingKey, parse_hmac, parse_jwks, parse_pem, read_key_file};
use crate::oauth::testing::{
    CERTIFICATE, CERTIFICATE_KEY, Signer, claims, ed25519, p256, p384, pem, rsa, token,
};

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fn check(keys: &[VerifyingKey], text: &str) -> Outcome {
    verify(text, &parse_header(text.as_bytes()).unwrap(), keys)
}

fn good() -> Outcome {
    Outcome::Claims(claims().as_object().unwrap().clone())
}

fn signers() -> [(Signer, Vec<Algorithm>); 4] {
    [
        (rsa("r"), RSA.to_vec()),
        (p256("e"), vec![Algorithm::ES256]),
        (p384("f"), vec![Algorithm::ES384]),
        (ed25519("g"), vec![Algorithm::EdDSA]),
    ]
}

#[test]
fn every_algorithm_works_with_pem_and_jwks() {
    let signers = signers();
    for (signer, algorithms) in &signers {
        let by_pem = parse_pem(signer.pem.as_bytes()).unwrap();
        let by_jwks = parse_jwks(json!({ "keys": [signer.jwk] }).to_string().as_bytes()).unwrap();
        let kid = signer.jwk["kid"].as_str().unwrap();
        for algorithm in algorithms {
            let text = token(*algorithm, &signer.encoding, Some(kid), &claims());
            for keys in [&by_pem, &by_jwks] {
                assert_eq!(check(keys, &text), good(), "{algorithm:?}");
            }
            for (other, _) in signers.iter().filter(|(other, _)| other.pem != signer.pem) {
                let keys = parse_pem(other.pem.as_bytes()).unwrap();
                assert_eq!(check(&keys, &text), Outcome::NoKey, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn kid_and_alg_choose_the_key() {
    let (one, two) = (p256("one"), p256("two"));
    let jwks = |keys: &[&Value]| parse_jwks(json!({ "keys": keys }).to_string().as_bytes());
    let both = jwks(&[&one.jwk, &two.jwk]).unwrap();
    let text = |kid| token(Algorithm::ES256, &two.encoding, kid, &claims());
    assert_eq!(check(&both, &text(Some("two"))), good());
    assert_eq!(check(&both, &text(None)), good());
    assert_eq!(check(&both, &text(Some("one"))), Outcome::Forged);
    assert_eq!(check(&both, &text(Some("three"))), Outcome::NoKey);
    let mut nameless = two.jwk.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    assert_eq!(check(&jwks(&[&nameless]).unwrap(), &text(Some("any"))), good());

    let rsa = rsa("r");
    let mut only = rsa.jwk.clone();
    only["alg"] = json!("PS256");
    let keys = jwks(&[&only]).unwrap();
    assert_eq!(check(&keys, &token(Algorithm::PS256, &rsa.encoding, None, &claims())), good());
    assert_eq!(check(&keys, &token(Algorithm::RS256, &rsa.encoding, None, &claims())), Outcome::NoKey);

    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("ES384")),
        ("kty", json!("oct")),
        ("kty", json!("RSA")),
        ("crv", json!("P-384")),
        ("crv", json!("secp256k1")),
        ("x", json!("AAAA")),
        ("y", json!(7)),
    ] {
        let mut unusable = one.jwk.clone();
        unusable[name] = value;
        assert!(jwks(&[&unusable]).unwrap_err().contains("no key in it"), "{name}");
        assert_eq!(jwks(&[&unusable, &two.jwk]).unwrap().len(), 1, "the other keys stay");
    }
    let secret = json!({ "kty": "oct", "k": "a".repeat(86), "alg": "HS256" });
    assert!(jwks(&[&secret]).is_err());
    let mut short = rsa.jwk;
    short["n"] = json!("A".repeat(171));
    assert!(jwks(&[&short]).is_err());
    assert!(jwks(&[&one.jwk; 65]).unwrap_err().contains("65"));
    for broken in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1,null,"x"]}"#] {
        assert!(parse_jwks(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn a_certificate_gives_its_key() {
    let keys = parse_pem(CERTIFICATE.as_bytes()).unwrap();
    let private = EncodingKey::from_ec_pem(CERTIFICATE_KEY.as_bytes()).unwrap();
    assert_eq!(check(&keys, &token(Algorithm::ES256, &private, None, &claims())), good());
    let stranger = token(Algorithm::ES256, &p256("x").encoding, None, &claims());
    assert_eq!(check(&keys, &stranger), Outcome::Forged);
}

#[test]
fn files_that_hold_no_public_key_are_refused_for_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let small = pem(
        "RSA PUBLIC KEY",
        &[&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00, 0xc1][..], &[0x5b; 127], &[0x02, 0x03, 1, 0, 1]]
            .concat(),
    );
    for (name, text, why) in [
        ("empty.pem", "", "no public key"),
        ("private.pem", CERTIFICATE_KEY, "private key"),
        ("garbage.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither"),
        ("cut.pem", "-----BEGIN PUBLIC KEY", "malformed"),
        ("request.pem", "-----BEGIN CERTIFICATE REQUEST-----\n", "CERTIFICATE REQUEST"),
        ("small.pem", &small, "1024 bits"),
        ("short.key", &format!("{}\n", "k".repeat(31)), "has 31"),
        ("public.key", CERTIFICATE, "rename"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let error = read_key_file(&path).unwrap_err();
        assert!(error.contains(why) && error.contains(name), "{error}");
    }
    let large = folder.path().join("large.pem");
    std::fs::write(&large, "x".repeat(65 * 1024)).unwrap();
    assert!(read_key_file(&large).unwrap_err().contains("larger"));
    assert!(read_key_file(&folder.path().join("absent.pem")).unwrap_err().contains("absent.pem"));
}

#[test]
fn an_hmac_secret_is_the_bytes_of_its_file() {
    let secret = [b'#'; 64];
    let with_line_end = [&secret[..], b"\r\n"].concat();
    let key = [parse_hmac(&with_line_end).unwrap()];
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let text = token(algorithm, &EncodingKey::from_secret(&secret), None, &claims());
        assert_eq!(check(&key, &text), good(), "{algorithm:?}");
    }
    assert!(!format!("{key:?}").contains("35, 35"), "the secret is not printed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn noise_is_no_key_and_no_token(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[A-Za-z0-9_.-]{0,80}") {
        assert!(parse_pem(&bytes).is_err() && parse_jwks(&bytes).is_err());
        let armoured = pem("PUBLIC KEY", &bytes);
        assert!(parse_pem(armoured.as_bytes()).is_err());
        assert!(parse_header(&bytes).is_err());
        assert!(parse_header(text.as_bytes()).is_err());
    }
}
