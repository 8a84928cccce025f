//! What Postfix is told: actions of access(5), checked when the configuration is read, with texts that say
//! what was used.

use std::fmt::Write as _;

use base::config::nearest::nearest;

use crate::key::Field;
use crate::limiter::{Nanos, SECOND};
use crate::protocol::Request;

/// An action with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its first word, as it was written.
    keyword: String,
    passes: bool,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// What a text may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Used,
    Limit,
    Cost,
    RetryAfter,
    Key,
    Name,
    Count,
    Period,
    Of(Field),
}

/// Names of placeholders that are no attributes.
const NAMES: [(&str, Placeholder); 8] = [
    ("used", Placeholder::Used),
    ("limit", Placeholder::Limit),
    ("cost", Placeholder::Cost),
    ("retry_after", Placeholder::RetryAfter),
    ("key", Placeholder::Key),
    ("name", Placeholder::Name),
    ("count", Placeholder::Count),
    ("period", Placeholder::Period),
];

/// What placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// The limit's name.
    pub name: &'a str,
    /// What it counts.
    pub count: &'a str,
    /// The key, as it is shown.
    pub key: &'a str,
    /// Units in use.
    pub used: u64,
    /// Units allowed.
    pub limit: u64,
    /// Units that were asked for.
    pub cost: u64,
    /// The period of the level.
    pub period: Nanos,
    /// How long until the cost fits.
    pub retry_after: Option<Nanos>,
}

/// Why something is no action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub text: String,
    /// What to write.
    pub help: String,
    /// Where, in bytes from the beginning of the action.
    pub at: (usize, usize),
}

/// Words that Postfix takes as they are, and whether mail passes with them.
const KEYWORDS: [(&str, bool, Needs); 17] = [
    ("DUNNO", true, Needs::Nothing),
    ("OK", true, Needs::Nothing),
    ("RELAY", true, Needs::Nothing),
    ("REJECT", false, Needs::Nothing),
    ("DEFER", false, Needs::Nothing),
    ("DEFER_IF_PERMIT", false, Needs::Nothing),
    ("DEFER_IF_REJECT", true, Needs::Nothing),
    ("HOLD", true, Needs::Nothing),
    ("DISCARD", true, Needs::Nothing),
    ("REDIRECT", true, Needs::Address),
    ("BCC", true, Needs::Address),
    ("FILTER", true, Needs::Transport),
    ("PREPEND", true, Needs::Header),
    ("WARN", true, Needs::Nothing),
    ("INFO", true, Needs::Nothing),
    ("SLEEP", true, Needs::Seconds),
    ("PERMIT", true, Needs::Nothing),
];

/// What must follow a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Address,
    Transport,
    Header,
    Seconds,
}

impl Action {
    /// Reads an action.
    ///
    /// # Errors
    /// When Postfix would not understand it, or would take it for something else.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |text: String, help: &str, at| Wrong { text, help: help.to_owned(), at };
        let keyword = text.split_whitespace().next().unwrap_or_default();
        let start = text.find(keyword).unwrap_or(0);
        let place = (start, keyword.len().max(1));
        let rest = text.get(start + keyword.len()..).unwrap_or_default().trim();
        if keyword.is_empty() {
            let text = "is empty, which Postfix takes for OK".to_owned();
            return Err(wrong(text, "write DUNNO if nothing is to be done", (0, 1)));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("holds a control character".to_owned(), "write it on one line", place));
        }
        let upper = keyword.to_ascii_uppercase();
        let passes = if keyword.len() == 3 && keyword.bytes().all(|byte| byte.is_ascii_digit()) {
            if !keyword.starts_with(['4', '5']) {
                let text =
                    format!("{keyword} is no code that refuses; Postfix takes it for OK or for a mistake");
                return Err(wrong(text, "write 4NN or 5NN with a text, or DUNNO", place));
            }
            if rest.is_empty() {
                let text = format!("{keyword} needs a text");
                return Err(wrong(
                    text,
                    "Postfix takes a code without one for the name of a restriction",
                    place,
                ));
            }
            false
        } else if let Some((_, passes, needs)) = KEYWORDS.iter().find(|(name, _, _)| *name == upper) {
            follows(*needs, rest).map_err(|(text, help)| wrong(text, help, place))?;
            *passes
        } else {
            return Err(unknown(keyword, place));
        };
        let pieces = pieces(text, start + keyword.len())?;
        // Restrictions are known by their small letters only.
        let keyword = if ["SLEEP", "PERMIT"].contains(&&*upper) { upper.to_ascii_lowercase() } else { upper };
        Ok(Self { keyword, passes, pieces })
    }

    /// The first word.
    #[must_use]
    pub fn keyword(&self) -> &str {
        &self.keyword
    }

    /// Whether mail passes with it, perhaps changed or held.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.passes
    }

    /// The action as Postfix is told.
    #[must_use]
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut out = self.keyword.clone();
        fill(&self.pieces, values, &mut out);
        out
    }

    /// The action without values, where there is nothing to say them of.
    #[must_use]
    pub fn render_plain(&self) -> String {
        let mut out = self.keyword.clone();
        for piece in &self.pieces {
            if let Piece::Text(text) = piece {
                out.push_str(text);
            }
        }
        out
    }

    /// The names of its placeholders that are no attributes.
    pub fn placeholders(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(found) => NAMES.iter().find(|(_, known)| known == found).map(|(name, _)| *name),
            Piece::Text(_) => None,
        })
    }
}

/// Fills the placeholders of a text that is no action, as of a program's arguments.
///
/// # Errors
/// As of [`Action::parse`].
pub fn fill_text(text: &str, values: &Values<'_>) -> Result<String, Wrong> {
    let mut out = String::new();
    fill(&pieces(text, 0)?, values, &mut out);
    Ok(out)
}

fn fill(pieces: &[Piece], values: &Values<'_>, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Value(placeholder) => value(*placeholder, values, out),
        }
    }
}

fn value(placeholder: Placeholder, values: &Values<'_>, out: &mut String) {
    // Writing to a String cannot fail.
    let _ok = match placeholder {
        Placeholder::Used => write!(out, "{}", values.used),
        Placeholder::Limit => write!(out, "{}", values.limit),
        Placeholder::Cost => write!(out, "{}", values.cost),
        Placeholder::RetryAfter => match values.retry_after {
            Some(wait) => write!(out, "{}", wait_text(wait)),
            None => write!(out, "never"),
        },
        Placeholder::Key => write!(out, "{}", values.key),
        Placeholder::Name => write!(out, "{}", values.name),
        Placeholder::Count => write!(out, "{}", values.count),
        Placeholder::Period => write!(out, "{}", wait_text(values.period)),
        Placeholder::Of(field) => write!(out, "{}", String::from_utf8_lossy(field.value(values.request))),
    };
}

/// A time to wait, for people: rounded up, in at most two units.
#[must_use]
pub fn wait_text(wait: Nanos) -> String {
    let secs = wait.div_ceil(SECOND);
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs.div_ceil(60)),
        3600..86_400 if minutes == 0 => format!("{hours} h"),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ if hours == 0 => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

fn unknown(keyword: &str, at: (usize, usize)) -> Wrong {
    let names = KEYWORDS.iter().map(|(name, _, _)| *name);
    let help = if keyword.contains(':') {
        "a look-up table cannot stand here; write an action such as DEFER_IF_PERMIT or REJECT".to_owned()
    } else {
        match nearest(&keyword.to_ascii_uppercase(), names) {
            Some(name) => format!("did you mean {name}?"),
            None => {
                "write an action of access(5), as DEFER_IF_PERMIT, REJECT, HOLD or 450 with a text".to_owned()
            }
        }
    };
    Wrong { text: format!("{keyword} is no action that Postfix knows"), help, at }
}

/// Whether what follows a keyword is what it needs.
fn follows(needs: Needs, rest: &str) -> Result<(), (String, &'static str)> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    let ok = match needs {
        Needs::Nothing => true,
        Needs::Address => first.contains('@') || first.contains('{'),
        Needs::Transport => first.split_once(':').is_some_and(|(transport, _)| !transport.is_empty()),
        Needs::Header => first.len() > 1 && first.ends_with(':'),
        Needs::Seconds => first.parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds)),
    };
    if ok {
        return Ok(());
    }
    Err(match needs {
        Needs::Nothing | Needs::Address => ("needs an address".to_owned(), "write the address after it"),
        Needs::Transport => {
            ("needs transport:destination".to_owned(), "write it as in FILTER smtp:[127.0.0.1]:10025")
        }
        Needs::Header => ("needs a header field".to_owned(), "write it as in PREPEND X-Limit: reached"),
        Needs::Seconds => ("needs 1 to 60 seconds".to_owned(), "write it as in sleep 1"),
    })
}

/// The text from `from` on, cut at its placeholders.
fn pieces(text: &str, from: usize) -> Result<Vec<Piece>, Wrong> {
    let mut pieces = Vec::new();
    let mut rest = text.get(from..).unwrap_or_default();
    while let Some(open) = rest.find('{') {
        let (before, after) = rest.split_at_checked(open).unwrap_or((rest, ""));
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let at = text.len() - after.len();
        let Some(close) = after.find('}') else {
            return Err(Wrong {
                text: "a { is not closed".to_owned(),
                help: "placeholders look like {used}".to_owned(),
                at: (at, 1),
            });
        };
        let name = after.get(1..close).unwrap_or_default();
        let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, placeholder)| *placeholder);
        let Some(placeholder) = known.or_else(|| Field::of(name).map(Placeholder::Of)) else {
            let names = NAMES.iter().map(|(name, _)| *name).chain(Field::names());
            let help = match nearest(name, names) {
                Some(name) => format!("did you mean {{{name}}}?"),
                None => "it may be {used}, {limit}, {cost}, {retry_after}, {key}, {name}, {count}, {period} or an attribute"
                    .to_owned(),
            };
            return Err(Wrong {
                text: format!("{{{name}}} stands for nothing"),
                help,
                at: (at, name.len() + 2),
            });
        };
        pieces.push(Piece::Value(placeholder));
        rest = after.get(close + 1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attribute;

    #[test]
    fn actions_are_those_that_postfix_knows() {
        for (text, passes) in [
            ("DUNNO", true),
            ("defer_if_permit 4.7.1 {used} of {limit}", false),
            ("450 4.7.1 slow down", false),
            ("554 no", false),
            ("421 4.7.0 go away", false),
            ("HOLD too much", true),
            ("REDIRECT postmaster@a.example", true),
            ("FILTER smtp:[127.0.0.1]:10025", true),
            ("PREPEND X-Over: {used}", true),
            ("sleep 1", true),
            ("reject", false),
        ] {
            assert_eq!(Action::parse(text).map(|action| action.passes()), Ok(passes), "{text}");
        }
        for (text, want) in [
            ("", "is empty, which Postfix takes for OK"),
            ("250 hi", "250 is no code that refuses; Postfix takes it for OK or for a mistake"),
            ("450", "450 needs a text"),
            ("DEFFER x", "DEFFER is no action that Postfix knows"),
            ("hash:/etc/x", "hash:/etc/x is no action that Postfix knows"),
            ("PREPEND nonsense", "needs a header field"),
            ("REDIRECT nobody", "needs an address"),
            ("DEFER {usd}", "{usd} stands for nothing"),
            ("DEFER {used", "a { is not closed"),
        ] {
            assert_eq!(Action::parse(text).map_err(|wrong| wrong.text), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn texts_say_what_was_used() {
        let mut request = Request::default();
        request.set(Attribute::SaslUsername, b"alice");
        let values = Values {
            request: &request,
            name: "per-user",
            count: "recipients",
            key: "alice@a.example",
            used: 100,
            limit: 100,
            cost: 1,
            period: 3600 * SECOND,
            retry_after: Some(90 * SECOND),
        };
        let text = "DEFER 4.7.1 {used} of {limit} {count} in {period} by {sasl_username} ({name}: {key}), {retry_after}";
        let action = Action::parse(text).unwrap();
        assert_eq!(
            action.render(&values),
            "DEFER 4.7.1 100 of 100 recipients in 1 h by alice (per-user: alice@a.example), 2 min"
        );
    }

    #[test]
    fn waits_are_rounded_up() {
        for (nanos, want) in [
            (0, "0 s"),
            (1, "1 s"),
            (59 * SECOND, "59 s"),
            (61 * SECOND, "2 min"),
            (3600 * SECOND, "1 h"),
            (5430 * SECOND, "1 h 30 min"),
            (86_400 * SECOND, "1 d"),
            (90_000 * SECOND, "1 d 1 h"),
        ] {
            assert_eq!(wait_text(nanos), want);
        }
    }
}
