//! What the values of arguments have to be: names of comparators and variables, addresses, notification methods.

use super::{Checked, Checker};
use crate::sieve::syntax::Value;
use crate::sieve::vocabulary::Kind;
use crate::sieve::{address, mailto};

/// Variables that a match may set, `${0}` to `${32}` (Pigeonhole's limit).
const MAX_MATCH_VALUES: usize = 32;
/// The longest name of a variable, and of an include'd script.
const MAX_NAME: usize = 64;

/// The strings in a value.
pub(in crate::sieve) fn strings(value: &Value) -> &[String] {
    match value {
        Value::Text(text) => std::slice::from_ref(text),
        Value::List(list) => list,
        Value::Tag(_) | Value::Number(_) => &[],
    }
}

/// Whether a value is of a kind.
pub(super) const fn fits(kind: Kind, value: &Value) -> bool {
    matches!(
        (kind, value),
        (Kind::Text | Kind::List, Value::Text(_))
            | (Kind::List, Value::List(_))
            | (Kind::Number, Value::Number(_))
    )
}

/// Whether a name can be that of a variable (RFC 5229 §3).
fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The references in a string, `name` of each `${name}`; what does not look like one is text.
pub(in crate::sieve) fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|after| {
        let (name, _) = after.split_once('}')?;
        is_reference(name).then_some(name)
    })
}

/// Whether the first of so many arguments is the name of a variable.
pub(in crate::sieve) fn names_variables(entry: &str, arguments: usize) -> bool {
    match entry {
        "set" | "extracttext" | "global" => true,
        "setflag" | "addflag" | "removeflag" | "hasflag" => arguments == 2,
        _ => false,
    }
}

/// Whether what stands in `${}` is a reference: dotted identifiers or a number.
pub(in crate::sieve) fn is_reference(name: &str) -> bool {
    (!name.is_empty() && name.len() <= 4 && name.bytes().all(|byte| byte.is_ascii_digit()))
        || (!name.is_empty() && name.split('.').all(is_identifier))
}

impl Checker<'_> {
    /// The checks that concern values; `None` when one failed.
    pub(super) fn values(&mut self, checked: &Checked) -> Option<()> {
        let before = self.mistakes.len();
        self.comparison(checked);
        self.references(checked);
        self.names(checked);
        self.targets(checked);
        self.companions(checked);
        (self.mistakes.len() == before).then_some(())
    }

    fn comparison(&mut self, checked: &Checked) {
        if let Some(Value::Text(name)) = checked.tag("comparator") {
            let known = match name.as_str() {
                "i;octet" | "i;ascii-casemap" => true,
                "i;ascii-numeric" => self.has("comparator-i;ascii-numeric"),
                _ => false,
            };
            if !known {
                self.wrong(
                    checked.line,
                    format!("unknown comparator '{name}' for the {} test.", checked.entry.name),
                );
            }
            if name == "i;ascii-numeric"
                && (checked.has_tag("contains") || checked.has_tag("matches") || checked.has_tag("regex"))
            {
                self.wrong(
                    checked.line,
                    "the specified comparator 'i;ascii-numeric' does not support this match type.",
                );
            }
        }
        for tag in ["count", "value"] {
            if let Some(Value::Text(relation)) = checked.tag(tag)
                && !["gt", "ge", "lt", "le", "eq", "ne"].contains(&relation.as_str())
            {
                self.wrong(
                        checked.line,
                        format!("unknown relational match '{relation}' for the :{tag} tag: write gt, ge, lt, le, eq or ne."),
                    );
            }
        }
    }

    fn references(&mut self, checked: &Checked) {
        if !self.has("variables") {
            return;
        }
        let values =
            checked.positional.iter().chain(checked.tags.iter().filter_map(|(_, value)| value.as_ref()));
        let names: Vec<_> =
            values.flat_map(strings).flat_map(|text| references(text)).map(str::to_owned).collect();
        for name in names {
            if let Ok(number) = name.parse::<usize>() {
                if number > MAX_MATCH_VALUES {
                    self.wrong(
                        checked.line,
                        format!("invalid match value index {number}: it is greater than the limit of {MAX_MATCH_VALUES}."),
                    );
                }
            } else if let Some((namespace, variable)) = name.split_once('.') {
                let known = namespace.eq_ignore_ascii_case("global") && self.has("include");
                if !known || variable.contains('.') {
                    self.wrong(
                        checked.line,
                        format!("referring to variable in unknown namespace '{namespace}'."),
                    );
                }
            }
        }
    }

    fn names(&mut self, checked: &Checked) {
        if !names_variables(checked.entry.name, checked.positional.len()) {
            return;
        }
        let Some(names) = checked.positional.first() else { return };
        for name in strings(names).to_owned() {
            let local = name
                .get(..7)
                .filter(|prefix| prefix.eq_ignore_ascii_case("global.") && self.has("include"))
                .and_then(|_| name.get(7..))
                .unwrap_or(&name);
            if !is_identifier(local) {
                let text = match name.split_once('.') {
                    Some((namespace, _)) => {
                        format!("referring to variable in unknown namespace '{namespace}'.")
                    }
                    None => format!("invalid variable name '{name}'."),
                };
                self.wrong(checked.line, text);
            }
        }
        if checked.entry.name != "set" && checked.entry.name != "global" && !self.has("variables") {
            self.wrong(
                checked.line,
                format!(
                    "the {} command takes a variable's name only with require \"variables\".",
                    checked.entry.name
                ),
            );
        }
    }

    fn targets(&mut self, checked: &Checked) {
        let constant = |text: &str| !self.has("variables") || references(text).next().is_none();
        let complaint = match (checked.entry.name, checked.positional.as_slice()) {
            ("redirect", [Value::Text(target)]) if constant(target) => {
                address::parse(target).err().map(|why| {
                    format!("specified redirect address '{target}' is invalid: {why}.")
                })
            }
            ("fileinto", [Value::Text(folder)]) if constant(folder) => {
                (folder.is_empty() || folder.len() > 1000 || folder.contains(['\r', '\n', '\0'])).then(|| {
                    "invalid folder name specified for the fileinto command: it is empty, too long or has control characters.".to_owned()
                })
            }
            ("notify", [Value::Text(method)]) if constant(method) => {
                mailto::parse(method).err().map(|why| format!("notify command: {why}."))
            }
            ("include", [Value::Text(name)]) => {
                (!is_script_name(name)).then(|| format!("include: invalid script name '{name}'."))
            }
            ("envelope", [parts, _]) => strings(parts)
                .iter()
                .find(|part| !part.eq_ignore_ascii_case("from") && !part.eq_ignore_ascii_case("to"))
                .map(|part| format!("specified envelope part '{part}' is not supported by the envelope test.")),
            ("vacation", _) => match checked.tag("from") {
                Some(Value::Text(from)) if constant(from) => address::parse(from)
                    .err()
                    .map(|why| format!("specified :from address '{from}' is invalid for vacation action: {why}.")),
                _ => None,
            },
            _ => None,
        };
        if let Some(complaint) = complaint {
            self.wrong(checked.line, complaint);
        }
    }

    /// Tags that are nothing without another.
    fn companions(&mut self, checked: &Checked) {
        let name = checked.entry.name;
        let lonely = |tag: &str, with: &str| checked.has_tag(tag) && !checked.has_tag(with);
        let last_needs_index = matches!(name, "header" | "address" | "date" | "deleteheader");
        if last_needs_index && lonely("last", "index") {
            self.wrong(
                checked.line,
                format!("the :last tag for the {name} command cannot be used without the :index tag."),
            );
        }
        for option in ["anychild", "type", "subtype", "contenttype", "param"] {
            if lonely(option, "mime") {
                self.wrong(
                    checked.line,
                    format!("the :{option} tag for the {name} test cannot be used without the :mime tag."),
                );
            }
        }
        if name == "size" && checked.tags.is_empty() {
            self.wrong(
                checked.line,
                "the size test requires either the :under or the :over tag to be specified.",
            );
        }
    }
}

/// RFC 6609 §3.2 leaves names to us: no path leads out of the folder of scripts.
pub(in crate::sieve) fn is_script_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && !name.chars().any(char::is_control)
}
