//! Settings compared with each other: what each one alone does not show.

mod databases;
mod offer;
mod templates;
mod unused;

pub use offer::{NOTHING_TO_OFFER, abilities};

/// The error of a configuration with listeners that has no passdb, nor anything else that lets users in.
pub const NO_PASSDB: &str = "clients are listened to, but there is no [[passdb]]";

use std::collections::HashMap;

use base::config::Report;
use base::config::toml::{Document, Table, duration_text};
use base::service::listen::Address;

use super::settings::{Listen, ListenKind, Settings};

/// Reports what does not fit together.
pub(super) fn settings(settings: &Settings, document: &Document, report: &mut Report) {
    names(document.section(""), report);
    times(settings, document, report);
    listeners(settings, document, report);
    offer::mechanisms(settings, document, report);
    oauth2(settings, document.section("oauth2"), report);
    unused::service(settings, document, report);
    let passdbs = document.tables("passdb").filter(|table| table.text("driver").is_some());
    for (passdb, table) in settings.passdb.iter().zip(passdbs) {
        databases::passdb(passdb, settings, table, report);
        unused::passdb(passdb, table, report);
    }
    let userdbs = document.tables("userdb").filter(|table| table.text("driver").is_some());
    for (userdb, table) in settings.userdb.iter().zip(userdbs) {
        databases::userdb(userdb, table, report);
        unused::userdb(userdb, settings, table, report);
    }
}

fn names(top: &Table, report: &mut Report) {
    templates::check(top, &["username_format"], report);
    let text = |name| top.text(name).unwrap_or_default();
    if text("master_user_separator").chars().count() > 1 {
        report.error(&top.place("master_user_separator"), "master_user_separator is one character");
    }
    if text("username_translation").chars().count() % 2 != 0 {
        report
            .error(&top.place("username_translation"), "username_translation has an odd number of characters")
            .help("they are pairs: the first of two becomes the second");
    }
    if let Some(range) = backward_range(&text("username_chars")) {
        report
            .error(&top.place("username_chars"), format!("the range {range} runs backward"))
            .help("a - that stands for itself comes first or last");
    }
    if text("default_realm").contains('@') {
        report.error(&top.place("default_realm"), "default_realm is a domain, without @");
    }
    for name in ["user", "group"] {
        if top.is_set(name) && text(name).is_empty() {
            report.error(&top.place(name), format!("{name} is empty"));
        }
    }
}

/// A range such as `z-a`.
fn backward_range(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut rest = chars.as_slice();
    while let [first, after @ ..] = rest {
        if let ['-', last, beyond @ ..] = after {
            if last < first {
                return Some(format!("{first}-{last}"));
            }
            rest = beyond;
        } else {
            rest = after;
        }
    }
    None
}

fn times(settings: &Settings, document: &Document, report: &mut Report) {
    let within = settings.limits.reply_within;
    let limits = document.section("limits");
    let throttle = document.section("throttle");
    for (name, time) in
        [("failure_delay", settings.throttle.failure_delay), ("max_delay", settings.throttle.max_delay)]
    {
        if time > within {
            let text = format!("longer than reply_within, which cuts it to {}", duration_text(within));
            // Where it is not set, reply_within is.
            let place =
                if throttle.is_set(name) { throttle.place(name) } else { limits.place("reply_within") };
            report.warning(&place, format!("throttle.{name}: {text}"));
        }
    }
    for table in document.tables("passdb") {
        let timeout = table.duration("timeout").unwrap_or_default();
        if table.is_set("timeout") && timeout > within {
            let text = format!(
                "longer than reply_within: clients have their answer after {}",
                duration_text(within)
            );
            report.warning(&table.place("timeout"), text);
        }
    }
}

fn listeners(settings: &Settings, document: &Document, report: &mut Report) {
    let tables: Vec<&Table> = document.tables("listen").collect();
    if tables.is_empty() && document.is_whole() {
        report
            .warning_anywhere("there is no [[listen]]: the service manager must hand over a socket")
            .help("write [[listen]] and below it address = \"unix:/path\"");
    }
    let read = tables.iter().filter(|table| table.address("address").is_some());
    let listeners: Vec<(&Listen, &Table)> = settings.listen.iter().zip(read.copied()).collect();
    let mut lines: HashMap<String, u32> = HashMap::new();
    for (listen, table) in &listeners {
        let place = table.place("address");
        let line = *lines.entry(listen.address.to_string()).or_insert(place.line());
        if line != place.line() {
            report.error(&place, format!("line {line} listens at this address already"));
        }
        one_listener(listen, table, report);
    }
    if !document.is_whole() {
        return;
    }
    let first = |kind| listeners.iter().find(|(listen, _)| listen.kind == kind);
    if settings.passdb.is_empty()
        && document.tables("passdb").next().is_none()
        // Tokens and guests need none.
        && !offer::offers_any(settings)
        && let Some((_, table)) = first(ListenKind::Client)
    {
        report
            .error(table.header(), NO_PASSDB)
            .help("write [[passdb]] and below it driver = \"passwd-file\" and path = \"/etc/...\"");
    }
    if settings.userdb.is_empty()
        && document.tables("userdb").next().is_none()
        && let Some((_, table)) = first(ListenKind::Userdb)
    {
        report
            .error(&table.place("kind"), "look-ups are listened for, but there is no [[userdb]]")
            .help("write [[userdb]] and below it driver = \"passwd-file\" and path = \"/etc/...\"");
    }
}

fn one_listener(listen: &Listen, table: &Table, report: &mut Report) {
    match &listen.address {
        Address::Unix(_) => {
            if listen.mode & 0o002 != 0 {
                let what = match listen.kind {
                    ListenKind::Client => "every local user may try passwords here",
                    // Dovecot's rule for this very mode.
                    ListenKind::Userdb if listen.mode & 0o777 == 0o666 => {
                        "every local user may ask here, for users with its own uid only"
                    }
                    ListenKind::Userdb => "every local user may look up all users here",
                };
                let help = match listen.kind {
                    ListenKind::Client => "0o660 with a group is enough for Postfix",
                    ListenKind::Userdb => "0o660 with a group is enough for a delivery agent",
                };
                report.warning(&table.place("mode"), what).help(help);
            }
        }
        Address::Inet { host, .. } => {
            for name in ["mode", "user", "group"] {
                if table.is_set(name) {
                    report.warning(&table.key_place(name), format!("{name} means nothing for a TCP port"));
                }
            }
            if !host.as_deref().is_some_and(is_loopback) {
                report
                    .warning(&table.place("address"), "passwords cross this port in clear text")
                    .help("listen at 127.0.0.1 or ::1, and lead the port through a tunnel with TLS");
            }
        }
    }
}

/// Whether a host is this machine itself.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn oauth2(settings: &Settings, table: &Table, report: &mut Report) {
    let Some(oauth2) = &settings.oauth2 else { return };
    if oauth2.keys.is_empty() && oauth2.jwks.is_none() && oauth2.introspection_url.is_none() {
        report
            .error(table.header(), "[oauth2] has nothing to check tokens by")
            .help("set keys, jwks or introspection_url");
    }
    for (index, key) in oauth2.keys.iter().enumerate() {
        if !key.is_absolute() {
            report.error(
                &table.element_place("keys", index),
                format!("keys: {} is not an absolute path", key.display()),
            );
        }
    }
    if let Some(jwks) = &oauth2.jwks
        && !jwks.starts_with('/')
        && !is_safe(jwks)
    {
        report
            .error(&table.place("jwks"), "jwks is neither an absolute path nor an https URL")
            .help("http is for a loopback address");
    }
    if let Some(url) = &oauth2.introspection_url
        && !is_safe(url)
    {
        report
            .error(&table.place("introspection_url"), "tokens would cross the network in clear text")
            .help("write an https URL; http is for a loopback address");
    }
    if table.is_set("active_value") && !table.is_set("active_claim") {
        report.error(&table.key_place("active_value"), "active_value is set and active_claim is not");
    }
}

/// Whether nobody on the network can read or change what comes from a URL.
fn is_safe(url: &str) -> bool {
    url.starts_with("https://") || url.strip_prefix("http://").map(url_host).is_some_and(is_loopback)
}

/// The host of a URL without its scheme.
fn url_host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, _)) => inner,
        None => host.split(':').next().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_known() {
        for (url, want) in [
            ("127.0.0.1:80/x", true),
            ("localhost/x", true),
            ("[::1]:8080", true),
            ("user@127.0.0.1", true),
            ("example.com", false),
            ("localhost.example.com", false),
            ("127.0.0.1@example.com/", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(url_host(url)), want, "{url}");
        }
    }

    #[test]
    fn ranges_run_forward() {
        assert_eq!(backward_range("a-zA-Z0-9.-_@+"), None);
        assert_eq!(backward_range("-a_-"), None);
        assert_eq!(backward_range("az-a"), Some("z-a".to_owned()));
        assert_eq!(backward_range(""), None);
    }
}
