//! Tests of the forms of private keys; the keys in here protect nothing.

use super::*;
use crate::dkim::base64::encode;
use crate::dkim::crypto::KeyKind;
use proptest::prelude::*;

/// As `openssl genpkey -algorithm ed25519` writes it.
const ED25519_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILoZFsUQ1SDSgcCzuKlb+LESO7rm1yUQabsi1Ifchla5
-----END PRIVATE KEY-----
";

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = encode(der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, content].concat()
}

/// RSAPrivateKey out of the PKCS#8 that holds it.
fn pkcs1(pkcs8: &[u8]) -> Vec<u8> {
    let (key, _) = der_value(pkcs8, SEQUENCE).unwrap();
    let (_, rest) = der_value(key, INTEGER).unwrap();
    let (_, rest) = der_value(rest, SEQUENCE).unwrap();
    der_value(rest, OCTET_STRING).unwrap().0.to_vec()
}

#[test]
fn every_form_gives_the_same_key() {
    let rsa = SigningKey::generate_rsa(2048).unwrap();
    let public = rsa.public_key().unwrap();
    let pkcs8 = rsa.to_pkcs8().unwrap().to_vec();
    let pkcs1 = pkcs1(&pkcs8);
    let base64 = encode(&pkcs1);
    let folded = base64.as_bytes().chunks(50).map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>();
    let certificate = pem("CERTIFICATE", b"whatever");
    for form in [
        pkcs8.clone(),
        pkcs1.clone(),
        pem("PRIVATE KEY", &pkcs8).into_bytes(),
        pem("RSA PRIVATE KEY", &pkcs1).into_bytes(),
        pem("RSA PRIVATE KEY", &pkcs1).replace('\n', "\r\n").into_bytes(),
        pem("RSA PRIVATE KEY", &pkcs1).replace('\n', " ").into_bytes(),
        format!("Private-Key: (2048 bit)\n{certificate}{}", pem("PRIVATE KEY", &pkcs8)).into_bytes(),
        base64.into_bytes(),
        encode(&pkcs8).into_bytes(),
        folded.join("\n").into_bytes(),
    ] {
        let key = SigningKey::parse(&form).unwrap();
        assert_eq!(key.public_key().unwrap(), public);
        assert_eq!((key.kind(), key.bits()), (KeyKind::Rsa, 2048));
    }
}

#[test]
fn ed25519() {
    let key = SigningKey::parse(ED25519_PEM.as_bytes()).unwrap();
    assert_eq!((key.kind(), key.bits()), (KeyKind::Ed25519, 256));
    let seed = "uhkWxRDVINKBwLO4qVv4sRI7uubXJRBpuyLUh9yGVrk=";
    let again = SigningKey::parse(&key.to_pkcs8().unwrap()).unwrap();
    for other in [SigningKey::parse(seed.as_bytes()).unwrap(), again] {
        assert_eq!(other.public_key(), key.public_key());
    }
    // RFC 8463 §A.1 and §A.2.
    let key = SigningKey::parse(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n").unwrap();
    assert_eq!(encode(&key.public_key().unwrap()), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
}

#[test]
fn what_it_is_instead() {
    let rsa_of = |bits: usize| {
        let mut modulus = vec![0xff; bits / 8];
        modulus.insert(0, 0);
        value(SEQUENCE, &[value(INTEGER, &[0]), value(INTEGER, &modulus), value(INTEGER, &[3])].concat())
    };
    let in_pkcs8 = |oid: &[u8], key: &[u8]| {
        let algorithm = value(SEQUENCE, &value(OBJECT_IDENTIFIER, oid));
        value(SEQUENCE, &[value(INTEGER, &[0]), algorithm, value(OCTET_STRING, key)].concat())
    };
    let public = SigningKey::generate_rsa(2048).unwrap().public_key().unwrap();
    let (cut, _) = ED25519_PEM.rsplit_once('-').and_then(|(most, _)| most.rsplit_once("-----END")).unwrap();
    let elliptic = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    for (form, error) in [
        (vec![], KeyError::Empty),
        (b" \n".to_vec(), KeyError::Empty),
        (vec![b'A'; MAX_KEY_BYTES + 1], KeyError::TooLong),
        (b"/etc/dkimkeys/key".to_vec(), KeyError::NotAKey),
        (b"Zm9vYg==".to_vec(), KeyError::NotAKey),
        (vec![0x30, 0x82], KeyError::NotAKey),
        (vec![0xff; 40], KeyError::NotAKey),
        (cut.as_bytes().to_vec(), KeyError::BrokenPem),
        (b"-----BEGIN ".to_vec(), KeyError::BrokenPem),
        (ED25519_PEM.replace("MC4C", "M*4C").into_bytes(), KeyError::BrokenPem),
        (pem("PRIVATE KEY", b"nonsense").into_bytes(), KeyError::NotAKey),
        (pem("ENCRYPTED PRIVATE KEY", b"secret").into_bytes(), KeyError::Encrypted),
        (
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----"
                .to_vec(),
            KeyError::Encrypted,
        ),
        (pem("EC PRIVATE KEY", b"curve").into_bytes(), KeyError::OtherKind),
        (pem("OPENSSH PRIVATE KEY", b"ssh").into_bytes(), KeyError::OtherKind),
        (pem("CERTIFICATE", b"x").into_bytes(), KeyError::Public),
        (pem("PUBLIC KEY", &public).into_bytes(), KeyError::Public),
        (public.clone(), KeyError::Public),
        (public[24..].to_vec(), KeyError::Public),
        (encode(&public).into_bytes(), KeyError::Public),
        (in_pkcs8(&elliptic, b"curve"), KeyError::OtherKind),
        (in_pkcs8(RSA_ENCRYPTION, b"nonsense"), KeyError::Corrupt),
        (in_pkcs8(ID_ED25519, b"nonsense"), KeyError::Corrupt),
        (rsa_of(1024), KeyError::TooSmall { bits: 1024 }),
        (pem("RSA PRIVATE KEY", &rsa_of(512)).into_bytes(), KeyError::TooSmall { bits: 512 }),
        (in_pkcs8(RSA_ENCRYPTION, &rsa_of(1024)), KeyError::TooSmall { bits: 1024 }),
        (rsa_of(2048), KeyError::Corrupt),
        (rsa_of(16384), KeyError::TooLarge { bits: 16384 }),
    ] {
        let shown = form.escape_ascii().to_string();
        assert_eq!(SigningKey::parse(&form).err(), Some(error), "{shown:.80}");
    }
}

#[test]
fn errors_say_what_to_do() {
    let text = KeyError::TooSmall { bits: 1024 }.to_string();
    assert_eq!(text, "the RSA key has 1024 bits; signing needs at least 2048");
}

proptest! {
    #[test]
    fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..60), tail in "[A-Za-z0-9+/=\n -]{0,80}") {
        let _unused = SigningKey::parse(&text);
        let _unused = SigningKey::parse(&[&[0x30, 0x20, 2, 1, 0][..], &text].concat());
        let framed = format!("-----BEGIN PRIVATE KEY-----{tail}-----END PRIVATE KEY-----");
        prop_assert!(SigningKey::parse(framed.as_bytes()).is_err());
    }
}
