//! The log's lines about logins: one per verdict, in the wording that fail2ban knows from Dovecot. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use crate::outcome::{Login, Rejection};
use crate::request::Request;

/// How much of a name, session or reason is shown.
const LONGEST_NAME: usize = 120;

/// Room for a line of the usual length: it is not moved while it grows.
const USUAL_LINE: usize = 160;

/// `passwd-file(bob,192.0.2.7)`, with the session where there is one.
///
/// What came from the client cannot imitate another line: brackets, commas, blanks and control bytes
/// of a name become `?`.
#[must_use]
pub fn subject(source: &str, user: &str, request: &Request) -> String {
    let mut text = String::with_capacity(USUAL_LINE);
    push_subject(&mut text, source, user, request);
    text
}

fn push_subject(text: &mut String, source: &str, user: &str, request: &Request) {
    for part in [source, "(", &name(user)] {
        text.push_str(part);
    }
    if let Some(ip) = request.remote_ip {
        push(text, format_args!(",{ip}"));
    }
    if !request.session.is_empty() {
        if request.remote_ip.is_none() {
            text.push(',');
        }
        for part in [",<", &name(&request.session), ">"] {
            text.push_str(part);
        }
    }
    text.push(')');
}

fn push_way(text: &mut String, request: &Request) {
    for part in ["mechanism ", request.mechanism, ", service ", &name(&request.service)] {
        text.push_str(part);
    }
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(part);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

/// The line about a login.
#[must_use]
pub fn accepted(login: &Login, request: &Request) -> String {
    let mut text = String::with_capacity(USUAL_LINE);
    push_subject(&mut text, &login.source, &login.user, request);
    text.push_str(": logged in, ");
    push_way(&mut text, request);
    if let Some(master) = &login.master_user {
        push(&mut text, format_args!(", master user {}", name(master)));
    }
    if let Some(label) = &login.label {
        push(&mut text, format_args!(", app password {}", name(label)));
    }
    text
}

/// The line about a login that failed.
#[must_use]
pub fn rejected(rejection: &Rejection, request: &Request) -> String {
    let subject = subject(&rejection.source, &rejection.user, request);
    let mut text = format!("{subject}: {}, {}", clean(&rejection.why.text()), way(request));
    if let Some(master) = &rejection.master_user {
        push(&mut text, format_args!(", master user {}", name(master)));
    }
    text
}

/// The line about a login that nobody could decide.
#[must_use]
pub fn unavailable(source: &str, user: &str, detail: &str, request: &Request) -> String {
    format!("{}: temporary failure: {}, {}", subject(source, user, request), clean(detail), way(request))
}

/// The line about a login that was not looked at.
#[must_use]
pub fn postponed(source: &str, user: &str, request: &Request) -> String {
    format!(
        "{}: too many failed attempts, this one is not looked at, {}",
        subject(source, user, request),
        way(request)
    )
}

fn way(request: &Request) -> String {
    let mut text = String::new();
    push_way(&mut text, request);
    text
}

/// A text of ours that may quote what a peer sent.
fn clean(text: &str) -> String {
    base::log::escaped(text.as_bytes(), 1000).to_string()
}

fn name(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"(),<>".contains(&byte);
    if text.len() <= LONGEST_NAME && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .take(LONGEST_NAME)
        .map(|letter| match letter {
            '(' | ')' | ',' | '<' | '>' => '?',
            _ if letter.is_control() || letter.is_whitespace() => '?',
            _ => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Why;

    fn request() -> Request {
        Request {
            remote_ip: Some("192.0.2.7".parse().unwrap()),
            mechanism: "PLAIN",
            service: "smtp".into(),
            ..Request::default()
        }
    }

    fn failed(why: Why, user: &str) -> String {
        let rejection = Rejection {
            why,
            user: user.into(),
            original_user: user.into(),
            master_user: None,
            source: "passwd-file".into(),
            at_once: false,
            reason: None,
        };
        rejected(&rejection, &request())
    }

    #[test]
    fn one_line_per_verdict() {
        assert_eq!(
            failed(Why::Mismatch(String::new()), "bob"),
            "passwd-file(bob,192.0.2.7): Password mismatch, mechanism PLAIN, service smtp"
        );
        let login = Login {
            user: "bob".into(),
            source: "sql".into(),
            label: Some("phone".into()),
            master_user: Some("boss".into()),
            ..Login::default()
        };
        assert_eq!(
            accepted(&login, &request()),
            "sql(bob,192.0.2.7): logged in, mechanism PLAIN, service smtp, master user boss, app password phone"
        );
        let away = unavailable("sql", "bob", "a\nb", &request());
        assert!(away.starts_with("sql(bob,192.0.2.7): temporary failure: a"), "{away}");
        assert!(!away.contains('\n'), "{away}");
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let text = failed(Why::UnknownUser, "x,198.51.100.1): Password mismatch\n(");
        assert!(
            text.starts_with("passwd-file(x?198.51.100.1?:?Password?mismatch??,192.0.2.7): unknown user"),
            "{text}"
        );
        let session = Request { session: "a b)".into(), ..request() };
        assert_eq!(subject("sql", "bob", &session), "sql(bob,192.0.2.7,<a?b?>)");
        let no_ip = Request { session: "s".into(), ..Request::default() };
        assert_eq!(subject("sql", "bob", &no_ip), "sql(bob,,<s>)");
    }
}
