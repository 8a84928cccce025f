//! The addresses of MAIL FROM and RCPT TO (RFC 5321 §4.1.2): parsed and written. Pure.

use std::fmt;

/// A mailbox as an envelope names it: the local part without its quotes, and the domain, which may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Mailbox {
    /// The local part, unquoted: what stands before the last `@` of [`Self::user`].
    pub local: String,
    /// The domain or address literal; empty when the address has none.
    pub domain: String,
}

impl Mailbox {
    /// The address as a user's name, without quotes: what the userdb is asked for.
    #[must_use]
    pub fn user(&self) -> String {
        if self.domain.is_empty() { self.local.clone() } else { format!("{}@{}", self.local, self.domain) }
    }

    /// Whether both are the same mailbox: the domain in any case, the local part as it is.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.local == other.local && self.domain.eq_ignore_ascii_case(&other.domain)
    }

    /// Whether it can only be sent with SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_internationalized(&self) -> bool {
        !(self.local.is_ascii() && self.domain.is_ascii())
    }
}

/// As it stands between `<` and `>`: the local part quoted where it has to be (RFC 5321 §4.1.2).
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for letter in self.local.chars() {
                if matches!(letter, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{letter}")?;
            }
            f.write_str("\"")?;
        }
        if self.domain.is_empty() { Ok(()) } else { write!(f, "@{}", self.domain) }
    }
}

/// Dot-string of RFC 5321 §4.1.2, with UTF-8 as RFC 6531 §3.3 adds it.
fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom))
}

/// Characters of an atom; bytes of UTF-8 too.
fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte) || byte >= 0x80
}

/// What is wrong with a path, in Dovecot's words (2.3.19 observed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// A blank after the colon.
    Whitespace,
    /// The path does not begin with `<`.
    NoBegin,
    /// The path does not end with `>`.
    NoEnd,
    /// Something follows the `>`.
    Trailing,
    /// A source route without its colon, or with broken domains.
    Route,
    /// A character that the local part cannot have.
    Local,
    /// A quoted local part without its end.
    Quotes,
    /// `<@…>`, or nothing between the dots.
    EmptyLocal,
    /// Nothing after the `@`.
    NoDomain,
    /// Two dots side by side, or one at an end.
    EmptySubdomain,
    /// A character that a domain cannot have.
    Domain,
    /// Longer than [`LONGEST`].
    TooLong,
}

impl PathError {
    /// The sentence for the reply.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Whitespace => "Unexpected whitespace before path",
            Self::NoBegin => "Missing '<' at beginning of path",
            Self::NoEnd => "Missing '>' at end of path",
            Self::Trailing => "Invalid character in path",
            Self::Route => "Invalid source route",
            Self::Local => "Invalid character in localpart",
            Self::Quotes => "Missing '\"' at end of quoted localpart",
            Self::EmptyLocal => "Empty localpart",
            Self::NoDomain => "Missing domain after '@'",
            Self::EmptySubdomain => "Empty sub-domain",
            Self::Domain => "Invalid character in domain",
            Self::TooLong => "Path is too long",
        }
    }
}

/// A path and what follows it on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The mailbox; `None` for the null path `<>`.
    pub mailbox: Option<Mailbox>,
    /// The parameters, without the blank before them.
    pub parameters: &'a str,
}

/// The longest path that is taken. RFC 5321 §4.5.3.1.3 asks for 256; UTF-8 and quoting make them longer.
pub const LONGEST: usize = 1024;

/// Reads a path at the beginning of `text`, what stands behind `FROM:` or `TO:`.
///
/// A source route is read and dropped (RFC 5321 appendix C). A domain may be missing, as local users' mail has it.
///
/// # Errors
/// See [`PathError`].
pub fn parse(text: &str) -> Result<Parsed<'_>, PathError> {
    let inner = match text.as_bytes().first() {
        Some(b' ' | b'\t') => return Err(PathError::Whitespace),
        Some(b'<') => text.get(1..).unwrap_or_default(),
        _ => return Err(PathError::NoBegin),
    };
    if let Some(after) = inner.strip_prefix('>') {
        return Ok(Parsed { mailbox: None, parameters: parameters(after)? });
    }
    let inner = route(inner)?;
    let (local, after) = match inner.strip_prefix('"') {
        Some(quoted) => quoted_string(quoted)?,
        None => unquoted(inner)?,
    };
    let (domain, after) = match after.strip_prefix('@') {
        Some(rest) => domain(rest)?,
        None => ("", after),
    };
    let after = after.strip_prefix('>').ok_or(PathError::NoEnd)?;
    if local.is_empty() {
        return Err(PathError::EmptyLocal);
    }
    if text.len() - after.len() > LONGEST {
        return Err(PathError::TooLong);
    }
    Ok(Parsed { mailbox: Some(Mailbox { local, domain: domain.to_owned() }), parameters: parameters(after)? })
}

/// Whether `text` holds a bracketed path with printable content, though its address may be broken; gives what
/// follows it. Dovecot takes such a sender for the null path, so that mail is not lost for it.
#[must_use]
pub fn broken(text: &str) -> Option<&str> {
    let (inside, after) = text.strip_prefix('<')?.split_once('>')?;
    if inside.len() > LONGEST || inside.chars().any(|letter| letter == ' ' || letter.is_control()) {
        return None;
    }
    parameters(after).ok()
}

fn parameters(after: &str) -> Result<&str, PathError> {
    match after.strip_prefix(' ') {
        Some(parameters) => Ok(parameters),
        None if after.is_empty() => Ok(after),
        None => Err(PathError::Trailing),
    }
}

/// Drops `@a,@b:` from the beginning.
fn route(text: &str) -> Result<&str, PathError> {
    let mut rest = text;
    while let Some(hop) = rest.strip_prefix('@') {
        let (_, after) = domain(hop).map_err(|_in_route| PathError::Route)?;
        if let Some(end) = after.strip_prefix(':') {
            return Ok(end);
        }
        rest = after.strip_prefix(',').ok_or(PathError::Route)?;
        if !rest.starts_with('@') {
            return Err(PathError::Route);
        }
    }
    Ok(rest)
}

/// A local part without quotes. Dots may stand anywhere in it: addresses such as `a..b` and `.a` are in use.
fn unquoted(text: &str) -> Result<(String, &str), PathError> {
    let end = text.bytes().position(|byte| !(is_atom(byte) || byte == b'.')).unwrap_or(text.len());
    let (local, after) = (text.get(..end).unwrap_or_default(), text.get(end..).unwrap_or_default());
    match after.as_bytes().first() {
        None | Some(b'@' | b'>') => Ok((local.to_owned(), after)),
        Some(_) if !after.contains('>') => Err(PathError::NoEnd),
        Some(_) => Err(PathError::Local),
    }
}

fn quoted_string(text: &str) -> Result<(String, &str), PathError> {
    let mut local = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        let letter = match letter {
            '"' => return Ok((local, text.get(at + 1..).unwrap_or_default())),
            '\\' => letters.next().ok_or(PathError::Quotes)?.1,
            other => other,
        };
        if letter.is_control() {
            return Err(PathError::Local);
        }
        local.push(letter);
    }
    Err(PathError::Quotes)
}

fn domain(text: &str) -> Result<(&str, &str), PathError> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(PathError::Domain)? + 1;
        let literal = text.get(..end).unwrap_or_default();
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
        if !literal.bytes().all(inside) {
            return Err(PathError::Domain);
        }
        return Ok((literal, text.get(end..).unwrap_or_default()));
    }
    let of_domain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || byte >= 0x80;
    let end = text.bytes().position(|byte| !of_domain(byte)).unwrap_or(text.len());
    let (name, after) = (text.get(..end).unwrap_or_default(), text.get(end..).unwrap_or_default());
    if name.is_empty() {
        return Err(if matches!(after.as_bytes().first(), None | Some(b'>')) {
            PathError::NoDomain
        } else {
            PathError::Domain
        });
    }
    if name.split('.').any(str::is_empty) {
        return Err(PathError::EmptySubdomain);
    }
    Ok((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, PathError> {
        parse(text).map(|parsed| parsed.mailbox.map_or_else(String::new, |mailbox| mailbox.to_string()))
    }

    #[test]
    fn paths_as_dovecot_reads_them() {
        for (text, wanted) in [
            ("<>", ""),
            ("<anna>", "anna"),
            ("<carl@a.example>", "carl@a.example"),
            ("<CARL+Foo@A.Example>", "CARL+Foo@A.Example"),
            ("<@x,@y:carl@a.example>", "carl@a.example"),
            ("<\"carl\"@a.example>", "carl@a.example"),
            ("<\"an\\na\"@a.example>", "anna@a.example"),
            ("<\"an na\">", "\"an na\""),
            ("<\"a\\\"b\\\\\"@x>", "\"a\\\"b\\\\\"@x"),
            ("<.anna@x>", "\".anna\"@x"),
            ("<a..b@x>", "\"a..b\"@x"),
            ("<anna@[1.2.3.4]>", "anna@[1.2.3.4]"),
            ("<anna@[IPv6:::1]>", "anna@[IPv6:::1]"),
            ("<x@a_b.example>", "x@a_b.example"),
            ("<zoë@bücher.example>", "zoë@bücher.example"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for (text, wanted) in [
            ("carl@a.example", PathError::NoBegin),
            ("", PathError::NoBegin),
            (" <carl@a.example>", PathError::Whitespace),
            ("<x@y", PathError::NoEnd),
            ("<a b@c", PathError::NoEnd),
            ("<a b@c>", PathError::Local),
            ("<>x", PathError::Trailing),
            ("<x@y>,", PathError::Trailing),
            ("<x@>", PathError::NoDomain),
            ("<@>", PathError::Route),
            ("<@x>", PathError::Route),
            ("<@x,y:z>", PathError::Route),
            ("<\"x>", PathError::Quotes),
            ("<\"x\\", PathError::Quotes),
            ("<\"\"@x>", PathError::EmptyLocal),
            ("<a@b..c>", PathError::EmptySubdomain),
            ("<a@.c>", PathError::EmptySubdomain),
            ("<a@c.>", PathError::EmptySubdomain),
            ("<a@b c>", PathError::NoEnd),
            ("<a@b@c>", PathError::NoEnd),
            ("<a@[1.2>", PathError::Domain),
            ("<a\tb@c>", PathError::Local),
            ("<\"a\tb\"@c>", PathError::Local),
        ] {
            assert_eq!(of(text), Err(wanted), "{text}");
        }
        assert_eq!(of(&format!("<{}@x>", "a".repeat(LONGEST))), Err(PathError::TooLong));
    }

    #[test]
    fn what_follows_is_kept() {
        assert_eq!(parse("<a@b> SIZE=3 X").unwrap().parameters, "SIZE=3 X");
        assert_eq!(parse("<> SIZE=3").unwrap().parameters, "SIZE=3");
        assert_eq!(broken("<x@> SIZE=3"), Some("SIZE=3"));
        assert_eq!(broken("<x y@a.example>"), None);
        assert_eq!(broken("<x@"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for local in ["a", ".a", "a b", "a\"b", "a\\", "a@b", "a>b", "zoë", "a.b"] {
            let mailbox = Mailbox { local: local.to_owned(), domain: "x.example".to_owned() };
            let text = format!("<{mailbox}>");
            assert_eq!(parse(&text).unwrap().mailbox, Some(mailbox), "{text}");
        }
    }
}
