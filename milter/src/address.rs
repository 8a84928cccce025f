//! The author's address out of a From field (RFC 5322 §3.4), as signing needs it.

use std::fmt;

/// Longest domain that the DNS knows, in bytes of text.
const LONGEST_DOMAIN: usize = 253;
/// Longest local part that is taken; RFC 5321 §4.5.3.1.1 allows 64, lists use more.
const LONGEST_LOCAL: usize = 512;

/// A mailbox address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The part before the `@`, as written, without quotes.
    pub local: String,
    /// The part after it, lower case for ASCII letters.
    pub domain: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// Why a field holds no usable address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// There is no address in it.
    None,
    /// A comment, quoted string or angle bracket is not closed.
    NotClosed,
    /// What stands where the address should be is none.
    NotAnAddress,
    /// A part is longer than any address may be.
    TooLong,
    /// Bytes that are neither ASCII text nor UTF-8, or control characters.
    BadBytes,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "holds no address",
            Self::NotClosed => "has a comment, quote or bracket that is not closed",
            Self::NotAnAddress => "holds something that is no address",
            Self::TooLong => "holds an address that is too long",
            Self::BadBytes => "holds control characters or bytes that are not UTF-8",
        })
    }
}

/// The first address of an address list: display names and comments are passed over, a group
/// gives its first member (OpenDKIM 2.11 observed).
///
/// # Errors
/// See [`AddressError`]. An address is never guessed: what two readers could read in two ways is
/// an error.
pub fn first_address(value: &[u8]) -> Result<Address, AddressError> {
    let text = std::str::from_utf8(value).map_err(|_utf8| AddressError::BadBytes)?;
    let mut words: Vec<Token<'_>> = Vec::new();
    // Known at each colon without looking at all words again.
    let mut at_seen = false;
    let mut scan = Scan { rest: text };
    loop {
        match scan.next()? {
            Some(Token::Special('<')) => return scan.angle_address(),
            Some(Token::Special(':')) if !at_seen => {
                // What came before was the name of a group.
                words.clear();
            }
            Some(Token::Special(',' | ';')) | None if !words.is_empty() => return bare_address(&words),
            Some(Token::Special(',' | ';') | Token::Gap) => {}
            Some(token) => {
                at_seen |= token == Token::Special('@');
                words.push(token);
            }
            None => return Err(AddressError::None),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Atom(&'a str),
    Quoted(String),
    Literal(&'a str),
    Special(char),
    /// White space or a comment between two tokens.
    Gap,
}

struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, AddressError> {
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        match first {
            ' ' | '\t' | '\r' | '\n' => {
                self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
                Ok(Some(Token::Gap))
            }
            '(' => self.comment().map(|()| Some(Token::Gap)),
            '"' => self.quoted().map(|text| Some(Token::Quoted(text))),
            '[' => self.literal().map(|text| Some(Token::Literal(text))),
            '<' | '>' | '@' | ',' | ';' | ':' | ')' | ']' | '\\' | '.' => {
                self.rest = self.rest.strip_prefix(first).unwrap_or_default();
                Ok(Some(Token::Special(first)))
            }
            c if c.is_control() => Err(AddressError::BadBytes),
            _ => {
                let end = self
                    .rest
                    .find(|c: char| c.is_control() || " \t\r\n()\"[]<>@,;:\\.".contains(c))
                    .unwrap_or(self.rest.len());
                let (atom, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
                self.rest = rest;
                Ok(Some(Token::Atom(atom)))
            }
        }
    }

    fn comment(&mut self) -> Result<(), AddressError> {
        self.rest = after_comment(self.rest).ok_or(AddressError::NotClosed)?;
        Ok(())
    }

    fn quoted(&mut self) -> Result<String, AddressError> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        chars.next();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                '\\' => text.extend(chars.next()),
                // The folds of a long field are no part of the text.
                '\r' | '\n' => {}
                _ => text.push(c),
            }
        }
        Err(AddressError::NotClosed)
    }

    fn literal(&mut self) -> Result<&'a str, AddressError> {
        let (literal, rest) = self.rest.split_once(']').ok_or(AddressError::NotClosed)?;
        self.rest = rest;
        Ok(literal.trim_start_matches('['))
    }

    /// What follows `<`: an optional route (RFC 5322 §4.4), the address, `>`.
    fn angle_address(&mut self) -> Result<Address, AddressError> {
        let mut words = Vec::new();
        loop {
            match self.next()? {
                Some(Token::Special('>')) => return bare_address(&words),
                // The end of an obsolete route: the address comes behind it.
                Some(Token::Special(':')) if matches!(words.first(), Some(Token::Special('@'))) => {
                    words.clear();
                }
                Some(Token::Gap) => {}
                Some(token) => words.push(token),
                None => return Err(AddressError::NotClosed),
            }
        }
    }
}

/// What stands behind the comment (RFC 5322 §3.2.2, nested, with quoted pairs) that `text` begins
/// with; `None` when it is not closed.
pub(crate) fn after_comment(text: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '\\' => {
                chars.next();
            }
            _ => {}
        }
        if depth == 0 {
            return Some(chars.as_str());
        }
    }
    None
}

/// `local@domain` out of the tokens, and nothing else.
fn bare_address(words: &[Token<'_>]) -> Result<Address, AddressError> {
    if words.is_empty() {
        return Err(AddressError::None);
    }
    let at = words.iter().position(|word| *word == Token::Special('@')).ok_or(AddressError::NotAnAddress)?;
    let (local, domain) = words.split_at_checked(at).ok_or(AddressError::NotAnAddress)?;
    let local = dotted(local, true)?;
    let domain = dotted(domain.get(1..).unwrap_or_default(), false)?.to_ascii_lowercase();
    if domain.len() > LONGEST_DOMAIN || local.len() > LONGEST_LOCAL {
        return Err(AddressError::TooLong);
    }
    if local.chars().chain(domain.chars()).any(char::is_control) {
        return Err(AddressError::BadBytes);
    }
    Ok(Address { local, domain })
}

/// Words joined by dots. Quoted words only in a local part, a literal only alone in a domain.
fn dotted(words: &[Token<'_>], is_local: bool) -> Result<String, AddressError> {
    if let ([Token::Literal(literal)], false) = (words, is_local) {
        return Ok(format!("[{literal}]"));
    }
    let mut text = String::new();
    let mut word_next = true;
    for word in words {
        match word {
            Token::Atom(atom) if word_next => text.push_str(atom),
            Token::Quoted(quoted) if word_next && is_local => text.push_str(quoted),
            Token::Special('.') if !word_next || is_local => text.push('.'),
            _ => return Err(AddressError::NotAnAddress),
        }
        word_next = matches!(word, Token::Special('.'));
    }
    // Local parts with dots at the end exist in practice; a domain must end in a label.
    if text.is_empty() || (word_next && !is_local) { Err(AddressError::NotAnAddress) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> String {
        match first_address(value.as_bytes()) {
            Ok(address) => address.to_string(),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn the_first_address_is_found_where_rfc_5322_puts_it() {
        let cases = [
            (" a@example.com", "a@example.com"),
            (" Anna <Anna.B@Example.COM>", "Anna.B@example.com"),
            (" \"user@example.com\" <x@evil.example>", "x@evil.example"),
            (" x@evil.example (user@example.com)", "x@evil.example"),
            (" (a (nested) comment) <x@d.example> ", "x@d.example"),
            (" Grp: user@example.com, b@other.example;", "user@example.com"),
            (" undisclosed:;", "None"),
            (" , a@example.com", "a@example.com"),
            (" a@first.example, b@second.example", "a@first.example"),
            (" Anna\r\n\t<a@example.com>", "a@example.com"),
            (" <@relay.example,@other.example:a@example.com>", "a@example.com"),
            (" \"odd local\"@example.com", "odd local@example.com"),
            (" a . b @ example . com", "a.b@example.com"),
            (" Grüße <grüße@bücher.example>", "grüße@bücher.example"),
            (" a@[192.0.2.1]", "a@[192.0.2.1]"),
            (" \"a\\\"b\" <q@example.com>", "q@example.com"),
            (" =?utf-8?q?A=2C_B?= <q@example.com>", "q@example.com"),
            ("", "None"),
            (" <>", "None"),
            (" nobody", "NotAnAddress"),
            (" a@", "NotAnAddress"),
            (" @example.com", "NotAnAddress"),
            (" a@b@c.example", "NotAnAddress"),
            (" a@b c.example", "NotAnAddress"),
            (" a@example.", "NotAnAddress"),
            (" a b@example.com", "NotAnAddress"),
            (" (open a@example.com", "NotClosed"),
            (" \"open a@example.com", "NotClosed"),
            (" <a@example.com", "NotClosed"),
            (" a\u{0}@example.com", "BadBytes"),
        ];
        for (value, want) in cases {
            assert_eq!(read(value), want, "{value:?}");
        }
        assert_eq!(first_address(b" \xff@example.com"), Err(AddressError::BadBytes));
    }

    #[test]
    fn long_addresses_are_refused() {
        assert_eq!(read(&format!("{}@example.com", "a".repeat(600))), "TooLong");
        assert_eq!(read(&format!("a@{}com", "a.".repeat(200))), "TooLong");
        // Deep comments and long lists are read in one pass without recursion.
        let routes = format!("{}@{}", ".".repeat(300_000), ":".repeat(300_000));
        assert_eq!(read(&routes), "NotAnAddress");
        assert_eq!(read(&"(".repeat(200_000)), "NotClosed");
        assert_eq!(read(&",".repeat(200_000)), "None");
    }
}
