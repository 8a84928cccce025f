//! What the settings of policyd-rate-limit (1.0 and 1.2) mean in ours.

use super::draft::{Draft, Section};
use super::yaml::{self, Yaml};
use super::{NotKnown, bounded, rate};

/// Where the overrides go; the text to put there stands in the comments.
const OVERRIDES: &str = "/etc/postrider/policyd-overrides";

/// Settings that have a meaning here.
const KNOWN: [&str; 15] = [
    "SOCKET",
    "socket_permission",
    "limits",
    "limits_by_id",
    "limit_by_sasl",
    "limit_by_sender",
    "limit_by_ip",
    "limited_networks",
    "success_action",
    "fail_action",
    "db_error_action",
    "report",
    "report_from",
    "report_to",
    "count_mode",
];

/// Settings that are of no use here, and why.
const NEEDLESS: [(&str, &str); 18] = [
    ("debug", "[log] level"),
    ("user", "the unit says who runs the service"),
    ("group", "the unit says who runs the service"),
    ("pidfile", "systemd needs none"),
    ("backend", "counters are in a file of ours, see [store]"),
    ("sqlite_config", "counters are in a file of ours, see [store]"),
    ("mysql_config", "counters are in a file of ours, see [store]"),
    ("pgsql_config", "counters are in a file of ours, see [store]"),
    ("report_subject", "notices have a subject of their own"),
    ("report_limits", "a notice comes at once, not daily"),
    ("report_only_if_needed", "a notice comes only when a limit is reached"),
    ("smtp_server", "mails go through sendmail"),
    ("smtp_starttls", "mails go through sendmail"),
    ("smtp_credentials", "mails go through sendmail"),
    ("delay_to_close", "idle connections cost next to nothing and stay"),
    ("database_is_initialized", "it is internal"),
    ("config_file", "it is internal"),
    ("cursor", "it is internal"),
];

/// Turns policyd-rate-limit.yaml into a configuration of ours. What could not be carried over stands in it
/// as comments; [`crate::config::load`] takes the result without errors. Of a text longer than 256 KiB only
/// the beginning is looked at.
///
/// # Errors
/// [`NotKnown`] when it is no YAML, or nothing of policyd-rate-limit is in it.
pub fn policyd_rate_limit(text: &str) -> Result<String, NotKnown> {
    let root = yaml::read(bounded(text)).map_err(|why| NotKnown(format!("it is no YAML: {why}")))?;
    if !["limits", "limit_by_sasl", "limits_by_id", "fail_action"].iter().any(|key| root.value(key).is_some())
    {
        return Err(NotKnown("no setting of policyd-rate-limit is in it".into()));
    }
    let mut draft = Draft::new("policyd-rate-limit");
    draft.note("Counters are not carried over: everybody begins at nothing.");
    top(&root, &mut draft);
    store(&root, &mut draft);
    limits(&root, &mut draft);
    notices(&root, &mut draft);
    let Yaml::Map(pairs) = &root else { return Ok(draft.finish()) };
    for (name, _) in pairs {
        if let Some((_, why)) = NEEDLESS.iter().find(|(known, _)| known == name) {
            if !matches!(name.as_str(), "mysql_config" | "pgsql_config" | "sqlite_config") {
                draft.note(format!("Left out: {name} ({why})."));
            }
        } else if !KNOWN.contains(&name.as_str()) {
            draft.note(format!("Not carried over: {name} is not known."));
        }
    }
    Ok(draft.finish())
}

fn flag(root: &Yaml, name: &str, default: bool) -> bool {
    root.value(name).map_or(default, Yaml::is_true)
}

fn top(root: &Yaml, draft: &mut Draft) {
    let mut section = Section::new("");
    let socket = match root.value("SOCKET") {
        Some(Yaml::List(pair)) => {
            let part = |at: usize| pair.get(at).and_then(Yaml::text).unwrap_or_default();
            format!("inet:{}:{}", part(0), part(1))
        }
        Some(Yaml::Text(path)) => format!("unix:{path}"),
        _ => "unix:/var/spool/postfix/ratelimit/policy".to_owned(),
    };
    section.note(
        "The same place as before, so that main.cf can stay as it is; its folder must be there. The packaged service \
         listens at unix:/var/spool/postfix/postrider/policyd.",
    );
    section.texts("listen", &[&socket]);
    if let Some(mode) = root.value("socket_permission").and_then(Yaml::text)
        && socket.starts_with("unix:")
    {
        let digits = mode.trim_start_matches("0o").trim_start_matches('0');
        if digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
            section.raw("socket_mode", &format!("0o{digits}"));
        } else {
            section.note(format!("Not carried over: socket_permission {mode} is no mode."));
        }
    }
    draft.add(section);
}

fn store(root: &Yaml, draft: &mut Draft) {
    let action = root.value("db_error_action").and_then(Yaml::text).unwrap_or("dunno");
    if action.eq_ignore_ascii_case("dunno") {
        return;
    }
    let mut section = Section::new("[store]");
    section.text("unavailable", "closed");
    section.text("unavailable_action", action);
    draft.add(section);
}

/// `[[N, seconds], ...]` as rates.
fn rates(list: &Yaml) -> Vec<String> {
    let pair = |one: &Yaml| {
        let numbers = one.elements();
        let number = numbers.first()?.text()?;
        let secs = numbers.get(1)?.text()?.trim().parse().ok()?;
        Some(rate(number, secs))
    };
    list.elements().iter().filter_map(pair).collect()
}

fn limits(root: &Yaml, draft: &mut Draft) {
    let rates_of = root.value("limits").map(rates).unwrap_or_default();
    let rates_of =
        if rates_of.is_empty() { vec!["10/minute".to_owned(), "150/day".to_owned()] } else { rates_of };
    if let Some(success) = root.value("success_action").and_then(Yaml::text)
        && !success.eq_ignore_ascii_case("dunno")
    {
        draft.note(format!(
            "Not carried over: success_action {success}. Where no limit refuses, Postfix is told DUNNO, or what \
             stands after check_policy_service would be skipped."
        ));
    }
    let overrides = overrides(root, draft);
    let (sasl, sender) = (flag(root, "limit_by_sasl", true), flag(root, "limit_by_sender", false));
    let mut fill = |name: &str, key: &str, when: &[String]| {
        let mut section = Section::new("[[limit]]");
        if root.value("count_mode").and_then(Yaml::text) == Some("1") {
            section.note("count_mode 1: messages, at DATA.");
        } else if name == "per-user" {
            section.note(
                "It counted every RCPT TO, also of mail that was refused or given up afterwards; ours are given back.",
            );
        }
        section.text("name", name);
        section.texts("key", &[key]);
        let messages = root.value("count_mode").and_then(Yaml::text) == Some("1");
        section.text("count", if messages { "messages" } else { "recipients" });
        section.texts("rate", &rates_of);
        if !when.is_empty() {
            section.texts("when", when);
        }
        if key.contains("client_address") {
            section.raw("ipv6_prefix", "128");
        }
        let action = root.value("fail_action").and_then(Yaml::text);
        section.text("action", action.unwrap_or("defer_if_permit Rate limit reach, retry later"));
        if overrides {
            section.text("overrides", "by-id");
        }
        draft.add(section);
    };
    let key = match (sasl, sender) {
        (true, true) => Some("sasl_username|sender"),
        (true, false) => Some("sasl_username"),
        (false, true) => Some("sender"),
        (false, false) => None,
    };
    if let Some(key) = key {
        fill("per-user", key, &[]);
    }
    let networks: Vec<&str> = root
        .value("limited_networks")
        .map(|list| list.elements().iter().filter_map(Yaml::text).collect())
        .unwrap_or_default();
    if flag(root, "limit_by_ip", false) && !networks.is_empty() {
        let mut when = Vec::new();
        if sasl {
            when.push("sasl_username = \"\"".to_owned());
        }
        if sender {
            when.push("sender = \"\"".to_owned());
        }
        when.push(format!("client_address in {}", networks.join(", ")));
        fill("per-address", "client_address", &when);
    }
}

/// Writes the list of `limits_by_id`; whether there is one.
fn overrides(root: &Yaml, draft: &mut Draft) -> bool {
    let Some(Yaml::Map(pairs)) = root.value("limits_by_id") else { return false };
    if pairs.is_empty() {
        return false;
    }
    let mut section = Section::new("[[list]]");
    let mut note = format!("limits_by_id: put these lines in {OVERRIDES}:\n");
    for (id, list) in pairs {
        let rates = rates(list);
        let rates = if rates.is_empty() { "unlimited".to_owned() } else { rates.join(", ") };
        note.push_str(&format!("\n{id} {rates}"));
    }
    section.note(note);
    section.text("name", "by-id");
    section.text("path", OVERRIDES);
    draft.add(section);
    true
}

fn notices(root: &Yaml, draft: &mut Draft) {
    if !flag(root, "report", false) {
        return;
    }
    let to: Vec<&str> = root
        .value("report_to")
        .map(|to| to.elements().iter().filter_map(Yaml::text).collect())
        .unwrap_or_default();
    let mut section = Section::new("[[notice]]");
    section.note("The report: not once a day for all, but at once, for each user who reaches a limit.");
    section.texts("mail_to", &to);
    if let Some(from) = root.value("report_from").and_then(Yaml::text) {
        section.text("mail_from", from);
    }
    draft.add(section);
}
