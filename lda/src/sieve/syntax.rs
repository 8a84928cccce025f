//! Sieve's grammar (RFC 5228 §8): bytes of a script in, a tree of commands and tests out, with line numbers.

mod lexer;

use self::lexer::{Lexer, Token, TokenKind};

/// How deep blocks, tests and lists of tests may lie within each other (Pigeonhole: 32).
pub const MAX_DEPTH: usize = 32;

/// A command or a test, with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name in lower case.
    pub name: String,
    /// The line it stands in, from 1.
    pub line: usize,
    /// Tags, strings, lists and numbers, in the order of the script.
    pub arguments: Vec<Argument>,
    /// The tests given to it: one (`if`, `not`) or several in parentheses (`anyof`).
    pub tests: Vec<Self>,
    /// Whether the tests stood in parentheses.
    pub test_list: bool,
    /// The commands in its braces.
    pub block: Option<Vec<Self>>,
}

/// One argument and the line it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What it is.
    pub value: Value,
    /// The line, from 1.
    pub line: usize,
}

/// The kinds of arguments (RFC 5228 §2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `:tag`, without the colon, in lower case.
    Tag(String),
    /// A number, its K, M or G applied.
    Number(u64),
    /// A string, quotes and dots undone, its line ends CRLF.
    Text(String),
    /// Strings in brackets.
    List(Vec<String>),
}

impl Value {
    /// A list of one string as the string.
    #[must_use]
    pub fn single(self) -> Self {
        match self {
            Self::List(mut list) if list.len() == 1 => Self::Text(list.pop().unwrap_or_default()),
            other => other,
        }
    }

    /// What Pigeonhole's messages call it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tag(_) => "a tag",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a string list",
        }
    }
}

/// A mistake in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, in Pigeonhole's words where it has some.
    pub text: String,
}

impl Mistake {
    /// A mistake in a line.
    pub fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

/// Reads a whole script.
///
/// # Errors
/// The first place where the text is not Sieve; one mistake, since what follows it has no certain meaning.
pub fn parse(script: &[u8]) -> Result<Vec<Node>, Mistake> {
    let script = script.strip_prefix(b"\xef\xbb\xbf").unwrap_or(script);
    let mut parser = Parser { lexer: Lexer::new(script), next: None };
    let commands = parser.commands(0)?;
    let end = parser.take()?;
    if end.kind == TokenKind::End {
        Ok(commands)
    } else {
        Err(Mistake::new(
            end.line,
            format!("unexpected {} found at (the presumed) end of file.", end.kind.name()),
        ))
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Option<Token>,
}

impl Parser<'_> {
    fn take(&mut self) -> Result<Token, Mistake> {
        match self.next.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Result<&Token, Mistake> {
        let token = self.take()?;
        Ok(self.next.insert(token))
    }

    fn skip_if(&mut self, kind: &TokenKind) -> Result<bool, Mistake> {
        if self.peek()?.kind == *kind {
            self.next = None;
            Ok(true)
        } else {
            Ok(false)
        }
    }

    fn commands(&mut self, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut commands = Vec::new();
        loop {
            if !matches!(self.peek()?.kind, TokenKind::Identifier(_)) {
                return Ok(commands);
            }
            let mut command = self.node(depth)?;
            let end = self.take()?;
            match end.kind {
                TokenKind::Semicolon => {}
                TokenKind::OpenBrace => {
                    if depth >= MAX_DEPTH {
                        return Err(Mistake::new(
                            end.line,
                            format!("cannot nest command blocks deeper than {MAX_DEPTH} levels."),
                        ));
                    }
                    let block = self.commands(depth + 1)?;
                    let close = self.take()?;
                    if close.kind != TokenKind::CloseBrace {
                        return Err(Mistake::new(
                            close.line,
                            format!("expected end of command block '}}', but found {}.", close.kind.name()),
                        ));
                    }
                    command.block = Some(block);
                }
                other => {
                    return Err(Mistake::new(
                        end.line,
                        format!(
                            "expected end of command ';' or the beginning of a compound block '{{', but found {}.",
                            other.name()
                        ),
                    ));
                }
            }
            commands.push(command);
        }
    }

    /// An identifier, its arguments and its tests.
    fn node(&mut self, depth: usize) -> Result<Node, Mistake> {
        let token = self.take()?;
        let TokenKind::Identifier(name) = token.kind else {
            return Err(Mistake::new(
                token.line,
                format!("expecting a test, but found {}.", token.kind.name()),
            ));
        };
        let mut node = Node {
            name,
            line: token.line,
            arguments: self.arguments()?,
            tests: Vec::new(),
            test_list: false,
            block: None,
        };
        match self.peek()?.kind {
            TokenKind::Identifier(_) | TokenKind::OpenParenthesis if depth >= MAX_DEPTH => {
                return Err(Mistake::new(
                    node.line,
                    format!("cannot nest tests deeper than {MAX_DEPTH} levels."),
                ));
            }
            TokenKind::Identifier(_) => node.tests.push(self.node(depth + 1)?),
            TokenKind::OpenParenthesis => {
                self.next = None;
                node.test_list = true;
                loop {
                    node.tests.push(self.node(depth + 1)?);
                    if self.skip_if(&TokenKind::Comma)? {
                        continue;
                    }
                    let close = self.take()?;
                    if close.kind == TokenKind::CloseParenthesis {
                        break;
                    }
                    return Err(Mistake::new(
                        close.line,
                        format!("expecting ',' or end of test list ')', but found {}.", close.kind.name()),
                    ));
                }
            }
            _ => {}
        }
        Ok(node)
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, Mistake> {
        let mut arguments = Vec::new();
        loop {
            let line = self.peek()?.line;
            let value = match self.peek()?.kind {
                TokenKind::OpenBracket => {
                    self.next = None;
                    Value::List(self.list()?)
                }
                TokenKind::Tag(_) | TokenKind::Number(_) | TokenKind::Text(_) => match self.take()?.kind {
                    TokenKind::Tag(tag) => Value::Tag(tag),
                    TokenKind::Number(number) => Value::Number(number),
                    TokenKind::Text(text) => Value::Text(text),
                    _ => return Ok(arguments),
                },
                _ => return Ok(arguments),
            };
            arguments.push(Argument { value, line });
        }
    }

    fn list(&mut self) -> Result<Vec<String>, Mistake> {
        let mut list = Vec::new();
        loop {
            let item = self.take()?;
            match item.kind {
                TokenKind::Text(text) => list.push(text),
                other => {
                    return Err(Mistake::new(
                        item.line,
                        format!("expecting string after ',' in string list, but found {}.", other.name()),
                    ));
                }
            }
            let separator = self.take()?;
            match separator.kind {
                TokenKind::Comma => {}
                TokenKind::CloseBracket => return Ok(list),
                other => {
                    return Err(Mistake::new(
                        separator.line,
                        format!("expecting ',' or end of string list ']', but found {}.", other.name()),
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(script: &str) -> Node {
        let mut commands = parse(script.as_bytes()).unwrap();
        assert_eq!(commands.len(), 1, "{script}");
        commands.remove(0)
    }

    #[test]
    fn arguments_keep_their_kinds_and_lines() {
        let node = one("Fileinto :FLAGS [\"a\", \"b\"]\n  10K text: # note\r\n..x\ny\r\n.\n;");
        assert_eq!(node.name, "fileinto");
        let values: Vec<_> = node.arguments.iter().map(|a| a.value.clone()).collect();
        assert_eq!(
            values,
            [
                Value::Tag("flags".into()),
                Value::List(vec!["a".into(), "b".into()]),
                Value::Number(10 * 1024),
                Value::Text(".x\r\ny\r\n".into()),
            ]
        );
        assert_eq!(node.arguments[2].line, 2);
    }

    #[test]
    fn tests_lie_within_tests() {
        let node = one("if anyof(not true, header \"a\" \"b\") { stop; keep; }");
        assert_eq!(node.tests[0].tests.len(), 2);
        assert!(node.tests[0].test_list);
        assert_eq!(node.tests[0].tests[0].tests[0].name, "true");
        assert_eq!(node.block.unwrap().len(), 2);
    }

    #[test]
    fn strings_are_undone() {
        for (script, text) in [
            ("a \"x\\\"y\\\\z\\q\";", "x\"y\\zq"),
            ("a \"x\ny\";", "x\r\ny"),
            ("a \"x\r\ny\";", "x\r\ny"),
            ("/* c */ a /* d */ \"\" # e\n;", ""),
        ] {
            assert_eq!(one(script).arguments[0].value, Value::Text(text.into()));
        }
    }

    #[test]
    fn mistakes_say_line_and_what_was_expected() {
        for (script, line, text) in [
            ("keep", 1, "expected end of command ';'"),
            ("keep;\n@", 2, "unexpected character(s) starting with '@'"),
            ("a \"b", 1, "end of file before end of quoted string started at line 1"),
            ("a text:\nb", 2, "end of file before end of multi-line string"),
            ("/* a", 1, "end of file before end of bracket comment"),
            ("if true {\n keep;", 2, "expected end of command block '}'"),
            ("a [\"b\" \"c\"];", 1, "expecting ',' or end of string list ']', but found string"),
            ("a [];", 1, "expecting string"),
            ("a 99999999999999999999;", 1, "number exceeds integer limits"),
            ("a 9999999999999999999G;", 1, "number exceeds integer limits"),
            ("keep;;", 1, "unexpected ';' found at (the presumed) end of file"),
            ("a \"\u{fffd}\0\";", 1, "NUL"),
            ("if anyof(true { stop; }", 1, "expecting ',' or end of test list ')', but found '{'"),
        ] {
            let mistake = parse(script.as_bytes()).unwrap_err();
            assert!(mistake.text.contains(text), "{script}: {mistake:?}");
            assert_eq!(mistake.line, line, "{script}: {mistake:?}");
        }
        assert!(parse(b"a \"\xff\";").unwrap_err().text.contains("UTF-8"));
    }

    #[test]
    fn depth_is_bounded() {
        for (open, close) in [("if true {", "}"), ("if not ", "")] {
            let deep = format!("{}true{}", open.repeat(4000), close.repeat(4000));
            assert!(parse(deep.as_bytes()).is_err());
        }
        let tests = format!("if {}true {{ stop; }}", "not ".repeat(4000));
        assert!(parse(tests.as_bytes()).unwrap_err().text.contains("deeper"));
        let fine = format!("if {}true {{ stop; }}", "not ".repeat(20));
        assert!(parse(fine.as_bytes()).is_ok());
    }
}
