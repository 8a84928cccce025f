//! The rules of postfwd: lines, macros, items.

use std::collections::HashMap;

/// How deep macros may name each other.
const DEEPEST: usize = 8;
/// Items of one rule at most, macros replaced.
const MOST_ITEMS: usize = 1000;

/// One item of a rule: `client_address=192.0.2.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) value: String,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// `id=`, or the number of the rule.
    pub(super) id: String,
    /// The items that must hold; several of a name are alternatives.
    pub(super) items: Vec<Item>,
    /// `action=`.
    pub(super) action: String,
    /// The rule as it was written, blanks aside.
    pub(super) text: String,
}

/// Operators, longer ones first (postfwd 1.35).
const OPERATORS: [&str; 12] = ["==", "=~", "~=", "!=", "=<", "=>", "<=", ">=", "!~", "!<", "!>", "="];

/// Reads a file of rules.
pub(super) fn read(text: &str) -> Vec<Rule> {
    let mut macros: HashMap<String, String> = HashMap::new();
    let mut rules = Vec::new();
    for line in logical_lines(text) {
        if let Some((name, body)) = definition(&line) {
            macros.insert(name, body);
            continue;
        }
        let mut items = Vec::new();
        expand(&line, &macros, DEEPEST, &mut items);
        let mut rule =
            Rule { text: line.split_whitespace().collect::<Vec<_>>().join(" "), ..Rule::default() };
        for item in items {
            match item.name.as_str() {
                "id" => rule.id = item.value,
                "action" => rule.action = item.value,
                _ => rule.items.push(item),
            }
        }
        if rule.action.is_empty() && rule.items.is_empty() && rule.id.is_empty() {
            continue;
        }
        if rule.id.is_empty() {
            rule.id = format!("R-{}", rules.len());
        }
        rules.push(rule);
    }
    rules
}

/// Lines with those that go on: after a backslash, or begun with a blank or `}`. Comments are left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let code = line.split('#').next().unwrap_or_default();
        let begun = code.starts_with([' ', '\t', '}']);
        let trimmed = code.trim();
        if trimmed.is_empty() {
            continue;
        }
        let (trimmed, backslash) = match trimmed.strip_suffix('\\') {
            Some(before) => (before.trim_end(), true),
            None => (trimmed, false),
        };
        match lines.last_mut().filter(|_| begun || goes_on) {
            Some(last) => {
                last.push_str(" ; ");
                last.push_str(trimmed);
            }
            None => lines.push(trimmed.to_owned()),
        }
        goes_on = backslash;
    }
    lines
}

/// `&&NAME { ... }`.
fn definition(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("&&")?;
    let (name, body) = rest.split_once('{')?;
    let body = body.trim().trim_end_matches([';', ' ']).strip_suffix('}')?;
    let name = name.trim();
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .then(|| (name.to_owned(), body.to_owned()))
}

fn expand(line: &str, macros: &HashMap<String, String>, depth: usize, items: &mut Vec<Item>) {
    for part in split(line) {
        let part = part.trim();
        if items.len() >= MOST_ITEMS || part.is_empty() {
            continue;
        }
        if let Some(name) = part.strip_prefix("&&") {
            if let Some(body) = macros.get(name.trim()).filter(|_| depth > 0) {
                expand(body, macros, depth - 1, items);
            } else {
                items.push(Item { name: part.to_owned(), operator: String::new(), value: String::new() });
            }
            continue;
        }
        let name_end =
            part.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(part.len());
        let (name, rest) = part.split_at(name_end);
        let rest = rest.trim_start();
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator)).copied().unwrap_or("");
        let value = rest.get(operator.len()..).unwrap_or_default().trim();
        items.push(Item {
            name: name.to_ascii_lowercase(),
            operator: operator.to_owned(),
            value: value.to_owned(),
        });
    }
}

/// Parts between semicolons; one in parentheses does not count.
fn split(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, c) in line.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                parts.push(line.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(line.get(start..).unwrap_or_default());
    parts
}
