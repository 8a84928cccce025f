//! A plan as text, as Pigeonhole's sieve-test prints it, and as JSON. Pure.

use std::fmt::Write;

use super::plan::{Plan, Step, Store};

/// Pigeonhole's form.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut out = String::from("\nPerformed actions:\n\n");
    let shown = plan.steps.iter().filter(|step| !matches!(step, Step::Debug(_)));
    let mut any = false;
    for step in shown {
        any = true;
        action(&mut out, step);
    }
    if !any {
        out.push_str("  (none)\n");
    }
    out.push_str("\nImplicit keep:\n\n");
    match &plan.implicit_keep {
        Some(keep) => store(&mut out, keep),
        None => out.push_str("  (none)\n"),
    }
    out.push('\n');
    out
}

fn action(out: &mut String, step: &Step) {
    match step {
        Step::Store(found) => store(out, found),
        Step::Redirect(redirect) => {
            line(out, &format!(" * redirect message to: <{}>", printable(&redirect.address)));
            if redirect.copy {
                line(out, "        + preserve implicit keep");
            }
        }
        Step::Discard => line(out, " * discard"),
        Step::Reject { reason, .. } => {
            line(out, &format!(" * reject message with reason: {}", printable(reason)));
        }
        Step::Vacation(vacation) => {
            line(out, " * send vacation message:");
            let mut entry =
                |name: &str, value: &str| line(out, &format!("    => {name:<7} : {}", printable(value)));
            entry("seconds", &vacation.period.unwrap_or(0).to_string());
            if let Some(subject) = &vacation.subject {
                entry("subject", subject);
            }
            if let Some(from) = &vacation.from {
                entry("from", from);
            }
            line(out, &format!("    => handle  : {}", text_of(vacation.handle.as_deref().unwrap_or(""))));
            line(out, &format!("\nSTART MESSAGE\n{}\nEND MESSAGE", text_of(&vacation.reason)));
        }
        Step::Notify(found) => {
            line(out, " * send notification with method 'mailto:':");
            let mut entry =
                |name: &str, value: &str| line(out, &format!("    => {name:<12} : {}", printable(value)));
            entry("importance", found.notify.importance.as_deref().unwrap_or("2"));
            if let Some(subject) = found.notify.message.as_ref().or(found.mailto.subject.as_ref()) {
                entry("subject", subject);
            }
            if let Some(from) = &found.notify.from {
                entry("from", from);
            }
            entry("recipients", "");
            for (field, addresses) in [("To", &found.mailto.to), ("Cc", &found.mailto.cc)] {
                for address in addresses {
                    line(out, &format!("       + {field}: {}", printable(address)));
                }
            }
            if let Some(body) = &found.mailto.body {
                line(out, &format!("    => body         : \n--\n{}\n--", text_of(body)));
            }
            line(out, "");
        }
        Step::Track { .. } => line(out, " * track duplicate"),
        Step::Debug(_) => {}
    }
}

fn store(out: &mut String, store: &Store) {
    line(out, &format!(" * store message in folder: {}", printable(&store.mailbox)));
    if store.copy {
        line(out, "        + preserve implicit keep");
    }
    if store.create {
        line(out, "        + create mailbox if it does not exist");
    }
    if !store.flags.is_empty() {
        line(out, &format!("        + add IMAP flags: {}", store.flags.join(" ")));
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end_matches(' '));
    out.push('\n');
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn text_of(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c })
        .collect()
}

/// One object: the actions in their order, and the implicit keep or null.
#[must_use]
pub fn json(plan: &Plan) -> String {
    let actions: Vec<_> =
        plan.steps.iter().filter(|step| !matches!(step, Step::Debug(_))).map(action_json).collect();
    let keep = plan.implicit_keep.as_ref().map_or_else(|| "null".to_owned(), |keep| store_json(keep, "keep"));
    format!("{{\"actions\":[{}],\"implicit_keep\":{keep}}}\n", actions.join(","))
}

fn action_json(step: &Step) -> String {
    match step {
        Step::Store(store) => store_json(store, if store.keep { "keep" } else { "fileinto" }),
        Step::Redirect(redirect) => {
            object("redirect", &[("address", string(&redirect.address)), ("copy", redirect.copy.to_string())])
        }
        Step::Discard => object("discard", &[]),
        Step::Reject { reason, .. } => object("reject", &[("reason", string(reason))]),
        Step::Vacation(vacation) => object(
            "vacation",
            &[
                ("seconds", vacation.period.unwrap_or(0).to_string()),
                ("subject", optional(vacation.subject.as_deref())),
                ("from", optional(vacation.from.as_deref())),
                ("handle", optional(vacation.handle.as_deref())),
                ("reason", string(&vacation.reason)),
            ],
        ),
        Step::Notify(found) => object(
            "notify",
            &[
                ("method", string(&found.notify.method)),
                ("importance", optional(found.notify.importance.as_deref())),
                ("message", optional(found.notify.message.as_deref())),
            ],
        ),
        Step::Track { id, seconds } => {
            object("duplicate", &[("id", string(id)), ("seconds", seconds.to_string())])
        }
        Step::Debug(text) => object("debug", &[("text", string(text))]),
    }
}

fn store_json(store: &Store, name: &str) -> String {
    let flags: Vec<_> = store.flags.iter().map(|flag| string(flag)).collect();
    object(
        name,
        &[
            ("mailbox", string(&store.mailbox)),
            ("flags", format!("[{}]", flags.join(","))),
            ("create", store.create.to_string()),
            ("copy", store.copy.to_string()),
            ("edited", (store.edition > 0).to_string()),
        ],
    )
}

fn object(action: &str, fields: &[(&str, String)]) -> String {
    let mut out = format!("{{\"action\":\"{action}\"");
    for (name, value) in fields {
        // Writing to a string cannot fail.
        let _infallible = write!(out, ",\"{name}\":{value}");
    }
    out.push('}');
    out
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), string)
}

/// A JSON string (RFC 8259 §7).
#[must_use]
pub fn string(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    // JSON lets DEL and the controls behind ASCII stand as they are; terminals obey them.
    let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    if json.chars().any(char::is_control) { json.chars().map(escaped).collect() } else { json }
}
