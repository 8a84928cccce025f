//! Tests of the forms of private keys; the keys in here protect nothing.

use super::*;
use crate::dkim::base64::encode;
use crate::dkim::crypto::{KeyKind, VerifyingKey};
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
        (rsa_of(1016), KeyError::TooSmall { bits: 1016 }),
        (rsa_of(1024), KeyError::Corrupt),
        (pem("RSA PRIVATE KEY", &rsa_of(512)).into_bytes(), KeyError::TooSmall { bits: 512 }),
        (in_pkcs8(RSA_ENCRYPTION, &rsa_of(768)), KeyError::TooSmall { bits: 768 }),
        (rsa_of(2048), KeyError::Corrupt),
        (rsa_of(16384), KeyError::TooLarge { bits: 16384 }),
    ] {
        let shown = form.escape_ascii().to_string();
        assert_eq!(SigningKey::parse(&form).err(), Some(error), "{shown:.80}");
    }
}

#[test]
fn old_small_keys_still_sign() {
    for (text, bits) in [(RSA_1024_PKCS1, 1024), (RSA_1536_PKCS8, 1536)] {
        let key = SigningKey::parse(text.as_bytes()).unwrap();
        assert_eq!((key.kind(), key.bits()), (KeyKind::Rsa, bits));
        let digest = [7; 32];
        let signature = key.sign(&digest).unwrap();
        let public = VerifyingKey::parse(KeyKind::Rsa, &key.public_key().unwrap()).unwrap();
        assert!(public.verifies(&digest, &signature));
        assert!(!public.verifies(&[8; 32], &signature));
    }
}

#[test]
fn errors_say_what_to_do() {
    let text = KeyError::TooSmall { bits: 1000 }.to_string();
    assert_eq!(text, "the RSA key has 1000 bits; signing needs at least 1024");
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

/// A key made for this test, PKCS#1.
const RSA_1024_PKCS1: &str = "MIICWwIBAAKBgQDJmSPc8hNz5C6aOK5btyloGOfSoCE+wJ0iv4iqo59YpaAG4ZQP\
     wdUf28l7t+G3PjBFb4z2w/fssOd/+in9rLTwJfnd1XVF8FA6aZJ+MR3/EXM7E+6J\
     X0NIO6BVG7DrDIpoMJAzIa5MYE19ILF763wcwOMIDhO6+F4fjO4ilckSEwIDAQAB\
     AoGAGkXf+6J80ISzYhvy9Tb4qX1dcQC3dHMrx2SIzhxG3wmuwlbRsgAD44QETSBY\
     xUXQiqwQBfTiMbGYagBTSqEgb1R67YzxQN6Q53eIApe7v91tIsy1GMbQa49qXQel\
     gAqkAV2ANt+zKIHhd3UDAVqgzCPT7YbzfNNla2X5VNaXDjECQQDm8AiX+XyxFAhH\
     rkER0/fJt1bHjfsXn/LMlgnRCi2lrI8oit61KIzQ2nPRIB4hkcmnVWTfFMyrLFmq\
     2jeJAl2ZAkEA33n9xISiQejW+KJiW0FJ0K5OpcKNn4NfB7ICk56vutmIDxO8UCq+\
     a5KHJ0Up8kEp3jwKQ7ybbfKYjVJylypAiwJAHAZK9K5Y/GAy9Qfna5NugXMXO9Y1\
     /1LwsvUOMejrSyyans/jYNaP6BRqc5lTLr2zW/QX7p5mi+sw4nPiw2SfGQJAFJC2\
     YLJP+D7EIadX48vzTgfsZuarf8VoJl4kTI9q3ogMNE79omb8lQur8lo0DP4gKzpd\
     O3SM3SZZEZBHyU9zFwJAOuvOrzHlct1eRtpT2HompWiaF+hBnqtWRDZhGHwD4ddy\
     EwtaoELZSUk1GA33UhPeUnau6lK+i3C6PEIpiTHxnQ==";

/// Another, PKCS#8.
const RSA_1536_PKCS8: &str = "MIIDlgIBADANBgkqhkiG9w0BAQEFAASCA4AwggN8AgEAAoHBAKZxBiz0G46x6aF/\
     NFyHlKmQoy9ATg/fR8O2w1NsD7UgbQqWZ7uZDxhQR0TwSvXvH287s6S9HFbgDQ6N\
     0+WtViyeDaq1wDQ5hxrFP0XsCtms3zKO1MUTzbJAEiCW4+HeEUsfRas30aDulU8T\
     dVi7xbztDtZbdbF4+vEC6gghR8c1Ji1yHonYuSOs66m2KWOQ1wvl6dHk69V55IFV\
     7UeMoywk2nN7tJBCtlNN4yWdFzelppfl9FANBVHPqowvMeRh2wIDAQABAoHAR4rJ\
     hsUem0VqERrmXOeCRSiAnCzd4QCujjee2drXHZnkhOqFiCOQU3keSUmoTvIL5voY\
     i7Ul20nPEvRvoofRRLhjU39wMIKRyjYCroF5YHtoLQkr99I9VmMn5440Qb/7qYLa\
     Ezq/GWNyKCEMvwf5AVJTMgPUar+0MnDAf9lBmnJ/hnXBqr8HNAighBqwNMh9KT0S\
     7Wjq/P74vlWAbxqn2wWrQD3248nOdkTRVPQr+BilTQLsSMEOuvDKU6k7GoLBAmEA\
     0BDj4F4ayD67LS5g4hhurzoGp3CbvlwgA2TUAvkd3sBNoqn6snXAid9kNH5GAcK3\
     EHD+UIqmfM9Uhy9P7URET0zdOyknscUTKOdpkcFydWXnQ5WZR+0vlDc++ifEF/3L\
     AmEAzMk/Jj8z1lG1NDRjpxrvAYcm5YQVfKUENACIjkrPmOuMprlOyQDqXB4BMJhq\
     LOPvlW+vFgKk0oOmvTA9mW6jn3ztlwqaFbgo5jZ+3mGpC7VPpRVKxIlBuHAdKGXX\
     zKoxAmEAovY3pMnP7DrF25NRqoQ8XN3zzD00npoFMONN8q4vKQIxTFAZ3KDBlrry\
     /vJP3p0lSKlXZrnRwDubFu6FiW5Imlu3gtivEFsssILfepurDCwuQA7xqRYqh8nl\
     d4Sh37CVAmBJmzw7fxQewJek//+hnKizn+R3MpaWiqmMF3T90B32FRQlCQ4saUvT\
     eGVtFhtzryn6SH5iJukfUXqpHaHGeGIPfVPYqlLf46WvuX64Z9ne/3h1GcYaBku9\
     A283igOa6MECYEs83CRGsBr4SfXcLZDhu00027CjTsVFIL4KVnt0KUCO7n7b7L4d\
     KYcZ+Ybww3uHuV73l6aypoqVLAUOUd9h2ZqaD2dusft6+ryGsh+VijLO6XR2/YOb\
     YRV8VTIjggRBsA==";
