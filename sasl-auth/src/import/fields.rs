//! Lists and fields as Dovecot writes them in one value.

use super::draft::{Section, Value};
use super::parser::Block;

/// Mechanisms that we have, by their names in capitals.
const MECHANISMS: [&str; 9] = [
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "XOAUTH2",
    "OAUTHBEARER",
    "EXTERNAL",
    "ANONYMOUS",
];

/// `a b, c` as a list.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The words of a value that is a list in 2.3, and in 2.4 either a list or a block `key { word = yes }`.
pub(super) fn list(block: &Block, key: &str) -> Vec<String> {
    let mut found = block.value(key).map(words).unwrap_or_default();
    if let Some(inner) = block.block(key) {
        found.extend(inner.settings().filter(|(_, value)| *value == "yes").map(|(word, _)| word.to_owned()));
    }
    found
}

/// The mechanisms of a list that we have, and those that we do not.
pub(super) fn mechanisms(names: &[String]) -> (Vec<String>, Vec<String>) {
    let names = names.iter().map(|name| name.to_ascii_uppercase());
    names.partition(|name| MECHANISMS.contains(&name.as_str()))
}

/// `a=b c=d e` as fields.
pub(super) fn fields(text: &str) -> Vec<(String, Option<String>)> {
    text.split_whitespace().map(field).collect()
}

/// `name=value` or `name`.
pub(super) fn field(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// The settings of a block as fields, in 2.4's `fields { name = value }`.
pub(super) fn of_block(block: &Block) -> Vec<(String, Option<String>)> {
    block.settings().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect()
}

/// Dovecot's booleans.
pub(super) fn is_yes(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "yes" | "y" | "true" | "1")
}

/// Adds `name = true` when Dovecot's value says so.
pub(super) fn flag(section: &mut Section, name: &str, value: Option<&str>) {
    if value.is_some_and(is_yes) {
        section.set(name, &Value::Boolean(true));
    }
}

/// Adds a list, unless it is empty.
pub(super) fn texts(section: &mut Section, name: &str, list: Vec<String>) {
    if !list.is_empty() {
        section.set(name, &Value::Texts(list));
    }
}

/// What passdbs and userdbs of both versions share, except their fields: rules, filters, formats.
/// `value` finds a setting by its short name.
pub(super) fn rules<'a>(section: &mut Section, value: &dyn Fn(&str) -> Option<&'a str>) {
    for name in ["result_success", "result_failure", "result_internalfail", "skip"] {
        section.text(name, value(name).unwrap_or(""));
    }
    flag(section, "deny", value("deny"));
    flag(section, "master", value("master"));
    if value("pass").is_some_and(is_yes) {
        section.text("result_success", "continue");
    }
    texts(section, "username_filter", value("username_filter").map(words).unwrap_or_default());
}

/// Restricts a passdb to mechanisms; one for none that we have is turned off.
pub(super) fn only_mechanisms(section: &mut Section, names: &[String]) {
    let (ours, foreign) = mechanisms(names);
    if !names.is_empty() && ours.is_empty() {
        section.turn_off(format!("Only for mechanisms that are not built in: {}.", foreign.join(", ")));
    }
    texts(section, "mechanisms", ours);
}
