//! Where SQL literals, identifiers and comments begin and end, and which of them hold variables. Pure.
//!
//! Sources: PostgreSQL manual §4.1 (lexical structure), MySQL manual §9.1.1, §9.2, §9.7, SQLite
//! "SQL keywords", "literal values" and tokenize.c's rules for comments.

use super::query::{Dialect, Named, Part, Piece, QueryError};

/// One character of the text, or a variable in it.
enum Item<'a, V> {
    Char(char),
    Variable(&'a V),
}

/// The text of a statement, and what its parameters are made of.
pub(super) type Scanned<V> = (Vec<Part>, Vec<Vec<Piece<V>>>);

/// Splits a template into the text that stays and the parameters that come between.
pub(super) fn scan<V: Named>(pieces: &[Piece<V>], dialect: Dialect) -> Result<Scanned<V>, QueryError> {
    let mut items = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => items.extend(text.chars().map(Item::Char)),
            Piece::Variable(variable) => items.push(Item::Variable(variable)),
        }
    }
    let mut scanner =
        Scanner { items: &items, at: 0, dialect, sql: String::new(), parts: vec![], parameters: vec![] };
    scanner.statement()?;
    scanner.flush();
    Ok((scanner.parts, scanner.parameters))
}

struct Scanner<'a, V> {
    items: &'a [Item<'a, V>],
    at: usize,
    dialect: Dialect,
    /// Text since the last parameter.
    sql: String,
    parts: Vec<Part>,
    parameters: Vec<Vec<Piece<V>>>,
}

/// What a stretch of literal text is made into while its end is looked for.
struct Literal<V> {
    /// As written, quotes included.
    source: String,
    /// What it means, with the variables.
    value: Vec<Piece<V>>,
    has_variables: bool,
}

impl<V: Named> Literal<V> {
    fn new(source: String) -> Self {
        Self { source, value: Vec::new(), has_variables: false }
    }

    fn character(&mut self, character: char) {
        if let Some(Piece::Literal(text)) = self.value.last_mut() {
            text.push(character);
        } else {
            self.value.push(Piece::Literal(character.to_string()));
        }
    }

    fn variable(&mut self, variable: &V) {
        self.value.push(Piece::Variable(variable.clone()));
        self.has_variables = true;
    }
}

impl<V: Named> Scanner<'_, V> {
    fn statement(&mut self) -> Result<(), QueryError> {
        while let Some(item) = self.items.get(self.at) {
            let character = match item {
                Item::Variable(variable) => {
                    self.bare_variable(variable)?;
                    continue;
                }
                Item::Char(character) => *character,
            };
            let (mysql, sqlite) = (self.dialect == Dialect::MySql, self.dialect == Dialect::Sqlite);
            match character {
                '\'' => self.string('\'')?,
                // A string in MySQL, and one that SQLite takes for a string if no column has its name.
                '"' if mysql || (sqlite && self.quoted_holds_variables('"')) => self.string('"')?,
                '"' => self.verbatim(1, '"', "within a quoted identifier", "a quoted identifier")?,
                '`' if mysql || sqlite => {
                    self.verbatim(1, '`', "within a quoted identifier", "a quoted identifier")?;
                }
                '[' if sqlite => {
                    self.verbatim(1, ']', "within a quoted identifier", "a quoted identifier")?;
                }
                '-' if self.starts_dash_comment() => self.line_comment()?,
                '#' if mysql => self.line_comment()?,
                '/' if self.char_at(1) == Some('*') => self.block_comment()?,
                '$' if self.dialect == Dialect::Postgres && !self.after_identifier() => {
                    self.dollar_quote()?;
                }
                '?' if mysql || sqlite => return Err(QueryError::Placeholder("?".into())),
                ':' | '@' | '$' if sqlite && self.char_at(1).is_some_and(is_identifier) => {
                    return Err(QueryError::Placeholder(self.word(character)));
                }
                other => {
                    if is_identifier(other) && self.after_parameter() {
                        self.sql.push(' ');
                    }
                    self.sql.push(other);
                    self.at += 1;
                }
            }
        }
        Ok(())
    }

    /// The character `ahead` items further on, if it is one.
    fn char_at(&self, ahead: usize) -> Option<char> {
        match self.items.get(self.at + ahead) {
            Some(Item::Char(character)) => Some(*character),
            _ => None,
        }
    }

    /// `first` and the identifier after it.
    fn word(&self, first: char) -> String {
        let mut word = String::from(first);
        let mut ahead = 1;
        while let Some(character) = self.char_at(ahead).filter(|&character| is_identifier(character)) {
            word.push(character);
            ahead += 1;
        }
        word
    }

    fn after_identifier(&self) -> bool {
        self.sql.chars().next_back().is_some_and(is_identifier)
    }

    fn after_parameter(&self) -> bool {
        self.sql.is_empty() && matches!(self.parts.last(), Some(Part::Parameter))
    }

    fn flush(&mut self) {
        if !self.sql.is_empty() {
            self.parts.push(Part::Sql(std::mem::take(&mut self.sql)));
        }
    }

    fn parameter(&mut self, pieces: Vec<Piece<V>>) {
        self.flush();
        self.parts.push(Part::Parameter);
        self.parameters.push(pieces);
    }

    fn bare_variable(&mut self, variable: &V) -> Result<(), QueryError> {
        let joins = |character| is_identifier(character) || matches!(character, '.' | '@' | ':' | '`' | '"');
        let before = self.after_parameter()
            || self.sql.chars().next_back().is_some_and(|last| joins(last) && !self.sql.ends_with("::"));
        let after = match self.items.get(self.at + 1) {
            // `%u::text` is PostgreSQL's cast.
            Some(Item::Char(':')) => self.char_at(2) != Some(':'),
            Some(Item::Char(next)) => joins(*next) || matches!(next, '(' | '\''),
            Some(Item::Variable(_)) => true,
            None => false,
        };
        if before || after {
            return Err(in_place::<V>(variable, "outside quotes and joined to other text"));
        }
        self.parameter(vec![Piece::Variable(variable.clone())]);
        self.at += 1;
        Ok(())
    }

    /// A string literal from its opening quote on.
    fn string(&mut self, quote: char) -> Result<(), QueryError> {
        let prefix = self.prefix();
        let escape_string = self.dialect == Dialect::Postgres && prefix.eq_ignore_ascii_case("e");
        let backslashes = self.dialect == Dialect::MySql || escape_string;
        let mut literal = Literal::<V>::new(quote.to_string());
        self.at += 1;
        loop {
            match self.items.get(self.at) {
                None => return Err(QueryError::Open("a string literal")),
                Some(Item::Variable(variable)) => literal.variable(variable),
                Some(Item::Char(own)) if *own == quote => {
                    literal.source.push(quote);
                    if self.char_at(1) != Some(quote) {
                        break;
                    }
                    literal.source.push(quote);
                    literal.character(quote);
                    self.at += 1;
                }
                Some(Item::Char('\\')) if backslashes => self.escape(&mut literal)?,
                Some(Item::Char(other)) => {
                    literal.source.push(*other);
                    literal.character(*other);
                }
            }
            self.at += 1;
        }
        self.at += 1;
        if !literal.has_variables {
            self.sql.push_str(&literal.source);
            return Ok(());
        }
        if escape_string {
            self.sql.pop();
        } else if is_prefix(&prefix) {
            return Err(first_variable(&literal.value, "within a literal with a prefix"));
        } else if !prefix.is_empty() {
            self.sql.push(' ');
        }
        self.parameter(literal.value);
        Ok(())
    }

    /// The word directly before a quote: a prefix of the literal, or a keyword without a space after it.
    fn prefix(&self) -> String {
        let reversed = self.sql.chars().rev();
        let word: Vec<char> = reversed.take_while(|&own| is_identifier(own) || own == '&').collect();
        word.into_iter().rev().collect()
    }

    /// An escape sequence; `self.at` is at its backslash, and at its last character afterwards.
    fn escape(&mut self, literal: &mut Literal<V>) -> Result<(), QueryError> {
        let mysql = self.dialect == Dialect::MySql;
        let escaped = match self.items.get(self.at + 1) {
            None => return Err(QueryError::Open("a string literal")),
            Some(Item::Variable(variable)) => return Err(in_place::<V>(variable, "after a backslash")),
            Some(Item::Char(character)) => *character,
        };
        literal.source.extend(['\\', escaped]);
        self.at += 1;
        match escaped {
            'b' => literal.character('\u{8}'),
            'n' => literal.character('\n'),
            'r' => literal.character('\r'),
            't' => literal.character('\t'),
            '0' if mysql => literal.character('\0'),
            'Z' if mysql => literal.character('\u{1a}'),
            // For LIKE: the backslash stays (MySQL manual §9.1.1).
            '%' | '_' if mysql => {
                literal.character('\\');
                literal.character(escaped);
            }
            'f' if !mysql => literal.character('\u{c}'),
            'x' if !mysql => self.code(literal, 'x', 16, 2, String::new()),
            'u' if !mysql => self.code(literal, 'u', 16, 4, String::new()),
            'U' if !mysql => self.code(literal, 'U', 16, 8, String::new()),
            '0'..='7' if !mysql => self.code(literal, escaped, 8, 2, escaped.to_string()),
            other => literal.character(other),
        }
        Ok(())
    }

    /// A character by its number: up to `most` more digits after those in `digits`.
    fn code(&mut self, literal: &mut Literal<V>, name: char, radix: u32, most: usize, mut digits: String) {
        for _ in 0..most {
            let Some(digit) = self.char_at(1).filter(|digit| digit.is_digit(radix)) else { break };
            digits.push(digit);
            literal.source.push(digit);
            self.at += 1;
        }
        let number = u32::from_str_radix(&digits, radix).ok();
        literal.character(number.and_then(char::from_u32).unwrap_or(name));
    }

    /// Whether a variable stands before the next `quote`.
    fn quoted_holds_variables(&self, quote: char) -> bool {
        let rest = self.items.iter().skip(self.at + 1);
        rest.take_while(|item| !matches!(item, Item::Char(own) if *own == quote))
            .any(|item| matches!(item, Item::Variable(_)))
    }

    /// Copies `opening` characters and everything up to and with `close`, in which no variable may stand.
    fn verbatim(
        &mut self,
        opening: usize,
        close: char,
        place: &'static str,
        what: &'static str,
    ) -> Result<(), QueryError> {
        for _ in 0..opening {
            self.sql.extend(self.char_at(0));
            self.at += 1;
        }
        loop {
            match self.items.get(self.at) {
                None => return Err(QueryError::Open(what)),
                Some(Item::Variable(variable)) => return Err(in_place::<V>(variable, place)),
                Some(Item::Char(own)) => {
                    self.sql.push(*own);
                    self.at += 1;
                    // A doubled quote closes and opens again, with the same result.
                    if *own == close {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// `--`, which MySQL wants to be followed by a space or a control character.
    fn starts_dash_comment(&self) -> bool {
        let after = match self.items.get(self.at + 2) {
            Some(Item::Char(character)) => character.is_whitespace() || character.is_control(),
            Some(Item::Variable(_)) => false,
            None => true,
        };
        self.char_at(1) == Some('-') && (self.dialect != Dialect::MySql || after)
    }

    fn line_comment(&mut self) -> Result<(), QueryError> {
        while let Some(item) = self.items.get(self.at) {
            match item {
                Item::Variable(variable) => return Err(in_place::<V>(variable, "within a comment")),
                Item::Char(own) => {
                    self.sql.push(*own);
                    self.at += 1;
                    if *own == '\n' {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// `/* */`, nested in PostgreSQL only.
    fn block_comment(&mut self) -> Result<(), QueryError> {
        let mut depth = 0_u32;
        loop {
            match (self.items.get(self.at), self.char_at(1)) {
                (None, _) => return Err(QueryError::Open("a comment")),
                (Some(Item::Variable(variable)), _) => {
                    return Err(in_place::<V>(variable, "within a comment"));
                }
                (Some(Item::Char('/')), Some('*')) if depth == 0 || self.dialect == Dialect::Postgres => {
                    self.sql.push_str("/*");
                    self.at += 2;
                    depth += 1;
                }
                (Some(Item::Char('*')), Some('/')) => {
                    self.sql.push_str("*/");
                    self.at += 2;
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(Item::Char(own)), _) => {
                    self.sql.push(*own);
                    self.at += 1;
                }
            }
        }
    }

    /// `$tag$ … $tag$`, or a placeholder.
    fn dollar_quote(&mut self) -> Result<(), QueryError> {
        let opening = self.word('$');
        let length = opening.chars().count();
        if opening.chars().nth(1).is_some_and(|first| first.is_ascii_digit()) {
            return Err(QueryError::Placeholder(opening));
        }
        // `word` takes dollar signs for letters, as they are within names: cut at the second one.
        let tag: String = match opening.char_indices().skip(1).find(|(_, own)| *own == '$') {
            Some((end, _)) => opening.chars().take(end + 1).collect(),
            None => {
                self.sql.push_str(&opening);
                self.at += length;
                return Ok(());
            }
        };
        let tag: Vec<char> = tag.chars().collect();
        let mut literal = Literal::<V>::new(tag.iter().collect());
        self.at += tag.len();
        loop {
            let closes = tag.iter().enumerate().all(|(ahead, own)| self.char_at(ahead) == Some(*own));
            if closes {
                literal.source.extend(&tag);
                self.at += tag.len();
                break;
            }
            match self.items.get(self.at) {
                None => return Err(QueryError::Open("a dollar-quoted literal")),
                Some(Item::Variable(variable)) => literal.variable(variable),
                Some(Item::Char(own)) => {
                    literal.source.push(*own);
                    literal.character(*own);
                }
            }
            self.at += 1;
        }
        if literal.has_variables {
            self.parameter(literal.value);
        } else {
            self.sql.push_str(&literal.source);
        }
        Ok(())
    }
}

/// Whether a word before a quote makes another kind of literal of it.
fn is_prefix(word: &str) -> bool {
    word.starts_with('_') || ["n", "b", "x", "u&"].iter().any(|prefix| word.eq_ignore_ascii_case(prefix))
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

fn in_place<V: Named>(variable: &V, place: &'static str) -> QueryError {
    QueryError::Variable { name: variable.name().into_owned(), place }
}

fn first_variable<V: Named>(pieces: &[Piece<V>], place: &'static str) -> QueryError {
    let name = pieces.iter().find_map(|piece| match piece {
        Piece::Variable(variable) => Some(variable.name().into_owned()),
        Piece::Literal(_) => None,
    });
    QueryError::Variable { name: name.unwrap_or_default(), place }
}
