//! Token introspection (RFC 7662): asks the issuer what a token is.

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use base::secret::Secret;

use super::claims::Claims;
use super::http;
use crate::config::settings::Oauth2;
use crate::passdb::Unavailable;

/// The largest response, in bytes.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// The endpoint and how we show who we are.
#[derive(Debug)]
pub struct Introspection {
    url: Url,
    client: Client,
    client_id: String,
    client_secret: Secret,
}

impl Introspection {
    /// An endpoint at `url`. With `client_id` we authenticate by HTTP Basic (RFC 6749 §2.3.1), with a
    /// `client_secret` alone by that secret as a bearer token (RFC 7662 §2.1).
    ///
    /// # Errors
    /// A URL that is neither https nor loopback http, or unusable CA certificates.
    pub fn new(url: &str, settings: &Oauth2) -> Result<Self, String> {
        Ok(Self {
            url: http::url(url)?,
            client: http::client(settings)?,
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
        })
    }

    /// Asks. The inner error says why the token is bad.
    ///
    /// # Errors
    /// When there is no answer, or one that says nothing of the token: the endpoint is away, is wrong,
    /// or does not know us.
    pub async fn ask(&self, token: &str) -> Result<Result<Claims, String>, Unavailable> {
        let away = |why: String| {
            Unavailable::new(format!("oauth2: introspection at {}: {why}", http::place(&self.url)))
        };
        let request = self
            .client
            .post(self.url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .form(&[("token", token), ("token_type_hint", "access_token")]);
        let response = self.signed(request).send().await.map_err(|error| away(http::reason(error)))?;
        let status = response.status();
        let body = http::body(response, RESPONSE_LIMIT).await.map_err(away)?;
        match status {
            StatusCode::OK => match parse_response(&body) {
                Ok(claims) => Ok(Ok(claims)),
                Err(why) => Err(away(why.into())),
            },
            StatusCode::BAD_REQUEST if names_invalid_token(&body) => {
                Ok(Err("the issuer says that the token is invalid".into()))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(away(format!("{status}; check client_id and client_secret")))
            }
            _ => Err(away(format!("answered {status}"))),
        }
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let secret = self.client_secret.expose_text().unwrap_or_default();
        if !self.client_id.is_empty() {
            request.basic_auth(form_encoded(&self.client_id), Some(form_encoded(secret)))
        } else if !secret.is_empty() {
            request.bearer_auth(secret)
        } else {
            request
        }
    }
}

/// Reads a response of status 200.
///
/// # Errors
/// When it is not a JSON object with a boolean `active`.
pub fn parse_response(body: &[u8]) -> Result<Claims, &'static str> {
    let claims: Claims =
        serde_json::from_slice(body).ok().ok_or("the answer is not a JSON object; is the URL right?")?;
    match claims.get("active") {
        Some(Value::Bool(_)) => Ok(claims),
        _ => Err("the answer does not say whether the token is active; is the URL right?"),
    }
}

/// Some issuers answer a bad token with 400 and this error (RFC 6750 §3.1) instead of `active: false`.
fn names_invalid_token(body: &[u8]) -> bool {
    serde_json::from_slice::<Claims>(body)
        .is_ok_and(|members| members.get("error").is_some_and(|error| error == "invalid_token"))
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they become user and password.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
