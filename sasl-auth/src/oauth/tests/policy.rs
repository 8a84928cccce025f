//! Claims and what is asked of them.

use serde_json::{Value, json};

use crate::config::settings::Oauth2;
use crate::oauth::TokenUser;
use crate::oauth::claims::{Policy, Source};
use crate::oauth::testing::{NOW, settings};

fn judge(settings: &Oauth2, claims: &Value, source: Source) -> Result<TokenUser, String> {
    Policy::new(settings).judge(claims.as_object().unwrap(), source, NOW)
}

fn with(base: &Value, name: &str, value: Value) -> Value {
    let mut claims = base.clone();
    match value {
        Value::Null => {
            claims.as_object_mut().unwrap().remove(name);
        }
        value => claims[name] = value,
    }
    claims
}

#[test]
fn the_right_claims_name_the_user_and_each_wrong_one_is_a_reason() {
    let strict = Oauth2 {
        issuers: vec!["https://a".into(), "https://b".into()],
        audiences: vec!["mail".into()],
        scopes: vec!["smtp".into(), "imap".into()],
        active: Some(("enabled".into(), "yes".into())),
        ..settings()
    };
    let right = json!({
        "exp": NOW + 300, "nbf": NOW, "iss": "https://b", "aud": ["web", "mail"], "scope": "imap openid smtp",
        "enabled": "yes", "email": "Tim@Example.com",
    });
    let user = TokenUser { user: "Tim@Example.com".into(), expires: Some(NOW + 300) };
    assert_eq!(judge(&strict, &right, Source::Jwt), Ok(user.clone()));
    for (name, value) in [
        ("exp", json!(NOW - 59)),
        ("exp", json!((NOW as f64) + 0.5)),
        ("nbf", json!(NOW + 60)),
        ("nbf", Value::Null),
        ("aud", json!("mail")),
        ("scope", json!(["smtp", "imap"])),
    ] {
        assert!(judge(&strict, &with(&right, name, value.clone()), Source::Jwt).is_ok(), "{name} {value}");
    }
    let by_scp = with(&with(&right, "scope", Value::Null), "scp", json!("smtp imap"));
    assert_eq!(judge(&strict, &by_scp, Source::Jwt), Ok(user));
    for (name, value, why) in [
        ("exp", json!(NOW - 60), "expired"),
        ("exp", Value::Null, "without exp"),
        ("exp", json!("soon"), "not a number"),
        ("exp", json!(-1), "out of range"),
        ("exp", json!(1e300), "out of range"),
        ("nbf", json!(NOW + 61), "not valid before"),
        ("nbf", json!([]), "not a number"),
        ("iss", json!("https://evil"), "issuer \"https://evil\""),
        ("iss", Value::Null, "without issuer"),
        ("aud", json!(["web"]), "audience \"web\""),
        ("aud", json!({"mail": 1}), "without audience"),
        ("scope", json!("smtp openid"), "\"imap\" is missing"),
        ("scope", Value::Null, "missing"),
        ("enabled", json!("no"), "is \"no\""),
        ("enabled", Value::Null, "\"enabled\" is missing"),
        ("email", Value::Null, "\"email\" is missing"),
        ("email", json!(""), "user name"),
        ("email", json!(["tim"]), "user name"),
        ("email", json!("t\nim"), "user name"),
        ("email", json!("t".repeat(1025)), "user name"),
    ] {
        let error = judge(&strict, &with(&right, name, value.clone()), Source::Jwt).unwrap_err();
        assert!(error.contains(why), "{name} {value}: {error}");
    }
    let long = with(&right, "iss", json!(format!("\r\n{}", "x".repeat(500))));
    let error = judge(&strict, &long, Source::Jwt).unwrap_err();
    assert!(error.len() < 150 && !error.contains('\n'), "{error}");
}

#[test]
fn an_introspected_token_must_be_active() {
    let claims = json!({ "active": true, "email": "tim" });
    let user = TokenUser { user: "tim".into(), expires: None };
    assert_eq!(judge(&settings(), &claims, Source::Introspection), Ok(user));
    for value in [json!(false), json!("true"), json!(1), Value::Null] {
        let claims = with(&claims, "active", value);
        assert!(judge(&settings(), &claims, Source::Introspection).unwrap_err().contains("not active"));
    }
    let expired = with(&claims, "exp", json!(NOW - 61));
    assert!(judge(&settings(), &expired, Source::Introspection).unwrap_err().contains("expired"));
}

#[test]
fn an_active_claim_may_be_of_any_type_and_may_ask_for_presence_only() {
    let claims = json!({ "exp": NOW + 1, "email": "tim", "enabled": true });
    let asks = |value: &str| Oauth2 { active: Some(("enabled".into(), value.into())), ..settings() };
    assert!(judge(&asks("true"), &claims, Source::Jwt).is_ok());
    assert!(judge(&asks(""), &claims, Source::Jwt).is_ok());
    assert!(judge(&asks("1"), &claims, Source::Jwt).is_err());
    assert!(judge(&asks(""), &with(&claims, "enabled", Value::Null), Source::Jwt).is_err());
}
