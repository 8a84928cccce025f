//! Conditions on a request: `client_address in 192.0.2.0/24`, `sender_domain under a.example`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use regex::bytes::Regex;

use base::config::nearest::nearest;

use crate::key::Field;
use crate::list::{List, parse_network};
use crate::lookup::Lookup;
use crate::lookup::template::Sought;
use crate::protocol::Request;

/// A list that is read again now and then.
pub type Shared = Arc<ArcSwap<List>>;

/// A list that conditions and overrides look into.
#[derive(Debug, Clone)]
pub enum Listing {
    /// One that is here as a whole.
    Read(Shared),
    /// One that is asked about each value.
    Asked(Arc<Lookup>),
}

/// A condition.
#[derive(Clone)]
pub struct Condition {
    field: Field,
    negated: bool,
    test: Test,
    text: String,
}

#[derive(Clone)]
enum Test {
    Equals(Box<[u8]>),
    In(Box<List>),
    Listed(Shared),
    Asked(Arc<Lookup>),
    Under(Box<[u8]>),
    Matches(Regex),
}

/// Why something is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub text: String,
    /// What to write.
    pub help: String,
}

const OPERATORS: [(&str, bool, Operator); 8] = [
    ("!=", true, Operator::Equals),
    ("=", false, Operator::Equals),
    ("not in", true, Operator::In),
    ("in", false, Operator::In),
    ("not under", true, Operator::Under),
    ("under", false, Operator::Under),
    ("!~", true, Operator::Matches),
    ("~", false, Operator::Matches),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equals,
    In,
    Under,
    Matches,
}

impl Condition {
    /// Reads a condition; `list` gives the list of a name.
    ///
    /// # Errors
    /// See [`Wrong`].
    pub fn parse(text: &str, list: impl Fn(&str) -> Option<Listing>) -> Result<Self, Wrong> {
        let wrong = |text: String, help: String| Wrong { text, help };
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(trimmed.len());
        let (name, rest) = trimmed.split_at_checked(end).unwrap_or((trimmed, ""));
        let Some(field) = Field::of(name) else {
            let help = match nearest(name, Field::names()) {
                Some(name) => format!("did you mean {name}?"),
                None => "it begins with an attribute, as in \"client_address in 192.0.2.0/24\"".to_owned(),
            };
            return Err(wrong(format!("'{name}' is no attribute"), help));
        };
        let rest = rest.trim_start();
        let found = OPERATORS.iter().find_map(|(word, negated, operator)| {
            let after = rest.strip_prefix(word)?;
            let ends = !word.ends_with(|c: char| c.is_ascii_alphabetic())
                || after.is_empty()
                || after.starts_with(char::is_whitespace);
            ends.then_some((*negated, *operator, after.trim()))
        });
        let Some((negated, operator, value)) = found else {
            let help = "after the attribute comes =, in, under or ~, or !=, not in, not under, !~".to_owned();
            return Err(wrong(format!("'{rest}' is no comparison"), help));
        };
        let test = match operator {
            Operator::Equals => {
                Test::Equals(Box::from(value.trim_matches(['"', '\'']).to_ascii_lowercase().as_bytes()))
            }
            Operator::Under => {
                let domain = value.trim_matches('.').to_ascii_lowercase();
                if domain.is_empty() || domain.contains(char::is_whitespace) {
                    return Err(wrong(format!("'{value}' is no domain"), "write one domain".to_owned()));
                }
                Test::Under(Box::from(domain.as_bytes()))
            }
            Operator::Matches => Test::Matches(Regex::new(&format!("(?i){value}")).map_err(|error| {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default().trim().to_owned();
                wrong(
                    format!("'{value}' is no regular expression: {last}"),
                    "see docs.rs/regex for its form".to_owned(),
                )
            })?),
            Operator::In => members(field, value, list)?,
        };
        Ok(Self { field, negated, test, text: trimmed.to_owned() })
    }

    /// What a list has to be asked before it is known whether this holds; `None` where there is nothing to ask.
    #[must_use]
    pub fn asks(&self, request: &Request<'_>) -> Option<(&Arc<Lookup>, Sought)> {
        match &self.test {
            Test::Asked(list) => Some((list, list.settings().query.of_request(self.field, request)?)),
            Test::Equals(_) | Test::In(_) | Test::Listed(_) | Test::Under(_) | Test::Matches(_) => None,
        }
    }

    /// Whether it looks into a list that is asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        matches!(self.test, Test::Asked(_))
    }

    /// Whether it holds, by what is known.
    #[must_use]
    pub fn holds(&self, request: &Request<'_>) -> bool {
        let value = self.field.value(request);
        let found = match &self.test {
            Test::Equals(wanted) => value.eq_ignore_ascii_case(wanted),
            Test::In(list) => list.has(value, self.field.is_address()),
            Test::Listed(list) => list.load().has(value, self.field.is_address()),
            Test::Asked(list) => {
                let sought = list.settings().query.of_request(self.field, request);
                sought.is_some_and(|sought| list.lists(&sought))
            }
            Test::Under(domain) => is_under(value, domain),
            Test::Matches(regex) => regex.is_match(value),
        };
        found != self.negated
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The domain itself, or one below it; what stands before an `@` does not count.
fn is_under(value: &[u8], domain: &[u8]) -> bool {
    let Some(before) = value.len().checked_sub(domain.len()) else { return false };
    let (before, end) = value.split_at_checked(before).unwrap_or((value, &[]));
    end.eq_ignore_ascii_case(domain)
        && (before.is_empty() || before.ends_with(b".") || before.ends_with(b"@"))
}

fn members(field: Field, value: &str, list: impl Fn(&str) -> Option<Listing>) -> Result<Test, Wrong> {
    if let Some(name) = value.strip_prefix("list:") {
        return match list(name) {
            Some(Listing::Read(list)) => Ok(Test::Listed(list)),
            Some(Listing::Asked(list)) => Ok(Test::Asked(list)),
            None => Err(Wrong {
                text: format!("there is no list {name}"),
                help: format!("write a [[list]] with name = \"{name}\""),
            }),
        };
    }
    let mut members = List::default();
    for entry in value.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()) {
        if field.is_address() && parse_network(entry).is_none() {
            return Err(Wrong {
                text: format!("'{entry}' is no network"),
                help: "write addresses or networks, as in 192.0.2.0/24, 2001:db8::/32".to_owned(),
            });
        }
        members.insert(entry, "");
    }
    if members.is_empty() {
        return Err(Wrong {
            text: "in needs values".to_owned(),
            help: "write them with commas, or list:NAME".to_owned(),
        });
    }
    Ok(Test::In(Box::new(members)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attribute;

    fn none(_: &str) -> Option<Listing> {
        None
    }

    #[test]
    fn conditions_hold_as_they_read() {
        let mut request = Request::default();
        request.set(Attribute::SaslUsername, b"Alice@Mail.A.example");
        request.set(Attribute::ClientAddress, b"192.0.2.7");
        request.set(Attribute::ServerPort, b"587");
        for (text, want) in [
            ("sasl_username = alice@mail.a.example", true),
            ("sasl_username != ''", true),
            ("sender = \"\"", true),
            ("sender != ''", false),
            ("client_address in 192.0.2.0/24", true),
            ("client_address in 10.0.0.0/8, 2001:db8::/32", false),
            ("client_address not in 10.0.0.0/8", true),
            ("sasl_domain under a.example", true),
            ("sasl_username under a.example", true),
            ("sasl_username under ail.a.example", false),
            ("sasl_domain not under b.example", true),
            ("sasl_username ~ ^alice@", true),
            ("sasl_username !~ ^bob@", true),
            ("server_port in 465, 587", true),
            ("sasl_username in @mail.a.example", true),
        ] {
            let condition = Condition::parse(text, none).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!(condition.holds(&request), want, "{text}");
        }
    }

    #[test]
    fn mistakes_are_said() {
        for (text, want) in [
            ("sasl_usernam = x", "'sasl_usernam' is no attribute"),
            ("sender", "'' is no comparison"),
            ("sender like x", "'like x' is no comparison"),
            ("sender inside x", "'inside x' is no comparison"),
            ("client_address in a.example", "'a.example' is no network"),
            ("sender in list:vip", "there is no list vip"),
            ("sender in ", "in needs values"),
            ("sender ~ (", "'(' is no regular expression: error: unclosed group"),
        ] {
            assert_eq!(Condition::parse(text, none).map_err(|wrong| wrong.text).unwrap_err(), want);
        }
    }
}
