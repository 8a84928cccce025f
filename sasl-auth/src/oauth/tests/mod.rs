//! Tokens from the outside: what [`Tokens::check`] makes of them.

mod keys;
mod policy;
mod remote;

use jsonwebtoken::Algorithm;

use super::testing::{NOW, claims, ed25519, p256, settings, token};
use super::*;

pub(super) fn valid(user: &str) -> TokenVerdict {
    TokenVerdict::Valid(TokenUser { user: user.into(), expires: Some(NOW + 300) })
}

pub(super) fn refused(verdict: &Result<TokenVerdict, Unavailable>, why: &str) {
    match verdict {
        Ok(TokenVerdict::Invalid(text)) => assert!(text.contains(why), "{text:?} has no {why:?}"),
        other => panic!("{other:?} instead of a refusal for {why:?}"),
    }
}

#[tokio::test]
async fn a_jwt_is_checked_with_the_keys_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other, stranger) = (p256("a"), ed25519("b"), p256("c"));
    let (first, second) = (folder.path().join("first.pem"), folder.path().join("hmac.key"));
    std::fs::write(&first, format!("a comment\n{}{}", one.pem, other.pem)).unwrap();
    std::fs::write(&second, format!("{}\n", "k".repeat(48))).unwrap();
    let tokens = Tokens::new(&Oauth2 { keys: vec![first, second], ..settings() }).unwrap();
    let hmac = jsonwebtoken::EncodingKey::from_secret("k".repeat(48).as_bytes());
    for (algorithm, key, kid) in [
        (Algorithm::ES256, &one.encoding, None),
        (Algorithm::EdDSA, &other.encoding, Some("any kid: the file says none")),
        (Algorithm::HS256, &hmac, None),
        (Algorithm::HS384, &hmac, None),
    ] {
        let text = token(algorithm, key, kid, &claims());
        assert_eq!(tokens.check(&text.as_str().into(), NOW).await, Ok(valid("tim@example.com")));
        // Each part that is changed spoils it.
        for part in 0..3 {
            let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
            let end = parts[part].pop().unwrap();
            parts[part].insert(4, end);
            let verdict = tokens.check(&parts.join(".").into(), NOW).await;
            assert!(matches!(verdict, Ok(TokenVerdict::Invalid(_))), "{verdict:?}");
        }
    }
    let forged = token(Algorithm::ES256, &stranger.encoding, None, &claims());
    refused(&tokens.check(&forged.into(), NOW).await, "signature does not match, alg ES256, no kid");
    let hs512 = token(Algorithm::HS512, &hmac, Some("x"), &claims());
    refused(&tokens.check(&hs512.into(), NOW).await, "no key for alg HS512, kid \"x\"");
    for (broken, why) in [
        ("", "empty"),
        ("opaque", "three parts"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        ("a!.b.c", "base64url"),
        ("YWE.b.c", "JSON"),
        ("e30.b.c", "no alg"),
        ("eyJhbGciOiJub25lIn0.e30.", "alg none"),
        ("eyJhbGciOiJFUzI1NiIsImNyaXQiOlsieCJdfQ.e30.", "crit"),
        ("eyJhbGciOiJFUzUxMiJ9.e30.", "not supported"),
        ("eyJhbGciOiJFUzI1NiIsImtpZCI6MX0.e30.", "kid"),
    ] {
        refused(&tokens.check(&broken.into(), NOW).await, why);
    }
    refused(&tokens.check(&"x".repeat(TOKEN_LIMIT + 1).into(), NOW).await, "too long");
    refused(&tokens.check(&Secret::new(vec![0xff]), NOW).await, "not text");
}

#[tokio::test]
async fn a_public_key_is_no_hmac_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (ec, ed) = (p256("a"), ed25519("b"));
    let path = folder.path().join("keys.pem");
    std::fs::write(&path, format!("{}{}", ec.pem, ed.pem)).unwrap();
    let tokens = Tokens::new(&Oauth2 { keys: vec![path], ..settings() }).unwrap();
    let whole_file = format!("{}{}", ec.pem, ed.pem);
    let known = [ec.pem.as_bytes(), ed.pem.as_bytes(), whole_file.as_bytes()];
    for secret in known {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = jsonwebtoken::EncodingKey::from_secret(secret);
            let forged = token(algorithm, &key, None, &claims());
            refused(&tokens.check(&forged.into(), NOW).await, "no key for alg HS");
        }
    }
    // Nor does a key of one type serve another.
    let crossed = token(Algorithm::EdDSA, &ed25519("c").encoding, None, &claims());
    refused(&tokens.check(&crossed.into(), NOW).await, "signature does not match");
}

#[test]
fn nothing_to_check_with_is_an_error_of_the_settings() {
    assert!(Tokens::new(&settings()).unwrap_err().contains("introspection_url"));
}
