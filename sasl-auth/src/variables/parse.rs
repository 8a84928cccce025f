//! Templates from text: where variables begin and end, and what their modifiers and filters say.

use super::filter::{Algorithm, BucketHash, Digest, Filter, Window};
use super::name;
use super::{Piece, TemplateError, Variable};

/// Digits of a window's numbers: Dovecot's own hashes and users' names need no more.
const WINDOW_DIGITS: usize = 5;
/// The most rounds of a digest: each request would pay for more.
const ROUNDS: u32 = 100_000;

fn error<T>(offset: usize, message: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError { offset, message: message.into() })
}

/// A place in the text that is read from left to right.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.at += found.len_utf8();
        Some(found)
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.at += wanted.len_utf8();
        }
        there
    }

    /// A number of decimal digits; `None` without one.
    fn number(&mut self) -> Result<Option<i64>, TemplateError> {
        let rest = self.rest();
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        if length > WINDOW_DIGITS {
            return error(self.at, format!("number of more than {WINDOW_DIGITS} digits"));
        }
        let value = rest.get(..length).and_then(|digits| digits.parse().ok());
        self.at += length;
        Ok(value)
    }
}

/// The pieces of a template.
pub(super) fn template(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut cursor = Cursor { text, at: 0 };
    loop {
        let rest = cursor.rest();
        let Some((before, _)) = rest.split_once('%') else {
            literal.push_str(rest);
            break;
        };
        literal.push_str(before);
        let start = cursor.at + before.len();
        cursor.at = start + 1;
        if cursor.take('%') {
            literal.push('%');
            continue;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Variable(variable(&mut cursor, start)?));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// What follows a `%` at `start`: `[[offset.]width][modifiers](letter | {name …})`.
fn variable(cursor: &mut Cursor<'_>, start: usize) -> Result<Variable, TemplateError> {
    let window = window(cursor)?;
    let mut modifiers = Vec::new();
    while let Some(filter) = cursor.peek().and_then(modifier) {
        cursor.next();
        modifiers.push(filter);
    }
    let at = cursor.at;
    let (source, mut filters) = match cursor.next() {
        None => return error(start, "`%` at the end of the text; write `%%` for a percent sign"),
        Some('{') => {
            let Some(end) = closing(cursor.rest()) else {
                return error(at, "`%{` without its `}`");
            };
            let inner = cursor.rest().get(..end).unwrap_or_default();
            let offset = cursor.at;
            cursor.at += end + 1;
            braces(inner, offset)?
        }
        Some(letter) => match name::by_letter(letter) {
            Some(source) => (source, Vec::new()),
            None => {
                return error(start, format!("unknown variable `%{letter}`; write `%%` for a percent sign"));
            }
        },
    };
    filters.append(&mut modifiers);
    Ok(Variable { source, filters, window })
}

fn window(cursor: &mut Cursor<'_>) -> Result<Window, TemplateError> {
    let at = cursor.at;
    let negative = cursor.take('-');
    let mut zeros = cursor.peek() == Some('0');
    let first = cursor.number()?;
    let signed = |negative: bool, number: Option<i64>| number.unwrap_or(0) * if negative { -1 } else { 1 };
    if negative && first.is_none() {
        return error(at, "`%-` without a number");
    }
    if !cursor.take('.') {
        return Ok(Window { offset: 0, width: first.unwrap_or(0), zeros });
    }
    let offset = signed(negative, first);
    let negative = cursor.take('-');
    zeros = cursor.peek() == Some('0');
    Ok(Window { offset, width: signed(negative, cursor.number()?), zeros })
}

fn modifier(letter: char) -> Option<Filter> {
    Some(match letter {
        'L' => Filter::Lower,
        'U' => Filter::Upper,
        'T' => Filter::Trim,
        'E' => Filter::Escape,
        'R' => Filter::Reverse,
        'X' => Filter::HexNumber,
        'D' => Filter::LdapDn,
        'M' => Filter::Md5Hex,
        'H' => Filter::Bucket(BucketHash::Pjw),
        'N' => Filter::Bucket(BucketHash::Md5),
        _ => return None,
    })
}

/// Where the brace closes that is open at the beginning: not inside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '}') => return Some(at),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

/// The inside of `%{…}`, which begins at `offset` of the whole text.
fn braces(inner: &str, offset: usize) -> Result<(name::Source, Vec<Filter>), TemplateError> {
    let mut parts = pipes(inner).into_iter();
    let (first_at, first) = parts.next().unwrap_or((0, ""));
    let (source, mut filters) = head(first, offset + first_at)?;
    for (at, part) in parts {
        filters.push(filter(part, offset + at)?);
    }
    Ok((source, filters))
}

/// Splits at `|` outside of quotes and takes spaces away; with the offset of each part.
fn pipes(inner: &str) -> Vec<(usize, &str)> {
    split(inner, '|')
}

fn split(text: &str, separator: char) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let mut quote = None;
    let mut start = 0;
    let ends = text.char_indices().chain(std::iter::once((text.len(), separator)));
    for (at, letter) in ends {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            _ => {}
        }
        if (letter == separator && quote.is_none()) || at == text.len() {
            let part = text.get(start..at).unwrap_or_default();
            parts.push((start + (part.len() - part.trim_start().len()), part.trim()));
            start = at + letter.len_utf8();
        }
    }
    parts
}

/// A name, or 2.3's `hash;arguments:name`.
fn head(text: &str, at: usize) -> Result<(name::Source, Vec<Filter>), TemplateError> {
    if let Some(source) = name::by_name(text) {
        return Ok((source, Vec::new()));
    }
    let function = text.split([';', ':']).next().unwrap_or_default();
    if function.len() < text.len() {
        if let Some(algorithm) = Algorithm::named(function) {
            return old_digest(algorithm, text, function.len(), at);
        }
        return error(at, format!("`%{{{function}…}}` is not supported"));
    }
    let hint = match name::suggestion(text) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    error(at, format!("unknown variable `{text}`{hint}"))
}

/// `sha256;rounds=2,salt=x:user` and `sha256:user`.
fn old_digest(
    algorithm: Algorithm,
    text: &str,
    function: usize,
    at: usize,
) -> Result<(name::Source, Vec<Filter>), TemplateError> {
    let rest = text.get(function..).unwrap_or_default();
    let Some((arguments, field)) = rest.split_once(':') else {
        return error(at, "a hash function without `:` and a variable");
    };
    let field_at = at + function + arguments.len() + 1;
    let Some(source) = name::by_name(field) else {
        return error(field_at, format!("unknown variable `{field}`"));
    };
    let mut digest = Digest { algorithm, rounds: 1, salt: String::new() };
    let mut bits = None;
    let mut format = Filter::Hex { digits: None };
    let arguments = arguments.strip_prefix(';').unwrap_or(arguments);
    for argument in arguments.split(',').filter(|argument| !argument.is_empty()) {
        match argument.split_once('=') {
            Some(("rounds", number)) => digest.rounds = rounds(number, at)?,
            Some(("salt", salt)) => salt.clone_into(&mut digest.salt),
            Some(("truncate", number)) => bits = Some(count(number, at)?),
            Some(("format", "hex")) => format = Filter::Hex { digits: None },
            Some(("format", "base64")) => format = Filter::Base64,
            _ => {
                return error(
                    at,
                    format!("`{argument}` is none of `rounds=`, `salt=`, `truncate=`, `format=hex|base64`"),
                );
            }
        }
    }
    let mut filters = vec![Filter::Digest(digest)];
    filters.extend(bits.map(|bits| Filter::Truncate { bits }));
    filters.push(format);
    Ok((source, filters))
}

fn rounds(text: &str, at: usize) -> Result<u32, TemplateError> {
    match text.parse() {
        Ok(number @ 1..=ROUNDS) => Ok(number),
        _ => error(at, format!("rounds must be 1 to {ROUNDS}")),
    }
}

fn count(text: &str, at: usize) -> Result<usize, TemplateError> {
    match text.parse::<u16>() {
        Ok(number) => Ok(usize::from(number)),
        Err(_) => error(at, format!("`{text}` is not a number up to 65535")),
    }
}

/// One filter of 2.4, with its arguments.
fn filter(text: &str, at: usize) -> Result<Filter, TemplateError> {
    let (name, arguments) = match text.split_once('(') {
        None => (text, Vec::new()),
        Some((name, rest)) => match rest.strip_suffix(')') {
            None => return error(at, format!("`{name}(` without its `)`")),
            Some(inside) => (name.trim_end(), split(inside, ',').into_iter().map(|(_, part)| part).collect()),
        },
    };
    let arguments: Vec<&str> = arguments.into_iter().filter(|argument| !argument.is_empty()).collect();
    let plain = match name {
        "lower" => Some(Filter::Lower),
        "upper" => Some(Filter::Upper),
        "username" => Some(Filter::Username),
        "domain" => Some(Filter::Domain),
        "reverse" => Some(Filter::Reverse),
        "ldap_dn" => Some(Filter::LdapDn),
        "base64" => Some(Filter::Base64),
        _ => None,
    };
    if let Some(filter) = plain {
        return if arguments.is_empty() {
            Ok(filter)
        } else {
            error(at, format!("`{name}` takes no arguments here"))
        };
    }
    match (name, arguments.as_slice()) {
        ("default", []) => Ok(Filter::Default(String::new())),
        ("default", [text]) => Ok(Filter::Default(quoted(text, at)?)),
        ("substr", [offset]) => Ok(Filter::Substring { offset: integer(offset, at)?, length: None }),
        ("substr", [offset, length]) => {
            Ok(Filter::Substring { offset: integer(offset, at)?, length: Some(integer(length, at)?) })
        }
        ("truncate", [argument]) => Ok(match argument.split_once('=') {
            Some(("bits", bits)) => Filter::Truncate { bits: count(bits.trim(), at)? },
            _ => Filter::Truncate { bits: count(argument, at)?.saturating_mul(8) },
        }),
        ("hexlify", []) => Ok(Filter::Hex { digits: None }),
        ("hexlify", [digits]) => {
            Ok(Filter::Hex { digits: Some(count(digits, at)?).filter(|digits| *digits > 0) })
        }
        ("index", [separator, number]) => {
            let separator = quoted(separator, at)?;
            if separator.is_empty() {
                return error(at, "`index` needs a separator");
            }
            Ok(Filter::Index { separator, number: integer(number, at)? })
        }
        ("substr" | "truncate" | "default" | "hexlify" | "index", _) => {
            error(at, format!("`{name}` with a wrong number of arguments"))
        }
        _ => new_digest(name, &arguments, at),
    }
}

/// `sha256(rounds=2, salt='x')` or `hash('sha256', …)`.
fn new_digest(name: &str, arguments: &[&str], at: usize) -> Result<Filter, TemplateError> {
    let unknown = || error(at, format!("unknown filter `{name}`"));
    let (algorithm, arguments) = match (name, arguments.split_first()) {
        ("hash", Some((method, rest))) => (Algorithm::named(&quoted(method, at)?), rest),
        _ => (Algorithm::named(name), arguments),
    };
    let Some(algorithm) = algorithm else { return unknown() };
    let mut digest = Digest { algorithm, rounds: 1, salt: String::new() };
    for argument in arguments {
        match argument.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("rounds", number)) => digest.rounds = rounds(number, at)?,
            Some(("salt", salt)) => digest.salt = quoted(salt, at)?,
            _ => return error(at, format!("`{argument}` is neither `rounds=` nor `salt=`")),
        }
    }
    Ok(Filter::Digest(digest))
}

/// The text between quotes.
fn quoted(text: &str, at: usize) -> Result<String, TemplateError> {
    let inside = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    match inside {
        Some(inside) if !inside.contains('\\') => Ok(inside.to_owned()),
        Some(_) => error(at, "backslashes inside quotes are not supported"),
        None => error(at, format!("`{text}` is not in quotes")),
    }
}

fn integer(text: &str, at: usize) -> Result<i64, TemplateError> {
    match text.parse::<i32>() {
        Ok(number) => Ok(i64::from(number)),
        Err(_) => error(at, format!("`{text}` is not a number")),
    }
}
