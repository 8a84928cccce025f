//! Bearer tokens: JWTs checked here against known keys, other tokens by asking the issuer (RFC 7662).
//!
//! [`Tokens::check`] is the whole story. With `keys` or `jwks` a token that is a JWT is judged by its
//! signature and claims alone and never leaves this host. With `introspection_url` everything else
//! (with no keys configured: every token) is sent there. Either way the same [`claims::Policy`]
//! decides who the token is for.

pub mod claims;
mod http;
pub mod introspect;
pub mod jwks;
pub mod jwt;
pub mod keys;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use base::secret::Secret;

use crate::config::settings::Oauth2;
use crate::passdb::Unavailable;
use claims::{Policy, Source};
use introspect::Introspection;
use jwks::Jwks;
use jwt::{JwtHeader, Outcome};
use keys::VerifyingKey;

/// The longest token, in bytes.
pub const TOKEN_LIMIT: usize = 16 * 1024;

/// What `[oauth2]` makes of tokens.
#[derive(Debug)]
pub struct Tokens {
    policy: Policy,
    keys: Vec<VerifyingKey>,
    jwks: Option<Jwks>,
    introspection: Option<Introspection>,
}

/// The outcome of [`Tokens::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenVerdict {
    /// The token is good.
    Valid(TokenUser),
    /// It is not; the text says why, for the log. It never holds the token.
    Invalid(String),
}

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUser {
    /// The user that the token names, as it names him: UTF-8, not empty, at most 1024 bytes, no control
    /// characters. Whoever asked compares it with the name that the client gave, after normalising both.
    pub user: String,
    /// The second (UNIX time) at which the token ends, where it says so.
    pub expires: Option<u64>,
}

impl Tokens {
    /// Reads the keys and a JWKS file; a JWKS URL is first fetched when a token comes. Blocks on files.
    ///
    /// # Errors
    /// A file that cannot be read or holds no usable key, a URL that is neither https nor loopback http,
    /// or nothing to check a token with.
    pub fn new(settings: &Oauth2) -> Result<Self, String> {
        let mut keys = Vec::new();
        for path in &settings.keys {
            keys.extend(keys::read_key_file(path)?);
        }
        let jwks = match &settings.jwks {
            Some(place) => Some(Jwks::new(place, settings)?),
            None => None,
        };
        let introspection = match &settings.introspection_url {
            Some(url) => Some(Introspection::new(url, settings)?),
            None => None,
        };
        if keys.is_empty() && jwks.is_none() && introspection.is_none() {
            return Err("one of keys, jwks and introspection_url is needed to check tokens".into());
        }
        Ok(Self { policy: Policy::new(settings), keys, jwks, introspection })
    }

    /// Fetches what the first token would have to wait for: when the service starts, and after a reload.
    ///
    /// # Errors
    /// When the JWKS document cannot be had now. Tokens will try again.
    pub async fn prefetch(&self, now_unix: u64) -> Result<(), Unavailable> {
        match &self.jwks {
            Some(jwks) => jwks.current(now_unix).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Whether `token` is good at `now_unix` (seconds since 1970), and for whom. Takes at most the
    /// configured timeout, twice that when a key must be fetched while another fetch is under way.
    ///
    /// # Errors
    /// When the JWKS document or the introspection endpoint cannot be had; the token may be good.
    pub async fn check(&self, token: &Secret, now_unix: u64) -> Result<TokenVerdict, Unavailable> {
        let Some(text) = token.expose_text().filter(|text| !text.is_empty() && text.len() <= TOKEN_LIMIT)
        else {
            return Ok(TokenVerdict::Invalid("token is empty, too long or not text".into()));
        };
        if self.keys.is_empty() && self.jwks.is_none() {
            return self.introspect(text, now_unix).await;
        }
        match jwt::parse_header(text.as_bytes()) {
            Ok(header) => self.check_jwt(text, &header, now_unix).await,
            Err(_) if self.introspection.is_some() => self.introspect(text, now_unix).await,
            Err(why) => Ok(TokenVerdict::Invalid(format!("token is not a usable JWT: {why}"))),
        }
    }

    async fn check_jwt(&self, text: &str, header: &JwtHeader, now: u64) -> Result<TokenVerdict, Unavailable> {
        let mut outcome = jwt::verify(text, header, &self.keys);
        if let Some(jwks) = &self.jwks
            && !matches!(outcome, Outcome::Claims(_))
        {
            let set = jwks.current(now).await?;
            outcome = outcome.or(jwt::verify(text, header, set.keys()));
            // A token without kid that no key fits may be signed with a new key as well.
            let may_be_new = matches!(outcome, Outcome::NoKey)
                || (header.kid.is_none() && matches!(outcome, Outcome::Forged));
            if may_be_new && let Some(fresh) = jwks.fresher_than(&set, now).await {
                outcome = outcome.or(jwt::verify(text, header, fresh.keys()));
            }
        }
        Ok(match outcome {
            Outcome::Claims(claims) => self.judge(&claims, Source::Jwt, now),
            Outcome::NoKey => TokenVerdict::Invalid(format!("no key for {header}")),
            Outcome::Forged => TokenVerdict::Invalid(format!("signature does not match, {header}")),
        })
    }

    async fn introspect(&self, text: &str, now: u64) -> Result<TokenVerdict, Unavailable> {
        let Some(introspection) = &self.introspection else {
            return Ok(TokenVerdict::Invalid("there is nothing to check this token with".into()));
        };
        Ok(match introspection.ask(text).await? {
            Ok(claims) => self.judge(&claims, Source::Introspection, now),
            Err(why) => TokenVerdict::Invalid(why),
        })
    }

    fn judge(&self, claims: &claims::Claims, source: Source, now: u64) -> TokenVerdict {
        match self.policy.judge(claims, source, now) {
            Ok(user) => TokenVerdict::Valid(user),
            Err(why) => TokenVerdict::Invalid(why),
        }
    }
}
