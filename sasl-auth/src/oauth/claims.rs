//! What a token says of itself, and whether that suffices: time, issuer, audience, scopes, user.

use serde_json::{Map, Value};

use super::TokenUser;
use crate::config::settings::Oauth2;

/// Members of a JWT's claims or of an introspection response.
pub type Claims = Map<String, Value>;

/// Clocks may differ by this much, in seconds.
const LEEWAY: u64 = 60;

/// The longest user name in a token, in bytes.
const NAME_LIMIT: usize = 1024;

/// Where claims are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A JWT with a good signature: `exp` is required.
    Jwt,
    /// An introspection response: `active` must be true; `exp` may be absent.
    Introspection,
}

/// What `[oauth2]` asks of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    issuers: Vec<String>,
    audiences: Vec<String>,
    scopes: Vec<String>,
    username_claim: String,
    active: Option<(String, String)>,
}

impl Policy {
    /// The policy of these settings.
    #[must_use]
    pub fn new(settings: &Oauth2) -> Self {
        Self {
            issuers: settings.issuers.clone(),
            audiences: settings.audiences.clone(),
            scopes: settings.scopes.clone(),
            username_claim: settings.username_claim.clone(),
            active: settings.active.clone(),
        }
    }

    /// Whom a token with these claims is for at `now` (UNIX time).
    ///
    /// # Errors
    /// Why the token is refused, for the log. Values from the token are quoted and shortened.
    pub fn judge(&self, claims: &Claims, source: Source, now: u64) -> Result<TokenUser, String> {
        if source == Source::Introspection && claims.get("active") != Some(&Value::Bool(true)) {
            return Err("the issuer says that the token is not active".into());
        }
        let expires = match seconds(claims, "exp")? {
            None if source == Source::Jwt => return Err("token without exp".into()),
            None => None,
            Some(exp) if exp.saturating_add(LEEWAY) <= now => return Err(format!("token expired at {exp}")),
            Some(exp) => Some(exp),
        };
        if let Some(nbf) = seconds(claims, "nbf")?
            && nbf > now.saturating_add(LEEWAY)
        {
            return Err(format!("token is not valid before {nbf}"));
        }
        one_of(claims, "iss", &self.issuers, "issuer")?;
        one_of(claims, "aud", &self.audiences, "audience")?;
        self.scopes(claims)?;
        self.active(claims)?;
        Ok(TokenUser { user: self.user(claims)?, expires })
    }

    /// RFC 8693 §4.2: `scope` is a text with spaces; some issuers send a list, or name it `scp`.
    fn scopes(&self, claims: &Claims) -> Result<(), String> {
        if self.scopes.is_empty() {
            return Ok(());
        }
        let granted = claims.get("scope").or_else(|| claims.get("scp"));
        let granted: Vec<&str> = texts(granted).into_iter().flat_map(str::split_ascii_whitespace).collect();
        match self.scopes.iter().find(|wanted| !granted.contains(&wanted.as_str())) {
            Some(missing) => Err(format!("scope {missing:?} is missing")),
            None => Ok(()),
        }
    }

    /// An empty value asks for the claim only, whatever it says.
    fn active(&self, claims: &Claims) -> Result<(), String> {
        let Some((name, wanted)) = &self.active else { return Ok(()) };
        let given = match claims.get(name) {
            None | Some(Value::Null) => return Err(format!("claim {name:?} is missing")),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if wanted.is_empty() || given == *wanted {
            Ok(())
        } else {
            Err(format!("claim {name:?} is {}", shortened(&given)))
        }
    }

    fn user(&self, claims: &Claims) -> Result<String, String> {
        let name = &self.username_claim;
        match claims.get(name) {
            Some(Value::String(user))
                if !user.is_empty() && user.len() <= NAME_LIMIT && !user.chars().any(char::is_control) =>
            {
                Ok(user.clone())
            }
            Some(_) => Err(format!("claim {name:?} does not hold a user name")),
            None => Err(format!("claim {name:?} is missing")),
        }
    }
}

/// RFC 7519 §2 `NumericDate`: a number of seconds, possibly with a fraction.
fn seconds(claims: &Claims, name: &str) -> Result<Option<u64>, String> {
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(format!("claim {name:?} is not a number")),
    };
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    match number.as_f64() {
        // Far beyond any date, and still exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        Some(value) if (0.0..=9_007_199_254_740_992.0).contains(&value) => Ok(Some(value as u64)),
        _ => Err(format!("claim {name:?} is out of range")),
    }
}

/// Whether one of the texts in the claim is wanted; nothing wanted accepts anything.
fn one_of(claims: &Claims, name: &str, wanted: &[String], noun: &str) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    let given = texts(claims.get(name));
    if given.iter().any(|text| wanted.iter().any(|wanted| wanted == text)) {
        return Ok(());
    }
    match given.first() {
        Some(text) => Err(format!("{noun} {} is not accepted", shortened(text))),
        None => Err(format!("token without {noun} ({name})")),
    }
}

/// A claim that is a text or a list of texts.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A text from outside for the log: quoted, and not longer than anyone wants to read.
pub(super) fn shortened(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}
