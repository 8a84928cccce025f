//! The end of an authentication: who has logged in, or why not, and what the client reads of it. Pure.

use std::net::IpAddr;

use base::dovecot::reply::Reply;

use crate::fields::Fields;
use crate::request::Request;

/// The end of an authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The user is who he says.
    Accepted(Login),
    /// He is not, or must not log in.
    Rejected(Rejection),
    /// So many attempts for this user from this address have failed that this one is not looked at.
    Postponed {
        /// The user.
        user: String,
    },
    /// Nobody could tell; the text is for the log.
    Unavailable {
        /// The passdb that could not answer, or the part of this service.
        source: String,
        /// The user, as far as known.
        user: String,
        /// What happened.
        detail: String,
    },
}

/// A login that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The name that Postfix takes as `sasl_username`.
    pub user: String,
    /// The name as the client sent it, normalised or not.
    pub original_user: String,
    /// The master user who acts for `user`.
    pub master_user: Option<String>,
    /// The passdb that said yes.
    pub source: String,
    /// Its extra fields.
    pub fields: Fields,
    /// The app password that opened.
    pub label: Option<String>,
    /// A guest, by ANONYMOUS.
    pub anonymous: bool,
}

/// A login that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub why: Why,
    /// The user as looked up; empty when the client's bytes hold none.
    pub user: String,
    /// The name as the client sent it.
    pub original_user: String,
    /// The master user who wanted to act for `user`.
    pub master_user: Option<String>,
    /// The passdb that decided, or `auth`.
    pub source: String,
    /// No delay for this one (`nodelay`).
    pub at_once: bool,
    /// A text that the passdb wants the user to read (`reason`); only when the password was right.
    pub reason: Option<String>,
}

/// Why a login failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No passdb knows the user.
    UnknownUser,
    /// The password, proof or token is wrong; the text is what the back end said, may be empty.
    Mismatch(String),
    /// The client's bytes break the mechanism's rules.
    InvalidInput(&'static str),
    /// The name holds what a name must not hold.
    BadName(String),
    /// The user must not log in (`nologin`, a deny passdb, locked).
    Disabled(String),
    /// The password or account has expired.
    Expired(String),
    /// Not from this address (`allow_nets`).
    Address(String),
    /// The master user must not act for this user, or there is none.
    Unauthorized(String),
}

impl Why {
    /// Dovecot's `code=`.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Disabled(_) => Some("user_disabled"),
            Self::Expired(_) => Some("pass_expired"),
            Self::Unauthorized(_) => Some("authz_fail"),
            Self::UnknownUser
            | Self::Mismatch(_)
            | Self::InvalidInput(_)
            | Self::BadName(_)
            | Self::Address(_) => None,
        }
    }

    /// `reason=` for the user where his passdb gives none. Only what a right password leads to has one.
    fn public_text(&self) -> Option<&'static str> {
        match self {
            Self::Expired(_) => Some("Password expired"),
            _ => None,
        }
    }

    /// One word for the metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::Mismatch(_) => "mismatch",
            Self::InvalidInput(_) => "invalid_input",
            Self::BadName(_) => "bad_name",
            Self::Disabled(_) => "disabled",
            Self::Expired(_) => "expired",
            Self::Address(_) => "address",
            Self::Unauthorized(_) => "unauthorized",
        }
    }

    /// For the log. fail2ban's dovecot filter looks for `unknown user` and `Password mismatch`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::UnknownUser => "unknown user".into(),
            Self::Mismatch(detail) if detail.is_empty() => "Password mismatch".into(),
            Self::Mismatch(detail) => format!("Password mismatch ({detail})"),
            Self::InvalidInput(detail) => format!("invalid input: {detail}"),
            Self::BadName(detail) => format!("invalid user name: {detail}"),
            Self::Disabled(detail) => format!("user is disabled: {detail}"),
            Self::Expired(detail) => format!("expired: {detail}"),
            Self::Address(detail) => detail.clone(),
            Self::Unauthorized(detail) => format!("not allowed to act for this user: {detail}"),
        }
    }
}

/// What a client reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `CONT`.
    Challenge(Vec<u8>),
    /// `OK`, with the mechanism's last words where the client can take them.
    Ok(Login, Option<Vec<u8>>),
    /// `FAIL`.
    Fail(Rejection),
    /// `FAIL … code=temp_fail`, or no answer and the end of the connection.
    TemporaryFailure {
        /// The user, as far as known.
        user: String,
    },
}

impl Answer {
    /// Appends the line for request `id`.
    pub fn write(&self, id: u32, out: &mut Vec<u8>) {
        match self {
            Self::Challenge(data) => base::dovecot::reply::cont(id, data, out),
            Self::Ok(login, data) => write_ok(login, data.as_deref(), id, out),
            Self::Fail(rejection) => write_fail(rejection, id, out),
            Self::TemporaryFailure { user } => {
                let mut line = Reply::new("FAIL", id, out);
                if !user.is_empty() {
                    line.field("user", user);
                }
                line.field("code", "temp_fail");
                line.end();
            }
        }
    }
}

fn write_ok(login: &Login, data: Option<&[u8]>, id: u32, out: &mut Vec<u8>) {
    use base64::Engine as _;
    let mut line = Reply::new("OK", id, out);
    line.field("user", &login.user);
    if login.anonymous {
        line.flag("anonymous");
    }
    // What the client must have comes before what may not fit: written last, counted first.
    let mut last = Vec::new();
    if login.original_user != login.user && !login.anonymous {
        last.push(("original_user", login.original_user.clone()));
    }
    if let Some(master) = &login.master_user {
        last.push(("auth_user", master.clone()));
    }
    if let Some(data) = data {
        last.push(("resp", base64::engine::general_purpose::STANDARD.encode(data)));
    }
    line.reserve(&last);
    for (name, value) in login.fields.iter().filter(|(name, _)| is_public(name)) {
        let fits = match value {
            Some(value) => line.field(name, value),
            None => line.flag(name),
        };
        if !fits {
            log::warn!("{}: field {name} does not fit into the answer for {}", login.source, login.user);
        }
    }
    line.release();
    for (name, value) in last {
        line.field(name, value);
    }
    line.end();
}

fn write_fail(rejection: &Rejection, id: u32, out: &mut Vec<u8>) {
    let mut line = Reply::new("FAIL", id, out);
    if !rejection.user.is_empty() {
        line.field("user", &rejection.user);
    }
    if let Some(code) = rejection.why.code() {
        line.field("code", code);
    }
    if rejection.original_user != rejection.user && !rejection.original_user.is_empty() {
        line.field("original_user", &rejection.original_user);
    }
    if let Some(master) = &rejection.master_user {
        line.field("auth_user", master);
    }
    let reason = rejection.reason.as_deref().or_else(|| rejection.why.public_text());
    if let Some(reason) = reason {
        line.field("reason", reason);
    }
    line.end();
}

/// Fields that steer us or hold secrets stay here; Dovecot hides the same ones.
pub(crate) fn is_public(name: &str) -> bool {
    let hidden = [
        "allow_nets",
        "allow_real_nets",
        "delay_until",
        "domain",
        "fail",
        "login_user",
        "noauthenticate",
        "nodelay",
        "nologin",
        "nopassword",
        "pass",
        "pass_expired",
        "password",
        "reason",
        "user",
        "username",
    ];
    !hidden.contains(&name) && !name.starts_with("userdb_") && !name.starts_with("event_")
}

/// What the fields of a passdb forbid, once the password is right. `now` is in UNIX seconds.
///
/// # Errors
/// Why the user must not log in, with the text that the user may read.
pub fn permitted(fields: &Fields, request: &Request) -> Result<(), (Why, Option<String>)> {
    let reason = || fields.value("reason").filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    for (name, address) in
        [("allow_nets", request.remote_ip), ("allow_real_nets", request.real_remote_ip.or(request.remote_ip))]
    {
        if let Some(networks) = fields.value(name)
            && !is_within(address, networks)
        {
            let text = match address {
                Some(ip) => format!("{name} check failed: IP {ip} not in allowed networks"),
                None => format!("{name} check failed: client's address not known and 'local' missing"),
            };
            return Err((Why::Address(text), None));
        }
    }
    if let Some(text) = fields.value("fail") {
        let detail = if text.is_empty() { "field fail" } else { text };
        return Err((Why::Disabled(detail.to_owned()), reason()));
    }
    if fields.has("pass_expired") {
        let own = fields.value("pass_expired").filter(|text| !["", "y", "yes"].contains(text));
        let why = Why::Expired(own.unwrap_or("field pass_expired").to_owned());
        let reason = reason().or_else(|| why.public_text().map(ToOwned::to_owned));
        return Err((why, reason));
    }
    if fields.has("nologin") {
        // Dovecot answers OK here and leaves it to its login processes; Postfix would let the user send.
        let own = fields.value("nologin").filter(|text| !text.is_empty() && *text != "y" && *text != "yes");
        let reason = reason().or_else(|| own.map(ToOwned::to_owned));
        return Err((Why::Disabled("nologin".to_owned()), reason));
    }
    Ok(())
}

/// Whether `address` is in one of `networks`: addresses and CIDR blocks between commas or spaces;
/// `local` stands for a client without an address.
fn is_within(address: Option<IpAddr>, networks: &str) -> bool {
    networks.split([',', ' ']).filter(|part| !part.is_empty()).any(|part| match address {
        None => part == "local",
        Some(address) => {
            let (network, bits) = match part.split_once('/') {
                Some((network, bits)) => match bits.parse::<u8>() {
                    Ok(bits) => (network, bits),
                    Err(_) => return false,
                },
                None => (part, 128),
            };
            let network = network.trim_start_matches('[').trim_end_matches(']');
            let Ok(network) = network.parse::<IpAddr>() else { return false };
            let (network, address) = (network.to_canonical(), address.to_canonical());
            network.is_ipv4() == address.is_ipv4()
                && crate::throttle::prefix(network, bits, bits)
                    == crate::throttle::prefix(address, bits, bits)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, Option<&str>)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.set(*name, value.map(ToOwned::to_owned));
        }
        fields
    }

    fn line(answer: &Answer) -> String {
        let mut out = Vec::new();
        answer.write(7, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn networks() {
        for (networks, address, want) in [
            ("192.0.2.0/24", Some("192.0.2.9"), true),
            ("192.0.2.0/24", Some("192.0.3.9"), false),
            ("192.0.2.0/24,2001:db8::/32", Some("2001:db8:ffff::1"), true),
            ("192.0.2.9 192.0.2.10", Some("192.0.2.10"), true),
            ("192.0.2.9", Some("::ffff:192.0.2.9"), true),
            ("::/0", Some("192.0.2.9"), false),
            ("0.0.0.0/0", Some("192.0.2.9"), true),
            ("local", Some("192.0.2.9"), false),
            ("192.0.2.0/24,local", None, true),
            ("192.0.2.0/24", None, false),
            ("192.0.2.0/x", Some("192.0.2.9"), false),
            ("", Some("192.0.2.9"), false),
        ] {
            let address = address.map(|ip| ip.parse().unwrap());
            assert_eq!(is_within(address, networks), want, "{networks} {address:?}");
        }
    }

    #[test]
    fn what_fields_forbid() {
        let request = Request { remote_ip: Some("192.0.2.1".parse().unwrap()), ..Request::default() };
        let end = |list: &[(&str, Option<&str>)]| permitted(&fields(list), &request);
        assert_eq!(end(&[("user", Some("x"))]), Ok(()));
        assert!(matches!(end(&[("allow_nets", Some("198.51.100.0/24"))]), Err((Why::Address(_), None))));
        let (why, reason) = end(&[("nologin", None), ("reason", Some("Closed"))]).unwrap_err();
        assert_eq!((why.code(), reason.as_deref()), (Some("user_disabled"), Some("Closed")));
        assert!(matches!(end(&[("fail", Some("maintenance"))]), Err((Why::Disabled(_), None))));
        for (field, detail) in [
            (None, "field pass_expired"),
            (Some("yes"), "field pass_expired"),
            (Some("on May 1"), "on May 1"),
        ] {
            let want = (Why::Expired(detail.into()), Some("Password expired".into()));
            assert_eq!(end(&[("pass_expired", field)]), Err(want));
        }
        let (why, reason) = end(&[("pass_expired", None), ("reason", Some("Ask Ann"))]).unwrap_err();
        assert_eq!((why.code(), reason.as_deref()), (Some("pass_expired"), Some("Ask Ann")));
        assert!(!is_public("pass_expired"));
    }

    #[test]
    fn lines() {
        let login = Login {
            user: "plain".into(),
            original_user: "PLAIN".into(),
            fields: fields(&[("userdb_home", Some("/h")), ("pass", Some("x")), ("quota", Some("1 G"))]),
            ..Login::default()
        };
        assert_eq!(line(&Answer::Ok(login, None)), "OK\t7\tuser=plain\tquota=1 G\toriginal_user=PLAIN\n");
        let rejection = Rejection {
            why: Why::Disabled("nologin".into()),
            user: "bob".into(),
            original_user: "bob".into(),
            master_user: None,
            source: "sql".into(),
            at_once: false,
            reason: Some("Closed".into()),
        };
        let expired = Rejection { why: Why::Expired("x".into()), reason: None, ..rejection.clone() };
        assert_eq!(line(&Answer::Fail(rejection)), "FAIL\t7\tuser=bob\tcode=user_disabled\treason=Closed\n");
        assert_eq!(
            line(&Answer::Fail(expired)),
            "FAIL\t7\tuser=bob\tcode=pass_expired\treason=Password expired\n"
        );
        assert_eq!(
            line(&Answer::TemporaryFailure { user: "bob".into() }),
            "FAIL\t7\tuser=bob\tcode=temp_fail\n"
        );
        assert_eq!(line(&Answer::Challenge(Vec::new())), "CONT\t7\t\n");
    }
}
