//! Dovecot's variables in paths and fields, in both notations: `%u %Ln %2.256Nu %{user | lower}`.

use std::borrow::Cow;
use std::fmt;

use md5::Digest as _;

/// A text with variables, read once and expanded for each user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable { name: Name, steps: Vec<Step> },
}

/// What a variable stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    User,
    Local,
    Domain,
    Home,
    Uid,
    Gid,
    Service,
    Hostname,
    Pid,
}

/// What is done to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Lower,
    Upper,
    Reverse,
    Trim,
    Md5,
    Local,
    Domain,
    /// `%H`, `%N`: a short hash; zeros in front up to `digits`, modulo `modulus` unless that is 0.
    Bucket {
        md5: bool,
        digits: usize,
        modulus: u64,
    },
    Default(String),
    /// `%X`: a number, in hexadecimal digits.
    Hex,
    Substring {
        offset: i64,
        length: Option<i64>,
    },
    /// `%08i`: zeros in front, up to so many characters.
    Zeros(usize),
}

/// What variables stand for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// The user's whole name.
    pub user: &'a str,
    /// The home; empty while it is not known.
    pub home: &'a str,
    /// The uid, when it is known.
    pub uid: Option<u32>,
    /// The gid, when it is known.
    pub gid: Option<u32>,
    /// `lda` or `lmtp`.
    pub service: &'a str,
    /// This host.
    pub hostname: &'a str,
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The byte where the mistake begins.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.offset)
    }
}

impl std::error::Error for TemplateError {}

const NAMES: [(&str, Name); 14] = [
    ("u", Name::User),
    ("user", Name::User),
    ("n", Name::Local),
    ("username", Name::Local),
    ("d", Name::Domain),
    ("domain", Name::Domain),
    ("h", Name::Home),
    ("home", Name::Home),
    ("i", Name::Uid),
    ("uid", Name::Uid),
    ("gid", Name::Gid),
    ("s", Name::Service),
    ("hostname", Name::Hostname),
    ("pid", Name::Pid),
];

impl Template {
    /// Reads a text; `%%` is a `%`.
    ///
    /// # Errors
    /// The place of the first variable, modifier or filter that is unknown or cannot be read.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            let offset = text.len() - after.len() - 1;
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (piece, after) = variable(after).map_err(|message| TemplateError { offset, message })?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// A text without variables.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self { pieces: vec![Piece::Literal(text.to_owned())] }
    }

    /// Whether anything in it changes from user to user.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. }))
    }

    /// The text with every variable replaced.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Variable { name, steps } => {
                    let mut value = name.value(values);
                    for step in steps {
                        value = Cow::Owned(step.apply(&value));
                    }
                    out.push_str(&value);
                }
            }
        }
        out
    }
}

impl Name {
    fn value<'a>(self, values: &Values<'a>) -> Cow<'a, str> {
        let number = |id: Option<u32>| Cow::Owned(id.map(|id| id.to_string()).unwrap_or_default());
        match self {
            Self::User => Cow::Borrowed(values.user),
            Self::Local => Cow::Borrowed(local(values.user)),
            Self::Domain => Cow::Borrowed(domain(values.user)),
            Self::Home => Cow::Borrowed(values.home),
            Self::Uid => number(values.uid),
            Self::Gid => number(values.gid),
            Self::Service => Cow::Borrowed(values.service),
            Self::Hostname => Cow::Borrowed(values.hostname),
            Self::Pid => Cow::Owned(std::process::id().to_string()),
        }
    }
}

/// Before the first `@`.
fn local(user: &str) -> &str {
    user.split_once('@').map_or(user, |(local, _)| local)
}

/// After the first `@`.
fn domain(user: &str) -> &str {
    user.split_once('@').map_or("", |(_, domain)| domain)
}

impl Step {
    fn apply(&self, value: &str) -> String {
        match self {
            Self::Lower => value.to_ascii_lowercase(),
            Self::Upper => value.to_ascii_uppercase(),
            Self::Reverse => value.chars().rev().collect(),
            Self::Trim => value.trim_end().to_owned(),
            Self::Md5 => {
                md5::Md5::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
            }
            Self::Local => local(value).to_owned(),
            Self::Domain => domain(value).to_owned(),
            Self::Default(text) if value.is_empty() => text.clone(),
            Self::Default(_) => value.to_owned(),
            Self::Bucket { md5, digits, modulus } => {
                let hash = if *md5 { md5_bucket(value) } else { pjw(value) };
                let hash = if *modulus == 0 { hash } else { hash % modulus };
                // Dovecot prints the lower 32 bits.
                format!("{:0digits$x}", hash & 0xffff_ffff)
            }
            Self::Hex => format!("{:x}", value.parse::<u64>().unwrap_or(0)),
            Self::Zeros(width) => {
                let missing = width.saturating_sub(value.len());
                format!("{}{value}", "0".repeat(missing))
            }
            Self::Substring { offset, length } => {
                let total = i64::try_from(value.len()).unwrap_or(i64::MAX);
                let start = if *offset < 0 { (total + offset).max(0) } else { (*offset).min(total) };
                let end = match length {
                    None => total,
                    Some(length) if *length < 0 => (total + length).max(start),
                    Some(length) => start.saturating_add(*length).min(total),
                };
                let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
                String::from_utf8_lossy(value.as_bytes().get(range).unwrap_or_default()).into_owned()
            }
        }
    }
}

/// The first 64 bits of the MD5 (`%N`).
fn md5_bucket(value: &str) -> u64 {
    md5::Md5::digest(value.as_bytes()).iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// P. J. Weinberger's hash (`%H`).
fn pjw(value: &str) -> u64 {
    u64::from(value.bytes().fold(0_u32, |sum, byte| {
        let sum = (sum << 4).wrapping_add(u32::from(byte));
        let top = sum & 0xf000_0000;
        (sum ^ (top >> 24)) ^ top
    }))
}

/// One variable, behind its `%`, and what follows it.
fn variable(text: &str) -> Result<(Piece, &str), String> {
    let mut rest = text;
    let mut zeros = rest.trim_start_matches('-').starts_with('0');
    let first = number(&mut rest);
    // One number is the width, whatever its sign; with a dot, the offset stands before it.
    let (mut offset, mut width) = if take(&mut rest, '.') {
        zeros = rest.starts_with('0');
        (first, number(&mut rest))
    } else {
        (0, first.abs())
    };
    let mut steps = Vec::new();
    let name = loop {
        let Some(letter) = rest.chars().next() else {
            return Err("a % without a variable behind it; write %%".to_owned());
        };
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            'L' => steps.push(Step::Lower),
            'U' => steps.push(Step::Upper),
            'R' => steps.push(Step::Reverse),
            'T' => steps.push(Step::Trim),
            'M' => steps.push(Step::Md5),
            'X' => steps.push(Step::Hex),
            'H' | 'N' => {
                let modulus = u64::try_from(width).unwrap_or(0);
                let digits = usize::try_from(offset).unwrap_or(0);
                steps.push(Step::Bucket { md5: letter == 'N', digits, modulus });
                (offset, width) = (0, 0);
            }
            '{' => {
                let (inside, after) = rest.split_once('}').ok_or("a %{ without its }")?;
                rest = after;
                break filters(inside, &mut steps)?;
            }
            letter => break named(letter.encode_utf8(&mut [0; 4]))?,
        }
    };
    // Zeros in front mean that nothing is cut off.
    let length = Some(width).filter(|width| *width != 0 && !zeros);
    if offset != 0 || length.is_some() {
        steps.push(Step::Substring { offset, length });
    }
    if zeros && width > 0 {
        steps.push(Step::Zeros(usize::try_from(width).unwrap_or(0)));
    }
    Ok((Piece::Variable { name, steps }, rest))
}

/// `name | filter | filter(arguments)`.
fn filters(inside: &str, steps: &mut Vec<Step>) -> Result<Name, String> {
    let mut parts = inside.split('|').map(str::trim);
    let name = named(parts.next().unwrap_or_default())?;
    for filter in parts {
        let (word, arguments) = match filter.split_once('(') {
            Some((word, arguments)) => (
                word.trim(),
                arguments.strip_suffix(')').ok_or_else(|| format!("{filter}: a ( without its )"))?,
            ),
            None => (filter, ""),
        };
        let numbers: Vec<Option<i64>> = arguments.split(',').map(|text| text.trim().parse().ok()).collect();
        steps.push(match (word, numbers.as_slice()) {
            ("lower", _) => Step::Lower,
            ("upper", _) => Step::Upper,
            ("reverse", _) => Step::Reverse,
            ("username", _) => Step::Local,
            ("domain", _) => Step::Domain,
            ("md5", _) => Step::Md5,
            ("default", _) => Step::Default(arguments.trim().trim_matches(['"', '\'']).to_owned()),
            ("substr", [Some(offset)]) => Step::Substring { offset: *offset, length: None },
            ("substr", [Some(offset), Some(length)]) => {
                Step::Substring { offset: *offset, length: Some(*length) }
            }
            _ => return Err(format!("the filter {filter:?} is not known here")),
        });
    }
    Ok(name)
}

fn named(name: &str) -> Result<Name, String> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, name)| *name).ok_or_else(|| {
        format!("the variable {name:?} is not known here; it may be %u %n %d %h %i, or %{{user}} %{{username}} %{{domain}} %{{home}} %{{uid}} %{{gid}}")
    })
}

fn take(rest: &mut &str, wanted: char) -> bool {
    match rest.strip_prefix(wanted) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

/// A number of at most five digits, perhaps below zero; 0 without one.
fn number(rest: &mut &str) -> i64 {
    let negative = take(rest, '-');
    let length = rest.bytes().take_while(u8::is_ascii_digit).take(5).count();
    let (digits, after) = rest.split_at_checked(length).unwrap_or(("", rest));
    *rest = after;
    let number: i64 = digits.parse().unwrap_or(0);
    if negative { -number } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let values =
            Values { user: "Joe@Example.com", home: "/home/joe", uid: Some(1000), ..Values::default() };
        Template::parse(text).unwrap().expand(&values)
    }

    #[test]
    fn both_notations() {
        for (text, want) in [
            ("maildir:/v/%d/%n", "maildir:/v/Example.com/Joe"),
            ("%Lu", "joe@example.com"),
            ("%{user | lower}", "joe@example.com"),
            ("%{user|domain|upper}", "EXAMPLE.COM"),
            ("%h/M", "/home/joe/M"),
            ("%1n/%1.1n", "J/o"),
            ("%-2.0n", "oe"),
            ("%-1n", "J"),
            ("%i%%", "1000%"),
            ("%08i/%Xi", "00001000/3e8"),
            ("%{user|substr(0,3)}", "Joe"),
            ("%{gid|default(\"x\")}", "x"),
            ("%Mn", "3a368818b7341d48660e8dd6c5a77dbe"),
        ] {
            assert_eq!(expand(text), want, "{text}");
        }
    }

    #[test]
    fn hashes_make_directories() {
        let hashed = expand("%2.256Nu");
        assert_eq!(hashed.len(), 2);
        assert!(hashed.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn mistakes_have_their_place() {
        assert_eq!(Template::parse("ab%").unwrap_err().offset, 2);
        assert_eq!(Template::parse("%u %y").unwrap_err().offset, 3);
        assert!(Template::parse("%{user").is_err());
        assert!(Template::parse("%{user|nosuch}").is_err());
    }
}
