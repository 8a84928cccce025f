//! What the rate rules of postfwd (1.35, and 2) mean in our settings.

use super::draft::{Draft, Section};
use super::rules::{self, Item, Rule};
use super::{NotKnown, bounded, rate};
use crate::key::Field;

/// Turns the rate rules of a postfwd ruleset (`rate`, `size`, `rcpt` and their 5321 forms) into limits of
/// ours, and rules before them that let pass into exceptions. All else stands in comments, each rule as it
/// was. [`crate::config::load`] takes the result without errors. Of a text longer than 256 KiB only the
/// beginning is looked at.
///
/// # Errors
/// [`NotKnown`] when there is no rule in it.
pub fn postfwd(text: &str) -> Result<String, NotKnown> {
    let rules = rules::read(bounded(text));
    if !rules.iter().any(|rule| !rule.action.is_empty()) {
        return Err(NotKnown("no rule of postfwd is in it".into()));
    }
    let mut draft = Draft::new("postfwd");
    draft.note(
        "postfwd counts in windows that begin with the first request, which lets up to twice the limit pass across an \
         edge; ours never let pass more than the limit in any period.",
    );
    let mut top = Section::new("");
    top.note("postfwd listened at inet:127.0.0.1:10040, unless it was told another place.");
    top.texts("listen", &["inet:127.0.0.1:10040"]);
    draft.add(top);
    let mut except: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for rule in &rules {
        match limit(rule, &except, &mut names) {
            Ok(Some(section)) => draft.add(section),
            Ok(None) => match passes(rule) {
                Some(condition) => except.push(condition),
                None => draft.note(format!("Not carried over (no rate rule): {}", rule.text)),
            },
            Err(why) => draft.note(format!("Not carried over ({why}): {}", rule.text)),
        }
    }
    Ok(draft.finish())
}

/// The condition of a rule that lets pass whatever meets it; `None` for all other rules.
fn passes(rule: &Rule) -> Option<String> {
    let word = rule.action.split_whitespace().next()?.to_ascii_lowercase();
    if !matches!(word.as_str(), "dunno" | "ok" | "permit") {
        return None;
    }
    // Several items of one name are alternatives; of several names, all must hold.
    let [condition] = conditions(&rule.items).ok()?.try_into().ok()?;
    Some(condition)
}

/// `rate(item/max/time/action)` and the like, as a limit; `None` for another action.
fn limit(rule: &Rule, except: &[String], names: &mut Vec<String>) -> Result<Option<Section>, String> {
    let Some((function, arguments)) = rule.action.split_once('(') else { return Ok(None) };
    let function = function.trim().to_ascii_lowercase();
    let count = match function.trim_end_matches("5321") {
        "rate" => "rate",
        "size" => "bytes",
        "rcpt" => "recipients",
        _ => return Ok(None),
    };
    let arguments = arguments.trim_end().strip_suffix(')').unwrap_or(arguments);
    let mut parts = arguments.splitn(4, '/');
    let mut part = || parts.next().map(str::trim).filter(|part| !part.is_empty());
    let (item, most, secs, action) = (part(), part(), part(), part());
    let (Some(item), Some(most), Some(secs)) = (item, most, secs) else {
        return Err("it has not four parts".into());
    };
    let item = item.trim_start_matches('$');
    let key = key(item).ok_or_else(|| format!("{item} is nothing that we count by"))?;
    let most: u64 = most.parse().ok().ok_or_else(|| format!("{most} is no number"))?;
    let secs: u64 = secs.parse().ok().ok_or_else(|| format!("{secs} is no number of seconds"))?;
    let (stage, items): (Vec<&Item>, Vec<&Item>) =
        rule.items.iter().partition(|item| item.name == "protocol_state");
    let items: Vec<Item> = items.into_iter().cloned().collect();
    let when = conditions(&items)?;
    let mut section = Section::new("[[limit]]");
    section.note(rule.text.clone());
    let late = stage.iter().any(|item| item.value.to_ascii_uppercase().contains("DATA"))
        || stage.iter().any(|item| item.value.to_ascii_uppercase().contains("END-OF-MESSAGE"));
    let count = match count {
        "rate" if late => "messages",
        "rate" => {
            section.note("Each request counted; at RCPT that is each recipient.");
            "recipients"
        }
        count => count,
    };
    section.text("name", &name(&rule.id, names));
    section.texts("key", &[key]);
    section.text("count", count);
    section.texts("rate", &[rate(&most.to_string(), secs)]);
    if !when.is_empty() {
        section.texts("when", &when);
    }
    if !except.is_empty() {
        section.texts("except", except);
    }
    if key == "client_address" {
        section.raw("ipv6_prefix", "128");
    }
    let action = texts(action.unwrap_or("DEFER_IF_PERMIT 4.7.1 limit reached"), item);
    if action.contains("$$") {
        section.note("Of the $$names in its text only the counter and the key have a counterpart.");
    }
    section.text("action", &action);
    Ok(Some(section))
}

/// What stands for a value in the action.
fn texts(action: &str, item: &str) -> String {
    // Braces are for our placeholders.
    let action = action.replace(['{', '}'], "");
    action.replace("$$ratecount", "{used}").replace(&format!("$${item}"), "{key}")
}

/// The name of a limit: the rule's id in the letters that ours may have, and a number if it is taken.
fn name(id: &str, names: &mut Vec<String>) -> String {
    let plain: String = id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let plain = if plain.trim_matches('-').is_empty() { "rule".to_owned() } else { plain };
    let mut name = plain.clone();
    let mut number = 2;
    while names.contains(&name) {
        name = format!("{plain}-{number}");
        number += 1;
    }
    names.push(name.clone());
    name
}

fn key(item: &str) -> Option<&'static str> {
    Field::of(item).map(Field::name)
}

/// A regular expression without the slashes that may stand around it.
fn without_slashes(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    pattern.strip_suffix('/').unwrap_or(pattern)
}

/// Items as conditions: alternatives of one name as one condition.
fn conditions(items: &[Item]) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for item in items {
        if done.contains(&item.name.as_str()) {
            continue;
        }
        done.push(&item.name);
        let same: Vec<&Item> = items.iter().filter(|other| other.name == item.name).collect();
        let field = key(&item.name).ok_or_else(|| format!("{} is nothing that we compare", item.name))?;
        out.push(one_condition(field, &same)?);
    }
    Ok(out)
}

fn one_condition(field: &str, items: &[&Item]) -> Result<String, String> {
    let unable =
        |item: &Item| format!("{}{}{} cannot be said in one condition", item.name, item.operator, item.value);
    let [first, rest @ ..] = items else { return Err("no item".into()) };
    if rest.iter().any(|item| item.operator != first.operator) {
        return Err(unable(first));
    }
    if items.iter().any(|item| item.value.is_empty()) {
        return Err(format!("{} has no value, and postfwd passes over such a rule", first.name));
    }
    let in_file = |item: &&&Item| {
        ["file:", "table:", "lfile:", "ltable:"].iter().any(|word| item.value.starts_with(word))
    };
    if let Some(item) = items.iter().find(in_file) {
        return Err(format!("{} is in {}: write a [[list]] of driver file", item.name, item.value));
    }
    let values: Vec<&str> = items.iter().map(|item| item.value.as_str()).collect();
    // !!(value) turns one item round.
    let turned = values.first().and_then(|value| value.strip_prefix("!!")).map(str::trim);
    if values.iter().any(|value| value.contains("$$")) || (turned.is_some() && values.len() > 1) {
        return Err(unable(first));
    }
    let inner = turned.map(|value| value.trim_start_matches('(').trim_end_matches(')'));
    let negative = turned.is_some() != first.operator.starts_with('!');
    let values = inner.map_or(values, |inner| vec![inner]);
    let not = if negative { "not " } else { "" };
    let is_address = matches!(field, "client_address" | "server_address");
    match first.operator.as_str() {
        "=" | "==" | "!=" if is_address => Ok(format!("{field} {not}in {}", values.join(", "))),
        "==" | "!=" => match values.as_slice() {
            [value] => Ok(format!("{field} {}= {value}", if negative { "!" } else { "" })),
            values => Ok(format!("{field} {not}in {}", values.join(", "))),
        },
        "=" if matches!(field, "size" | "recipient_count" | "encryption_keysize") => Err(unable(first)),
        "=" | "=~" | "~=" | "!~" => {
            let values: Vec<&str> = values.into_iter().map(without_slashes).collect();
            let pattern = match values.as_slice() {
                [value] => (*value).to_owned(),
                values => values.iter().map(|value| format!("(?:{value})")).collect::<Vec<_>>().join("|"),
            };
            Ok(format!("{field} {}~ {pattern}", if negative { "!" } else { "" }))
        }
        _ => Err(unable(first)),
    }
}
