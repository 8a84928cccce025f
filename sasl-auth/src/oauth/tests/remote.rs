//! JWKS documents and introspection over HTTP, from a small issuer on loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::*;
use crate::config::settings::Oauth2;
use crate::oauth::testing::{Answer, CA, CERTIFICATE, CERTIFICATE_KEY, Issuer, Signer, answer, document};

fn by_jwks(place: &str) -> Tokens {
    Tokens::new(&Oauth2 { jwks: Some(place.into()), ..settings() }).unwrap()
}

fn by_introspection(url: &str) -> Oauth2 {
    Oauth2 { introspection_url: Some(url.into()), ..settings() }
}

fn signed(signer: &Signer, kid: &str) -> Secret {
    token(Algorithm::ES256, &signer.encoding, Some(kid), &json!({ "exp": NOW * 2, "email": "tim" })).into()
}

fn is_tim(verdict: &Result<TokenVerdict, Unavailable>) -> bool {
    matches!(verdict, Ok(TokenVerdict::Valid(found)) if found.user == "tim")
}

fn away(verdict: Result<TokenVerdict, Unavailable>, why: &str) {
    let detail = verdict.unwrap_err().detail;
    assert!(detail.contains(why) && detail.starts_with("oauth2: "), "{detail:?} has no {why:?}");
}

#[tokio::test]
async fn a_jwks_document_is_fetched_when_needed_and_not_more_often() {
    let (old, new) = (p256("old"), p256("new"));
    let issuer = Issuer::start(answer("200 OK", &document(&[&old]))).await;
    let tokens = by_jwks(&issuer.url);
    assert_eq!(issuer.count(), 0, "not before a token comes");
    for _ in 0..3 {
        assert!(is_tim(&tokens.check(&signed(&old, "old"), NOW).await));
    }
    assert_eq!(issuer.count(), 1);
    assert!(issuer.last().starts_with("GET /place HTTP/1.1"), "{}", issuer.last());

    // An unknown kid asks again, but at most once a minute.
    issuer.answers(answer("200 OK", &document(&[&old, &new])));
    refused(&tokens.check(&signed(&new, "new"), NOW + 59).await, "no key for alg ES256, kid \"new\"");
    assert_eq!(issuer.count(), 1);
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW + 61).await));
    for second in 62..70 {
        refused(&tokens.check(&signed(&new, "newer"), NOW + second).await, "no key");
    }
    assert_eq!(issuer.count(), 2);
    // A forged token does not make us ask.
    refused(&tokens.check(&signed(&new, "old"), NOW + 200).await, "signature");
    assert_eq!(issuer.count(), 2);

    // After an hour it is asked again; the old keys serve while it is away, for a day.
    issuer.answers(answer("503 Service Unavailable", ""));
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW + 61 + 3600).await));
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW + 61 + 3630).await));
    assert_eq!(issuer.count(), 3, "once a minute");
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW + 61 + 86_399).await));
    away(tokens.check(&signed(&new, "new"), NOW + 61 + 86_400).await, "for a day");
    issuer.answers(answer("200 OK", &document(&[&new])));
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW + 90_000).await));
    refused(&tokens.check(&signed(&old, "old"), NOW + 90_001).await, "no key");
}

#[tokio::test]
async fn without_any_keys_the_answer_is_temporary_and_the_issuer_is_left_in_peace() {
    let signer = p256("a");
    let text = signed(&signer, "a");
    let large = "x".repeat(1024 * 1024 + 1);
    let redirect = Answer {
        response: "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".into(),
        after: Duration::ZERO,
    };
    for (bad, why) in [
        (answer("500 Oops", ""), "answered 500"),
        (answer("200 OK", "<html>"), "not JSON"),
        (answer("200 OK", "{}"), "not a JWKS"),
        (answer("200 OK", &large), "larger than 1048576"),
        (redirect, "answered 302"),
    ] {
        let issuer = Issuer::start(bad).await;
        let tokens = by_jwks(&issuer.url);
        away(tokens.check(&text, NOW).await, why);
        away(tokens.check(&text, NOW + 9).await, why);
        assert_eq!(issuer.count(), 1, "{why}");
        issuer.answers(answer("200 OK", &document(&[&signer])));
        assert!(is_tim(&tokens.check(&text, NOW + 10).await));
        assert_eq!(issuer.count(), 2, "{why}");
    }
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    away(by_jwks(&format!("http://{closed}/")).check(&text, NOW).await, "refused");
}

#[tokio::test]
async fn many_tokens_at_once_make_one_fetch() {
    let signer = p256("a");
    let slow = Answer { after: Duration::from_millis(100), ..answer("200 OK", &document(&[&signer])) };
    let issuer = Issuer::start(slow).await;
    let tokens = Arc::new(by_jwks(&issuer.url));
    let checks: Vec<_> = (0..20)
        .map(|_| {
            let (tokens, text) = (tokens.clone(), signed(&signer, "a"));
            tokio::spawn(async move { tokens.check(&text, NOW).await })
        })
        .collect();
    for check in checks {
        assert!(is_tim(&check.await.unwrap()));
    }
    assert_eq!(issuer.count(), 1);
}

#[tokio::test]
async fn a_token_without_kid_may_be_signed_with_a_key_that_is_new() {
    let (old, new) = (p256("old"), p256("new"));
    let issuer = Issuer::start(answer("200 OK", &document(&[&old]))).await;
    let tokens = by_jwks(&issuer.url);
    assert_eq!(tokens.prefetch(NOW).await, Ok(()));
    issuer.answers(answer("200 OK", &document(&[&new])));
    let text = token(Algorithm::ES256, &new.encoding, None, &json!({ "exp": NOW * 2, "email": "tim" }));
    assert!(is_tim(&tokens.check(&text.into(), NOW + 60).await));
    assert_eq!(issuer.count(), 2);
}

#[tokio::test]
async fn a_fetch_that_its_caller_gave_up_on_counts() {
    let signer = p256("a");
    let never = Answer { after: Duration::from_secs(60), ..answer("200 OK", "") };
    let issuer = Issuer::start(never).await;
    let tokens = Arc::new(by_jwks(&issuer.url));
    let text = signed(&signer, "a");
    let (checking, shown) = (tokens.clone(), text.clone());
    let check = tokio::spawn(async move { checking.check(&shown, NOW).await });
    while issuer.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    check.abort();
    assert!(check.await.unwrap_err().is_cancelled());
    away(tokens.check(&text, NOW + 5).await, "no answer in time");
    issuer.answers(answer("200 OK", &document(&[&signer])));
    assert_eq!(tokens.prefetch(NOW + 10).await, Ok(()));
    assert_eq!(issuer.count(), 2);
    assert!(is_tim(&tokens.check(&text, NOW + 11).await));
    assert_eq!(issuer.count(), 2, "it is there already");
}

#[tokio::test]
async fn a_jwks_file_is_read_again_when_it_changes() {
    let (old, new) = (p256("old"), p256("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let replace = |text: &str| {
        std::fs::write(folder.path().join("next"), text).unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
    };
    assert!(Tokens::new(&Oauth2 { jwks: Some(path.display().to_string()), ..settings() }).is_err());
    replace(&document(&[&old]));
    let tokens = by_jwks(&path.display().to_string());
    assert!(is_tim(&tokens.check(&signed(&old, "old"), NOW).await));
    replace(&document(&[&new]));
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW).await));
    refused(&tokens.check(&signed(&old, "old"), NOW).await, "no key");
    // What is broken does not take the place of what works.
    replace("{");
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW).await));
    std::fs::remove_file(&path).unwrap();
    assert!(is_tim(&tokens.check(&signed(&new, "new"), NOW).await));
    replace(&document(&[&old]));
    assert!(is_tim(&tokens.check(&signed(&old, "old"), NOW).await));
}

#[tokio::test]
async fn an_opaque_token_is_shown_to_the_issuer_with_our_credentials() {
    let issuer = Issuer::start(answer("200 OK", r#"{"active":true,"email":"tim"}"#)).await;
    let with_id = Oauth2 {
        client_id: "mail server".into(),
        client_secret: "p:ss%".into(),
        ..by_introspection(&issuer.url)
    };
    assert!(is_tim(&Tokens::new(&with_id).unwrap().check(&"opaque+/=".into(), NOW).await));
    let request = issuer.last().to_lowercase();
    assert!(request.starts_with("post /place http/1.1"), "{request}");
    assert!(request.ends_with("\r\n\r\ntoken=opaque%2b%2f%3d&token_type_hint=access_token"), "{request}");
    // "mail+server:p%3Ass%25"
    assert!(issuer.last().contains("Basic bWFpbCtzZXJ2ZXI6cCUzQXNzJTI1\r\n"), "{}", issuer.last());
    let secret_only = Oauth2 { client_secret: "s3cret".into(), ..by_introspection(&issuer.url) };
    assert!(is_tim(&Tokens::new(&secret_only).unwrap().check(&"opaque".into(), NOW).await));
    assert!(issuer.last().contains("Bearer s3cret\r\n"), "{}", issuer.last());
    let nobody = by_introspection(&issuer.url);
    assert!(is_tim(&Tokens::new(&nobody).unwrap().check(&"a.jwt.even".into(), NOW).await));
    assert!(!issuer.last().to_lowercase().contains("authorization"), "{}", issuer.last());
}

#[tokio::test]
async fn what_the_issuer_says_is_a_refusal_or_a_failure_for_now() {
    let issuer = Issuer::start(answer("200 OK", r#"{"active":false}"#)).await;
    let tokens = Tokens::new(&by_introspection(&issuer.url)).unwrap();
    let token = Secret::from("opaque-token");
    refused(&tokens.check(&token, NOW).await, "not active");
    issuer.answers(answer("400 Bad Request", r#"{"error":"invalid_token"}"#));
    refused(&tokens.check(&token, NOW).await, "invalid");
    for (bad, why) in [
        (answer("400 Bad Request", r#"{"error":"invalid_request"}"#), "answered 400"),
        (answer("401 Unauthorized", ""), "check client_id"),
        (answer("403 Forbidden", ""), "check client_id"),
        (answer("404 Not Found", ""), "answered 404"),
        (answer("500 Oops", ""), "answered 500"),
        (answer("200 OK", "<html>"), "is the URL right"),
        (answer("200 OK", r#"{"email":"tim"}"#), "is the URL right"),
        (answer("200 OK", &" ".repeat(64 * 1024 + 1)), "larger than 65536"),
    ] {
        issuer.answers(bad);
        let verdict = tokens.check(&token, NOW).await;
        assert!(!format!("{verdict:?}").contains("opaque-token"));
        away(verdict, why);
    }
    issuer.answers(Answer { after: Duration::from_secs(60), ..answer("200 OK", "") });
    let hasty = Oauth2 { timeout: Duration::from_millis(200), ..by_introspection(&issuer.url) };
    away(Tokens::new(&hasty).unwrap().check(&token, NOW).await, "timed out");
    // It works again without a restart.
    issuer.answers(answer("200 OK", r#"{"active":true,"email":"tim"}"#));
    assert!(is_tim(&tokens.check(&token, NOW).await));
}

#[tokio::test]
async fn with_keys_only_other_tokens_are_shown_to_the_issuer() {
    let signer = p256("a");
    let issuer = Issuer::start(answer("200 OK", r#"{"active":true,"email":"tim"}"#)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, &signer.pem).unwrap();
    let tokens = Tokens::new(&Oauth2 { keys: vec![path], ..by_introspection(&issuer.url) }).unwrap();
    assert!(is_tim(&tokens.check(&signed(&signer, "a"), NOW).await));
    refused(&tokens.check(&signed(&p256("b"), "b"), NOW).await, "signature");
    assert_eq!(issuer.count(), 0);
    assert!(is_tim(&tokens.check(&"opaque".into(), NOW).await));
    assert_eq!(issuer.count(), 1);
}

#[test]
fn only_https_and_this_host_may_see_tokens() {
    for (url, good) in [
        ("https://issuer.example/introspect", true),
        ("http://localhost:8080/", true),
        ("http://127.0.0.9/", true),
        ("http://[::1]:80/", true),
        ("http://issuer.example/", false),
        ("http://localhost.example/", false),
        ("http://10.0.0.1/", false),
        ("ftp://localhost/", false),
        ("issuer.example", false),
        ("https://us:pw@issuer.example/", false),
    ] {
        assert_eq!(Tokens::new(&by_introspection(url)).is_ok(), good, "{url}");
    }
    let ca = Oauth2 { ca_file: Some("/nonexistent/ca.pem".into()), ..by_introspection("https://a.example/") };
    assert!(Tokens::new(&ca).unwrap_err().contains("/nonexistent/ca.pem"));
}

/// An https server for `connections` connections that answers with `body`.
fn https_server(body: &'static str, connections: usize) -> String {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE_KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream =
                StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let mut buffer = [0; 4096];
            // A client that does not trust us ends the handshake here.
            if stream.read(&mut buffer).is_ok() {
                let response = answer("200 OK", body).response;
                drop(stream.write_all(response.as_bytes()));
                stream.conn.send_close_notify();
                drop(stream.flush());
            }
        }
    });
    url
}

#[tokio::test]
async fn https_is_trusted_by_ca_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, CA).unwrap();
    let url = https_server(r#"{"active":true,"email":"tim"}"#, 2);
    let without = Tokens::new(&by_introspection(&url)).unwrap();
    away(without.check(&"opaque".into(), NOW).await, "certificate");
    let with = Oauth2 { ca_file: Some(path), ..by_introspection(&url) };
    let verdict = Tokens::new(&with).unwrap().check(&"opaque".into(), NOW).await;
    assert!(is_tim(&verdict), "{verdict:?}");
}
