//! What the tests of tokens need: keys made on the spot, signed tokens, and a small issuer on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::config::settings::Oauth2;

/// The time in the tests.
pub(super) const NOW: u64 = 1_800_000_000;

/// A CA for tests, and a certificate of it for localhost and 127.0.0.1 with its key (P-256).
pub(super) const CA: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBhzCCASygAwIBAgIUak9Ia80NsG1E+Z/0jA50YeAXs7QwCgYIKoZIzj0EAwIw\n\
ETEPMA0GA1UEAwwGdGVzdENBMCAXDTI2MTEyMjAyMzQwOFoYDzIxMjYxMDI5MDIz\n\
NDA4WjARMQ8wDQYDVQQDDAZ0ZXN0Q0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AASjdA5fgf4TyK1pFXT0C5royBCY558sNy10efjx7EIuSdrfGMyYCgNeKVHURiG9\n\
gL3qqrfEorjxLhZ9PT95/Eu/o2AwXjAdBgNVHQ4EFgQUXy1Py7uF3vyC2E+SpTxV\n\
z7PSoRQwHwYDVR0jBBgwFoAUXy1Py7uF3vyC2E+SpTxVz7PSoRQwDwYDVR0TAQH/\n\
BAUwAwEB/zALBgNVHQ8EBAMCAgQwCgYIKoZIzj0EAwIDSQAwRgIhANUmUSGPWef1\n\
126wZ7AgbVajuwacIZxrateYxA8bDt1AAiEA4DsqKzFDPrPIX/EonbOpJk27OGuG\n\
7PwSc6I5P6KuS9c=\n\
-----END CERTIFICATE-----\n";
pub(super) const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBpjCCAU2gAwIBAgIUVhIxLsHe0GzS5la4G4XPtMKAbKEwCgYIKoZIzj0EAwIw\n\
ETEPMA0GA1UEAwwGdGVzdENBMCAXDTI2MTEyMjAyMzQwOFoYDzIxMjYxMDI5MDIz\n\
NDA4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMB\n\
BwNCAAQwgZFq5ub+vL+oxT8InlzH+0zWOrDZTRkMmTdQFafDsDVzTmeCbwUivLwD\n\
ZfQNLqHOafgp6bvtEK+252xMDJT2o34wfDAaBgNVHREEEzARgglsb2NhbGhvc3SH\n\
BH8AAAEwCQYDVR0TBAIwADATBgNVHSUEDDAKBggrBgEFBQcDATAdBgNVHQ4EFgQU\n\
OmerjiZcfpMkvx8QibcBDRhKd3cwHwYDVR0jBBgwFoAUXy1Py7uF3vyC2E+SpTxV\n\
z7PSoRQwCgYIKoZIzj0EAwIDRwAwRAIgXz9uEnneSpkjA71ECuwxGlxcv+IG8sXf\n\
TYCEz77gCWsCIFbVRIPc8Z6Shx8uF9aWokI6/cYHGFOBagHxmY1XXA72\n\
-----END CERTIFICATE-----\n";
pub(super) const CERTIFICATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsDBpST3NY/C31U11\n\
FKAdFxQdQp8c3JJTFHjcqeHYv2qhRANCAAQwgZFq5ub+vL+oxT8InlzH+0zWOrDZ\n\
TRkMmTdQFafDsDVzTmeCbwUivLwDZfQNLqHOafgp6bvtEK+252xMDJT2\n\
-----END PRIVATE KEY-----\n";

/// A key of an issuer: how it signs, and its public half.
pub(super) struct Signer {
    pub(super) encoding: EncodingKey,
    pub(super) pem: String,
    pub(super) jwk: Value,
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn signer(encoding: EncodingKey, pem: String, decoding: &DecodingKey, kid: &str) -> Signer {
    let mut jwk = serde_json::to_value(Jwk::from_decoding_key(decoding, None).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    Signer { encoding, pem, jwk }
}

pub(super) fn rsa(kid: &str) -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = pem("PRIVATE KEY", pair.as_der().unwrap().as_ref());
    let public = pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref());
    let decoding = DecodingKey::from_rsa_pem(public.as_bytes()).unwrap();
    signer(EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(), public, &decoding, kid)
}

pub(super) fn p256(kid: &str) -> Signer {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, kid)
}

pub(super) fn p384(kid: &str) -> Signer {
    ec(&ECDSA_P384_SHA384_FIXED_SIGNING, kid)
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, kid: &str) -> Signer {
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).unwrap();
    let public = pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref());
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({
        "kty": "EC", "crv": if x.len() == 32 { "P-256" } else { "P-384" }, "kid": kid, "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    Signer { encoding: EncodingKey::from_ec_der(private.as_ref()), pem: public, jwk }
}

pub(super) fn ed25519(kid: &str) -> Signer {
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
    let public = pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref());
    let decoding = DecodingKey::from_ed_der(pair.public_key().as_ref());
    signer(EncodingKey::from_ed_der(private.as_ref()), public, &decoding, kid)
}

pub(super) fn document(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| &signer.jwk).collect::<Vec<_>>() }).to_string()
}

/// Claims that a lenient policy accepts.
pub(super) fn claims() -> Value {
    json!({ "exp": NOW + 300, "email": "tim@example.com" })
}

pub(super) fn token(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// Settings as they are without any `[oauth2]` key but these.
pub(super) fn settings() -> Oauth2 {
    Oauth2 { username_claim: "email".into(), timeout: Duration::from_secs(4), ..Oauth2::default() }
}

/// What the issuer answers: the raw response, and how long it takes.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) response: String,
    pub(super) after: Duration,
}

pub(super) fn answer(status: &str, body: &str) -> Answer {
    let response =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    Answer { response, after: Duration::ZERO }
}

/// An issuer on loopback that answers every request with the same, and keeps the requests.
pub(super) struct Issuer {
    pub(super) url: String,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    pub(super) async fn start(first: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/place", listener.local_addr().unwrap());
        let (answer, requests) = (Arc::new(Mutex::new(first)), Arc::new(Mutex::new(Vec::new())));
        let (answers, seen) = (answer.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, seen): (Arc<Mutex<Answer>>, Arc<Mutex<Vec<String>>>) =
                    (answers.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !complete(&request) {
                        let mut buffer = [0; 4096];
                        let count = stream.read(&mut buffer).await.unwrap_or(0);
                        if count == 0 {
                            return;
                        }
                        request.extend_from_slice(&buffer[..count]);
                    }
                    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                    let Answer { response, after } = answers.lock().unwrap().clone();
                    tokio::time::sleep(after).await;
                    // The client may have hung up; then there is nobody to complain to.
                    drop(stream.write_all(response.as_bytes()).await);
                });
            }
        });
        Self { url, answer, requests }
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(super) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(super) fn last(&self) -> String {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

/// Whether the request has its whole body.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().to_owned())
        })
        .map_or(0, |number| number.parse::<usize>().unwrap());
    body.len() >= length
}
