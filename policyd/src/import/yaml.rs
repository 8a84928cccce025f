//! YAML as far as configurations need it: a tree of texts, lists and mappings. The only file that knows
//! saphyr-parser.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// How deep lists and mappings may stand in each other.
const DEEPEST: usize = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Yaml {
    /// Nothing: `null`, `~` or an empty value.
    Null,
    /// A scalar as it is written.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A mapping, in the order of the text.
    Map(Vec<(String, Self)>),
}

impl Yaml {
    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Whether it is `true` in one of YAML 1.1's ways, which PyYAML reads.
    pub(super) fn is_true(&self) -> bool {
        self.text().is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on"))
    }

    /// A list's elements; one that is no list is its own only element.
    pub(super) fn elements(&self) -> &[Self] {
        match self {
            Self::List(all) => all,
            Self::Null => &[],
            other => std::slice::from_ref(other),
        }
    }
}

/// Reads one document.
///
/// # Errors
/// What is wrong, with its line; also anchors and aliases, which could make a short text a huge tree.
pub(super) fn read(text: &str) -> Result<Yaml, String> {
    let mut parser = Parser::new_from_str(text);
    loop {
        match next(&mut parser)? {
            Event::StreamEnd => return Ok(Yaml::Null),
            Event::DocumentStart(_) => break,
            _ => {}
        }
    }
    let event = next(&mut parser)?;
    node(event, &mut parser, DEEPEST)
}

fn next<'a>(parser: &mut Parser<'a, saphyr_parser::StrInput<'a>>) -> Result<Event<'a>, String> {
    match parser.next_event() {
        Some(Ok((event, _))) => Ok(event),
        Some(Err(error)) => Err(error.to_string()),
        None => Ok(Event::StreamEnd),
    }
}

fn node<'a>(
    event: Event<'a>,
    parser: &mut Parser<'a, saphyr_parser::StrInput<'a>>,
    depth: usize,
) -> Result<Yaml, String> {
    let Some(depth) = depth.checked_sub(1) else { return Err("too many levels".into()) };
    match event {
        Event::Scalar(text, style, _, _) => Ok(match &*text {
            "" | "~" | "null" | "Null" | "NULL" if style == ScalarStyle::Plain => Yaml::Null,
            text => Yaml::Text(text.to_owned()),
        }),
        Event::SequenceStart(..) => {
            let mut all = Vec::new();
            loop {
                match next(parser)? {
                    Event::SequenceEnd => return Ok(Yaml::List(all)),
                    Event::StreamEnd => return Err("the text ends in a list".into()),
                    event => all.push(node(event, parser, depth)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut pairs = Vec::new();
            loop {
                let key = match next(parser)? {
                    Event::MappingEnd => return Ok(Yaml::Map(pairs)),
                    Event::StreamEnd => return Err("the text ends in a mapping".into()),
                    event => node(event, parser, depth)?,
                };
                let value = next(parser)?;
                let value = node(value, parser, depth)?;
                pairs.push((key.text().unwrap_or_default().to_owned(), value));
            }
        }
        Event::Alias(_) => Err("aliases (*name) are not read".into()),
        _ => Ok(Yaml::Null),
    }
}
