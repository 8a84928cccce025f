//! XOAUTH2 and OAUTHBEARER (RFC 7628): a bearer token instead of a password.

use base::secret::Secret;

use super::exchange::{Machine, invalid, out_of_turn};
use super::plain::NAME_LIMIT;
use super::scram::decode_name;
use super::{Refusal, Step};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OauthBearer,
    Xoauth2,
}

impl Dialect {
    /// What a client hears of a bad token before it fails, to the byte as Dovecot 2.3 sends it.
    fn error(self) -> &'static [u8] {
        match self {
            Self::OauthBearer => br#"{"status":"invalid_token"}"#,
            Self::Xoauth2 => br#"{"status":"401","schemes":"bearer","scope":"mail"}"#,
        }
    }
}

#[derive(Debug)]
pub(super) struct BearerExchange {
    dialect: Dialect,
    claimed: Option<String>,
    refused: bool,
}

impl BearerExchange {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, claimed: None, refused: false }
    }
}

impl Machine for BearerExchange {
    fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        let message = initial.unwrap_or_default();
        let parsed = match self.dialect {
            Dialect::OauthBearer => parse_oauthbearer(message),
            Dialect::Xoauth2 => parse_xoauth2(message),
        };
        match parsed {
            Ok(Bearer { user, token: Some(token) }) => Step::Token { user, token },
            Ok(Bearer { user, token: None }) => {
                self.claimed = Some(user).filter(|user| !user.is_empty());
                invalid("no token")
            }
            Err(why) => invalid(why),
        }
    }

    fn checked(&mut self, ok: bool) -> Step {
        if ok {
            return Step::Success { data: None };
        }
        self.refused = true;
        Step::Challenge(self.dialect.error().to_vec())
    }

    /// The client has read the error; whatever it says now (RFC 7628 §3.2.3: one 0x01), it has failed.
    fn respond(&mut self, _response: &[u8]) -> Step {
        if self.refused { Step::Failure(Refusal::Mismatch) } else { out_of_turn() }
    }

    fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }
}

/// Who comes with which token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The name that the client gives; empty when OAUTHBEARER comes without one.
    pub user: String,
    /// The token, not empty; `None` when the message has none.
    pub token: Option<Secret>,
}

/// Takes an OAUTHBEARER message apart (RFC 7628 §3.1): gs2 header, then `key=value` pairs each ended by
/// 0x01. `host`, `port` and unknown keys are left alone.
///
/// # Errors
/// What is wrong with the message, for the log.
pub fn parse_oauthbearer(message: &[u8]) -> Result<Bearer, &'static str> {
    let mut parts = message.splitn(2, |byte| *byte == 1);
    let (Some(header), Some(pairs)) = (parts.next(), parts.next()) else {
        return Err("OAUTHBEARER message without a separator");
    };
    let header = std::str::from_utf8(header).ok().ok_or("gs2 header is not UTF-8")?;
    let authorization = header
        .strip_prefix("n,")
        .or_else(|| header.strip_prefix("y,"))
        .and_then(|rest| rest.strip_suffix(','))
        .ok_or("malformed gs2 header")?;
    let user = match authorization.strip_prefix("a=") {
        Some(name) => decode_name(name)?,
        None if authorization.is_empty() => String::new(),
        None => return Err("malformed gs2 header"),
    };
    Ok(Bearer { user, token: pairs_token(pairs)?.1 })
}

/// Takes an XOAUTH2 message apart (Google's description of the mechanism): `user=`, `auth=Bearer token`,
/// each ended by 0x01, and another 0x01 at the end.
///
/// # Errors
/// What is wrong with the message, for the log.
pub fn parse_xoauth2(message: &[u8]) -> Result<Bearer, &'static str> {
    let (user, token) = pairs_token(message)?;
    let user = user.filter(|user| !user.is_empty()).ok_or("XOAUTH2 message without a user")?;
    Ok(Bearer { user, token })
}

/// Reads pairs that each end in 0x01, and another 0x01 after the last. Clients that leave out one or
/// both at the end are understood, and pairs without `=` are let pass, as by Dovecot.
fn pairs_token(pairs: &[u8]) -> Result<(Option<String>, Option<Secret>), &'static str> {
    let (mut user, mut token) = (None, None);
    for pair in pairs.split(|byte| *byte == 1) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        match (halves.next(), halves.next()) {
            (Some(b"user"), Some(_)) if user.is_some() => return Err("user twice"),
            (Some(b"user"), Some(value)) => user = Some(plain_name(value)?),
            (Some(b"auth"), Some(_)) if token.is_some() => return Err("auth twice"),
            (Some(b"auth"), Some(value)) => token = Some(bearer(value)?),
            _ => {}
        }
    }
    Ok((user, token))
}

fn plain_name(value: &[u8]) -> Result<String, &'static str> {
    if value.len() > NAME_LIMIT {
        return Err("user name is too long");
    }
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("user name is not UTF-8 without NUL"),
    }
}

/// The token of `Bearer token`; the scheme in any case, the token in the characters of RFC 6750 §2.1.
fn bearer(value: &[u8]) -> Result<Secret, &'static str> {
    let (scheme, rest) = value.split_at_checked(6).ok_or("auth is not Bearer")?;
    let token = rest.trim_ascii_start();
    if !scheme.eq_ignore_ascii_case(b"bearer") || token.len() == rest.len() {
        return Err("auth is not Bearer");
    }
    if token.is_empty() {
        return Err("token is empty");
    }
    if !token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)) {
        return Err("token holds characters that a bearer token cannot have");
    }
    Ok(Secret::new(token))
}
