//! The words of a Sieve script: identifiers, tags, numbers, strings and punctuation, each with its line.

use super::Mistake;

/// A word and the line it begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Identifier(String),
    Tag(String),
    Number(u64),
    Text(String),
    Comma,
    Semicolon,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    OpenParenthesis,
    CloseParenthesis,
    End,
}

impl TokenKind {
    /// What messages call it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Identifier(_) => "identifier",
            Self::Tag(_) => "tag",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Comma => "','",
            Self::Semicolon => "';'",
            Self::OpenBrace => "'{'",
            Self::CloseBrace => "'}'",
            Self::OpenBracket => "'['",
            Self::CloseBracket => "']'",
            Self::OpenParenthesis => "'('",
            Self::CloseParenthesis => "')'",
            Self::End => "end of file",
        }
    }
}

pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(script: &'a [u8]) -> Self {
        Self { rest: script, line: 1 }
    }

    pub(super) fn next(&mut self) -> Result<Token, Mistake> {
        self.skip_space()?;
        let line = self.line;
        let Some(&first) = self.rest.first() else {
            return Ok(Token { kind: TokenKind::End, line });
        };
        let kind = match first {
            b',' => self.single(TokenKind::Comma),
            b';' => self.single(TokenKind::Semicolon),
            b'{' => self.single(TokenKind::OpenBrace),
            b'}' => self.single(TokenKind::CloseBrace),
            b'[' => self.single(TokenKind::OpenBracket),
            b']' => self.single(TokenKind::CloseBracket),
            b'(' => self.single(TokenKind::OpenParenthesis),
            b')' => self.single(TokenKind::CloseParenthesis),
            b'"' => self.quoted()?,
            b'0'..=b'9' => self.number()?,
            b':' => {
                self.advance();
                let name = self.name();
                if name.is_empty() {
                    return Err(Mistake::new(line, "expecting a tag's name after ':', but found none."));
                }
                TokenKind::Tag(name)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let name = self.name();
                if name == "text" && self.rest.first() == Some(&b':') {
                    self.advance();
                    self.multi_line()?
                } else {
                    TokenKind::Identifier(name)
                }
            }
            other => {
                let shown = if other.is_ascii_graphic() {
                    format!("'{}'", char::from(other))
                } else {
                    format!("0x{other:02x}")
                };
                return Err(Mistake::new(line, format!("unexpected character(s) starting with {shown}.")));
            }
        };
        Ok(Token { kind, line })
    }

    fn advance(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if first == b'\n' {
            self.line += 1;
        }
        Some(first)
    }

    fn single(&mut self, kind: TokenKind) -> TokenKind {
        self.advance();
        kind
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&byte) = self.rest.first() {
            if !(byte.is_ascii_alphanumeric() || byte == b'_') {
                break;
            }
            name.push(char::from(byte.to_ascii_lowercase()));
            self.advance();
        }
        name
    }

    fn skip_space(&mut self) -> Result<(), Mistake> {
        while let Some(&byte) = self.rest.first() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.advance();
                }
                b'#' => self.skip_line(),
                b'/' if self.rest.get(1) == Some(&b'*') => {
                    let line = self.line;
                    self.advance();
                    self.advance();
                    loop {
                        match self.advance() {
                            Some(b'*') if self.rest.first() == Some(&b'/') => {
                                self.advance();
                                break;
                            }
                            Some(_) => {}
                            None => {
                                return Err(Mistake::new(
                                    self.line,
                                    format!(
                                        "end of file before end of bracket comment ('/* ... */') started at line {line}."
                                    ),
                                ));
                            }
                        }
                    }
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn skip_line(&mut self) {
        while let Some(byte) = self.advance() {
            if byte == b'\n' {
                return;
            }
        }
    }

    fn number(&mut self) -> Result<TokenKind, Mistake> {
        let line = self.line;
        let too_big = || Mistake::new(line, "number exceeds integer limits.");
        let mut number = 0_u64;
        while let Some(byte @ b'0'..=b'9') = self.rest.first() {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u64::from(byte - b'0')))
                .ok_or_else(too_big)?;
            self.advance();
        }
        let shift = match self.rest.first() {
            Some(b'k' | b'K') => 10,
            Some(b'm' | b'M') => 20,
            Some(b'g' | b'G') => 30,
            _ => return Ok(TokenKind::Number(number)),
        };
        self.advance();
        number.checked_mul(1 << shift).map(TokenKind::Number).ok_or_else(too_big)
    }

    fn quoted(&mut self) -> Result<TokenKind, Mistake> {
        let line = self.line;
        self.advance();
        let mut text = Vec::new();
        loop {
            match self.advance() {
                Some(b'"') => return finish(text, line, "quoted string"),
                Some(b'\\') => text.extend(self.advance()),
                Some(b'\n') => {
                    if text.last() != Some(&b'\r') {
                        text.push(b'\r');
                    }
                    text.push(b'\n');
                }
                Some(byte) => text.push(byte),
                None => {
                    return Err(Mistake::new(
                        self.line,
                        format!("end of file before end of quoted string started at line {line}."),
                    ));
                }
            }
        }
    }

    /// What follows `text:`: the rest of the line is space or a comment, then lines up to a single dot.
    fn multi_line(&mut self) -> Result<TokenKind, Mistake> {
        let line = self.line;
        loop {
            match self.rest.first() {
                Some(b' ' | b'\t' | b'\r') => {
                    self.advance();
                }
                Some(b'#') => {
                    self.skip_line();
                    break;
                }
                Some(b'\n') => {
                    self.advance();
                    break;
                }
                Some(_) => {
                    return Err(Mistake::new(line, "invalid character after 'text:' in multi-line string."));
                }
                None => break,
            }
        }
        let mut text = Vec::new();
        loop {
            if self.rest.is_empty() {
                return Err(Mistake::new(
                    self.line,
                    format!("end of file before end of multi-line string started at line {line}."),
                ));
            }
            let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
            let (row, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
            self.rest = rest;
            self.line += usize::from(row.ends_with(b"\n"));
            let row = row.strip_suffix(b"\n").unwrap_or(row);
            let row = row.strip_suffix(b"\r").unwrap_or(row);
            if row == b"." {
                return finish(text, line, "multi-line string");
            }
            text.extend_from_slice(if row.starts_with(b"..") {
                row.get(1..).unwrap_or_default()
            } else {
                row
            });
            text.extend_from_slice(b"\r\n");
        }
    }
}

fn finish(text: Vec<u8>, line: usize, what: &str) -> Result<TokenKind, Mistake> {
    if text.contains(&0) {
        return Err(Mistake::new(line, format!("{what} contains a NUL byte.")));
    }
    String::from_utf8(text).map(TokenKind::Text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Mistake::new(line, format!("{what} is not valid UTF-8 at byte {at}."))
    })
}
