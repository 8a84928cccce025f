//! What a list is asked: a query with placeholders, and the values that a request or a key puts there. Pure.

use std::borrow::Cow;

use base::config::nearest::nearest;
use base::sql::{Named, Piece};

use crate::key::{self, BETWEEN, Field, Key};
use crate::protocol::Request;

/// The longest value that a list is asked about, in bytes: no address and no name is as long.
const LONGEST: usize = 1024;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `%u`: the value that is looked for.
    Value,
    /// `%n`: what it has before its last `@`; all of it where there is none.
    Local,
    /// `%d`: what it has after its last `@`; nothing where there is none.
    Domain,
    /// `%{sender}`: an attribute of the request, or of the key.
    Field(Field),
}

impl Named for Variable {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Value => "u",
            Self::Local => "n",
            Self::Domain => "d",
            Self::Field(field) => field.name(),
        })
    }
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece<Variable>>,
    /// Each of its variables once.
    variables: Vec<Variable>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where it is, in bytes, and how long.
    pub at: (usize, usize),
    /// What is wrong.
    pub text: String,
    /// What to write.
    pub help: String,
}

/// The values of one question, in the order of the template's variables: what an answer is remembered by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sought(Box<str>);

impl Template {
    /// Reads a text with `%u`, `%n`, `%d`, `%{attribute}`, and `%%` for a percent sign.
    ///
    /// # Errors
    /// See [`Wrong`].
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('%') {
            let (before, placeholder) = rest.split_at_checked(start).unwrap_or((rest, ""));
            literal.push_str(before);
            let offset = text.len() - placeholder.len();
            let (variable, length) = placeholder_of(placeholder).map_err(|(length, text, help)| Wrong {
                at: (offset, length),
                text,
                help,
            })?;
            match variable {
                None => literal.push('%'),
                Some(variable) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Variable(variable));
                }
            }
            rest = placeholder.get(length..).unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let mut variables = Vec::new();
        for piece in &pieces {
            if let Piece::Variable(variable) = piece
                && !variables.contains(variable)
            {
                variables.push(*variable);
            }
        }
        if variables.is_empty() {
            return Err(Wrong {
                at: (0, text.len()),
                text: "there is no placeholder, so that every value has the same answer".to_owned(),
                help: "write %u where the value that is looked for belongs".to_owned(),
            });
        }
        Ok(Self { pieces, variables })
    }

    /// Its parts in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece<Variable>] {
        &self.pieces
    }

    /// Its variables, each once.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The question whether the value of an attribute is listed. `None` where there is nothing to ask: a value that is
    /// empty, too long or no text is in no list.
    #[must_use]
    pub fn of_request(&self, field: Field, request: &Request<'_>) -> Option<Sought> {
        let value = field_text(field, request)?;
        if value.is_empty() {
            return None;
        }
        self.sought(&value, |field| field_text(field, request))
    }

    /// The question for the rates of a key, whose parts are those that `key` makes.
    #[must_use]
    pub fn of_key(&self, key: &Key, bytes: &[u8]) -> Option<Sought> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST)?;
        let value = text.replace(char::from(BETWEEN), ",");
        self.sought(&value, |field| {
            let part = key.part_of(field)?;
            text.split(char::from(BETWEEN)).nth(part).map(Cow::Borrowed)
        })
    }

    fn sought<'a>(
        &self,
        value: &str,
        mut field: impl FnMut(Field) -> Option<Cow<'a, str>>,
    ) -> Option<Sought> {
        let (local, domain) = value.rsplit_once('@').unwrap_or((value, ""));
        let mut text = String::new();
        for (index, variable) in self.variables.iter().enumerate() {
            if index > 0 {
                text.push(char::from(BETWEEN));
            }
            match variable {
                Variable::Value => text.push_str(value),
                Variable::Local => text.push_str(local),
                Variable::Domain => text.push_str(domain),
                Variable::Field(name) => text.push_str(&field(*name)?),
            }
        }
        Some(Sought(text.into_boxed_str()))
    }

    /// What a variable stands for in a question.
    #[must_use]
    pub fn value<'a>(&self, variable: Variable, sought: &'a Sought) -> &'a str {
        let mut values = sought.0.split(char::from(BETWEEN));
        let place = self.variables.iter().position(|known| *known == variable);
        place.and_then(|place| values.nth(place)).unwrap_or_default()
    }
}

impl Sought {
    /// How much memory it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all its values are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.trim_matches(char::from(BETWEEN)).is_empty()
    }

    /// Its values for people.
    #[must_use]
    pub fn shown(&self) -> String {
        self.0.replace(char::from(BETWEEN), ", ")
    }
}

/// An attribute in the form in which lists are asked: in small letters, IPv4 in IPv6 as IPv4.
fn field_text<'a>(field: Field, request: &Request<'a>) -> Option<Cow<'a, str>> {
    let value = field.value(request);
    if value.len() > LONGEST || value.contains(&BETWEEN) {
        return None;
    }
    if field.is_address()
        && let Some(address) = key::address(value)
    {
        return Some(Cow::Owned(address.to_string()));
    }
    let text = std::str::from_utf8(value).ok()?;
    let small = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if small { Cow::Borrowed(text) } else { Cow::Owned(text.to_ascii_lowercase()) })
}

/// The placeholder at the beginning of a text and its length, `None` for `%%`; or the length, text and help of a
/// mistake.
fn placeholder_of(text: &str) -> Result<(Option<Variable>, usize), (usize, String, String)> {
    let mut characters = text.chars();
    let _percent = characters.next();
    match characters.next() {
        Some('%') => Ok((None, 2)),
        Some('u') => Ok((Some(Variable::Value), 2)),
        Some('n') => Ok((Some(Variable::Local), 2)),
        Some('d') => Ok((Some(Variable::Domain), 2)),
        Some('{') => {
            let Some(end) = text.find('}') else {
                return Err((text.len(), "%{ has no }".to_owned(), "as in %{sender}".to_owned()));
            };
            let name = text.get(2..end).unwrap_or_default();
            match Field::of(name) {
                Some(field) => Ok((Some(Variable::Field(field)), end + 1)),
                None => {
                    let help = match nearest(name, Field::names()) {
                        Some(name) => format!("did you mean %{{{name}}}?"),
                        None => "it may be %{sasl_username}, %{sender}, %{client_address} and others; %u is the value \
                                 that is looked for"
                            .to_owned(),
                    };
                    Err((end + 1, format!("'{name}' is no attribute"), help))
                }
            }
        }
        other => {
            let shown: String = std::iter::once('%').chain(other).collect();
            let help = "write %u for the value that is looked for, %n and %d for what it has before and after @, \
                        %{attribute}, or %% for a percent sign";
            Err((shown.len(), format!("'{shown}' is no placeholder"), help.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attribute;

    fn request() -> Request<'static> {
        let mut request = Request::default();
        request.set(Attribute::SaslUsername, b"Alice@A.example");
        request.set(Attribute::Sender, b"Sales@b.example");
        request.set(Attribute::ClientAddress, b"::ffff:192.0.2.7");
        request
    }

    fn field(name: &str) -> Field {
        Field::of(name).unwrap()
    }

    #[test]
    fn values_of_requests() {
        let template = Template::parse("%u|%n|%d|%{sender}|%{client_address}|100%%").unwrap();
        let sought = template.of_request(field("sasl_username"), &request()).unwrap();
        let of = |variable| template.value(variable, &sought);
        assert_eq!(of(Variable::Value), "alice@a.example");
        assert_eq!((of(Variable::Local), of(Variable::Domain)), ("alice", "a.example"));
        assert_eq!(of(Variable::Field(field("sender"))), "sales@b.example");
        assert_eq!(of(Variable::Field(field("client_address"))), "192.0.2.7");
        assert_eq!(template.pieces().last(), Some(&Piece::Literal("|100%".to_owned())));
    }

    #[test]
    fn what_is_in_no_list_is_not_asked() {
        let template = Template::parse("%u").unwrap();
        let mut request = request();
        assert_eq!(template.of_request(field("helo_name"), &request), None);
        request.set(Attribute::HeloName, b"\xff");
        assert_eq!(template.of_request(field("helo_name"), &request), None);
        let long = vec![b'x'; LONGEST + 1];
        request.set(Attribute::HeloName, &long);
        assert_eq!(template.of_request(field("helo_name"), &request), None);
        let pair = Template::parse("%u %{helo_name}").unwrap();
        assert_eq!(pair.of_request(field("sasl_username"), &request), None);
    }

    #[test]
    fn values_of_keys() {
        let texts = ["sasl_username|sender".to_owned(), "client_address".to_owned()];
        let key = Key::parse(&texts).unwrap();
        let template = Template::parse("%u %{sender} %{client_address}").unwrap();
        let sought = template.of_key(&key, b"a@a.example\n192.0.2.0/24").unwrap();
        assert_eq!(template.value(Variable::Value, &sought), "a@a.example,192.0.2.0/24");
        assert_eq!(template.value(Variable::Field(field("sender")), &sought), "a@a.example");
        assert_eq!(template.value(Variable::Field(field("client_address")), &sought), "192.0.2.0/24");
        let other = Template::parse("%{recipient}").unwrap();
        assert_eq!(other.of_key(&key, b"a@a.example\n192.0.2.0/24"), None);
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, at, part) in [
            ("SELECT 1", (0, 8), "no placeholder"),
            ("a = %x", (4, 2), "'%x' is no placeholder"),
            ("a = 50%", (6, 1), "'%' is no placeholder"),
            ("a = %{sendr}", (4, 8), "'sendr' is no attribute"),
            ("a = %{sender", (4, 8), "has no }"),
            ("a = %{}", (4, 3), "'' is no attribute"),
        ] {
            let wrong = Template::parse(text).unwrap_err();
            assert_eq!(wrong.at, at, "{text}");
            assert!(wrong.text.contains(part), "{text}: {}", wrong.text);
        }
    }
}
