//! What Dovecot's versions share: the settings whose names begin with `auth_`, and the listeners.

use std::time::Duration;

use base::config::toml::{duration_text, size_text};

use super::draft::{Draft, Section, Value};
use super::fields::{is_yes, list, mechanisms};
use super::parser::Block;

/// The longest delay that leaves time for an answer: Postfix waits 10 s.
const LONGEST_DELAY: Duration = Duration::from_secs(7);

/// Settings that need no counterpart: we do always, or never, what they ask for.
const NEEDLESS: [&str; 6] = [
    "auth_verbose",
    "auth_verbose_passwords",
    "auth_debug",
    "auth_debug_passwords",
    "auth_stats",
    "auth_use_winbind",
];

/// Settings without a counterpart, and why there is none.
const REASONS: [(&str, &str); 3] = [
    (
        "auth_worker_max_count",
        "there are no worker processes. What runs at a time is set by threads in [hashing], connections of sql \
         and ldap, and processes of pam and command.",
    ),
    ("auth_worker_max_request_count", "there are no worker processes."),
    (
        "auth_internal_failure_delay",
        "a temporary failure is not delayed; internal_failure says what the client gets.",
    ),
];

/// Carries over mechanisms, names, cache, delays.
pub(super) fn settings(root: &Block, new: bool, draft: &mut Draft) {
    let mut top = Section::new("");
    let named = list(root, "auth_mechanisms");
    let (mut ours, foreign) = mechanisms(&named);
    if named.is_empty() {
        ours.push("PLAIN".to_owned());
    }
    if !foreign.is_empty() {
        draft.note(format!("Mechanisms that are not built in: {}.", foreign.join(", ")));
    }
    if ours.is_empty() {
        ours.push("PLAIN".to_owned());
        draft.note("No mechanism is left of those that were set, so PLAIN stands in for them.");
    }
    top.set("mechanisms", &Value::Texts(ours));
    if let Some(format) = root.value("auth_username_format") {
        // An empty one leaves names as they are.
        top.text("username_format", if format.is_empty() { "%u" } else { format });
    }
    if let Some(chars) = root.value("auth_username_chars") {
        top.set("username_chars", &Value::Text(chars.to_owned()));
    }
    for (theirs, name) in [
        ("auth_username_translation", "username_translation"),
        ("auth_default_realm", "default_realm"),
        ("auth_default_domain", "default_realm"),
        ("auth_master_user_separator", "master_user_separator"),
        ("auth_anonymous_username", "anonymous_username"),
    ] {
        top.text(name, root.value(theirs).unwrap_or(""));
    }
    if !new {
        let note = "Dovecot 2.3 takes passwords in schemes that are quickly broken. Set this to false when \
                    there are none.";
        top.set_with_note("allow_weak_schemes", &Value::Boolean(true), note);
    } else if root.value("auth_allow_weak_schemes").is_some_and(is_yes) {
        top.set("allow_weak_schemes", &Value::Boolean(true));
    }
    draft.add(top);
    cache(root, draft);
    if let Some(delay) = root.value("auth_failure_delay").and_then(time) {
        let mut throttle = Section::new("[throttle]");
        if delay > LONGEST_DELAY {
            let note = format!("It was {}; Postfix gives up after 10 s.", duration_text(delay));
            let value = Value::Text(duration_text(LONGEST_DELAY));
            throttle.set_with_note("failure_delay", &value, &note);
            throttle.set("max_delay", &value);
        } else {
            throttle.text("failure_delay", &duration_text(delay));
        }
        draft.add(throttle);
    }
    left_over(root, draft);
}

fn cache(root: &Block, draft: &mut Draft) {
    let Some(bytes) = root.value("auth_cache_size").and_then(size).filter(|bytes| *bytes > 0) else { return };
    let mut cache = Section::new("[cache]");
    cache.text("size", &size_text(bytes));
    for (theirs, name) in [("auth_cache_ttl", "ttl"), ("auth_cache_negative_ttl", "negative_ttl")] {
        // Dovecot's default of both is an hour, ours is not.
        let value = root.value(theirs).and_then(time).unwrap_or(Duration::from_secs(3600));
        cache.text(name, &duration_text(value));
    }
    draft.add(cache);
}

/// Names what has no counterpart.
fn left_over(root: &Block, draft: &mut Draft) {
    for name in ["disable_plaintext_auth", "auth_allow_cleartext", "auth_ssl_require_client_cert"] {
        if let Some(value) = root.value(name) {
            draft.note(format!(
                "{name} = {value} is for Postfix to decide: smtpd_tls_auth_only, smtpd_tls_req_ccert."
            ));
        }
    }
    const KNOWN: [&str; 12] = [
        "auth_mechanisms",
        "auth_username_format",
        "auth_username_chars",
        "auth_username_translation",
        "auth_default_realm",
        "auth_default_domain",
        "auth_master_user_separator",
        "auth_anonymous_username",
        "auth_allow_weak_schemes",
        "auth_failure_delay",
        "auth_ssl_require_client_cert",
        "auth_allow_cleartext",
    ];
    for (name, value) in root.settings() {
        if name.starts_with("auth_")
            && !name.starts_with("auth_cache_")
            && !KNOWN.contains(&name)
            && !NEEDLESS.contains(&name)
        {
            let why = REASONS.iter().find(|(other, _)| *other == name).map_or("", |(_, why)| why);
            let end = if why.is_empty() { "" } else { ": " };
            draft.note(format!("Not carried over: {name} = {value}{end}{why}"));
        }
    }
    for block in root.blocks().filter(|block| matches!(block.kind(), "protocol" | "local" | "remote")) {
        for inner in block.blocks().filter(|inner| matches!(inner.kind(), "passdb" | "userdb")) {
            draft.note(format!(
                "Not carried over: a {} only for {} {}.",
                inner.kind(),
                block.kind(),
                block.name()
            ));
        }
    }
}

/// Carries over the sockets of the authentication service.
pub(super) fn listeners(root: &Block, draft: &mut Draft) {
    let services = root.blocks().filter(|block| block.kind() == "service" && block.name() == "auth");
    let mut seen: Vec<String> = Vec::new();
    for listener in services.flat_map(Block::blocks) {
        let Some((address, section)) = (match listener.kind() {
            "unix_listener" => unix(listener, draft),
            "inet_listener" => inet(listener),
            _ => None,
        }) else {
            continue;
        };
        if !seen.contains(&address) {
            seen.push(address);
            draft.add(section);
        }
    }
}

/// A UNIX socket. What is spoken at it depends on the end of its name (Dovecot 2.3 observed).
fn unix(listener: &Block, draft: &mut Draft) -> Option<(String, Section)> {
    let path = match listener.value("path") {
        Some(path) => path,
        None => listener.name(),
    };
    let mode = listener.value("mode").map_or(Some(0o600), octal);
    if mode == Some(0) || path.is_empty() {
        return None;
    }
    let kind = path.rsplit('-').next().unwrap_or("");
    if matches!(kind, "login" | "worker") || path.starts_with("login/") || path.starts_with("token-login") {
        draft.note(format!("Not carried over: the socket {path}, which is for Dovecot's own processes."));
        return None;
    }
    let mut section = Section::new("[[listen]]");
    let address = if path.starts_with('/') {
        format!("unix:{path}")
    } else {
        section.note(format!("In Dovecot's own folder this was {path}."));
        // The folder of the socket unit that the Debian package brings.
        format!("unix:/run/postrider-sasl-auth/{path}")
    };
    section.text("address", &address);
    if matches!(kind, "userdb" | "master") || path.ends_with("/userdb") {
        section.text("kind", "userdb");
        if kind == "master" {
            section.note("Only look-ups are served here, no logins of Dovecot's own processes.");
        }
    }
    match mode {
        Some(mode) => section.set("mode", &Value::Mode(mode & 0o777)),
        None => section.note(format!("Not carried over: mode = {}", listener.value("mode").unwrap_or(""))),
    }
    for name in ["user", "group"] {
        // $default_internal_user and the like are accounts of Dovecot.
        match listener.value(name) {
            Some(value) if value.starts_with('$') => {
                section.note(format!("Not carried over: {name} = {value}"));
            }
            value => section.text(name, value.unwrap_or("")),
        }
    }
    Some((address, section))
}

fn inet(listener: &Block) -> Option<(String, Section)> {
    let port: u16 = listener.value("port")?.parse().ok().filter(|port| *port != 0)?;
    let host = listener.value("address").or_else(|| listener.value("listen")).unwrap_or("*");
    let host = host.split([' ', ',']).next().unwrap_or("*");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address =
        if host.contains(':') { format!("inet:[{host}]:{port}") } else { format!("inet:{host}:{port}") };
    let mut section = Section::new("[[listen]]");
    section.text("address", &address);
    Some((address, section))
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().trim_start_matches("0o"), 8).ok()
}

/// `3 secs`, `5 mins`, `1 hours`, `2 weeks`; a bare number counts seconds.
pub(super) fn time(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let scale = match unit.as_str() {
        "msecs" | "msec" | "ms" => return Some(Duration::from_millis(number)),
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    };
    number.checked_mul(scale).map(Duration::from_secs)
}

/// `10 M`, `10M`, `512 k`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}
