//! Dovecot's configuration as a tree: settings and blocks, in both syntaxes.

/// Blocks within blocks that are followed.
const MAX_DEPTH: usize = 32;

/// A block `kind name { ... }`; the whole text is one without kind and name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Block {
    kind: String,
    name: String,
    settings: Vec<(String, String)>,
    blocks: Vec<Self>,
}

impl Block {
    /// The first word before the brace.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// What stands between the first word and the brace; often empty.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The last value of a setting.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// All settings in order.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// All blocks in order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Self> {
        self.blocks.iter()
    }

    /// The first block of a kind.
    pub(super) fn block(&self, kind: &str) -> Option<&Self> {
        self.blocks.iter().find(|block| block.kind == kind)
    }
}

/// Reads a text. Nothing is refused: lines that mean nothing are left out, and a block that is not
/// closed ends with the text.
pub(super) fn parse(text: &str) -> Block {
    let mut open = vec![Block::default()];
    let mut too_deep = 0_usize;
    for line in logical_lines(text) {
        let line = without_comment(&line);
        if line == "}" {
            if too_deep > 0 {
                too_deep -= 1;
            } else if open.len() > 1 {
                close(&mut open);
            }
        } else if let Some(head) = line.strip_suffix('{').filter(|head| !is_setting(head)) {
            let mut words = head.trim().splitn(2, char::is_whitespace);
            let kind = words.next().unwrap_or("").to_owned();
            let name = unquoted(words.next().unwrap_or("").trim());
            if open.len() > MAX_DEPTH || too_deep > 0 {
                too_deep += 1;
            } else {
                open.push(Block { kind, name, ..Block::default() });
            }
        } else if let Some((key, value)) = line.split_once('=')
            && too_deep == 0
            && let Some(block) = open.last_mut()
        {
            block.settings.push((key.trim().to_owned(), unquoted(value.trim())));
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().unwrap_or_default()
}

/// Whether `text` is `key = value`, whose value happens to end in a brace.
fn is_setting(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty() && !key.trim().contains(' '))
}

/// Puts the innermost block into the one around it.
fn close(open: &mut Vec<Block>) {
    if let Some(block) = open.pop()
        && let Some(around) = open.last_mut()
    {
        around.blocks.push(block);
    }
}

/// Lines, of which those that end in a backslash go on in the next one.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let continued = trimmed.strip_suffix('\\').filter(|_| !trimmed.starts_with('#'));
        let part = continued.unwrap_or(trimmed).trim();
        let whole = match pending.take() {
            Some(before) if part.is_empty() => before,
            Some(before) => format!("{before} {part}"),
            None => part.to_owned(),
        };
        if continued.is_some() {
            pending = Some(whole);
        } else {
            lines.push(whole);
        }
    }
    lines.extend(pending);
    lines
}

/// A line up to its comment: a `#` at its beginning or after a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return line.get(..at).unwrap_or("").trim_end(),
            // A quote within a word is a part of the word.
            (None, '"' | '\'') if before.is_whitespace() || before == '=' => quote = Some(c),
            (Some(open), _) if c == open && before != '\\' => quote = None,
            _ => {}
        }
        before = c;
    }
    line.trim()
}

/// A value without its quotes. In double quotes a backslash makes the next character stand for itself.
fn unquoted(value: &str) -> String {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    if let Some(inner) = inner('"') {
        let mut text = String::with_capacity(inner.len());
        let mut escaped = false;
        for c in inner.chars() {
            if c == '\\' && !escaped {
                escaped = true;
            } else {
                text.push(c);
                escaped = false;
            }
        }
        return text;
    }
    inner('\'').unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_settings_are_read() {
        let root = parse(
            "# 2.3.19.1\nauth_mechanisms = plain login  # two\npassdb {\n  args = \"a # b\"\n  driver = pam\n}\n\
             service auth {\n unix_listener /run/a {\n  mode = 0660\n }\n}\nquery = SELECT \\\n  1 \\\n FROM t\n",
        );
        assert_eq!(root.value("auth_mechanisms"), Some("plain login"));
        assert_eq!(root.block("passdb").unwrap().value("args"), Some("a # b"));
        let service = root.block("service").unwrap();
        assert_eq!(service.name(), "auth");
        assert_eq!(service.block("unix_listener").unwrap().name(), "/run/a");
        assert_eq!(root.value("query"), Some("SELECT 1 FROM t"));
    }

    #[test]
    fn quotes_and_comments_are_told_apart() {
        for (line, want) in [
            ("k = a#b", "a#b"),
            ("k = a # b", "a"),
            ("k = \"x \\\" # y\"", "x \" # y"),
            ("k = 'x # y' # z", "x # y"),
            ("k = SELECT 'a' WHERE n = '%u' # c", "SELECT 'a' WHERE n = '%u'"),
            ("k = (x={", "(x={"),
        ] {
            assert_eq!(parse(line).value("k"), Some(want), "{line}");
        }
    }

    #[test]
    fn broken_texts_are_read_as_far_as_they_go() {
        assert_eq!(parse("}\n}\na = 1\n").value("a"), Some("1"));
        assert_eq!(parse("x {\na = 1\n").block("x").unwrap().value("a"), Some("1"));
        let deep = parse(&format!("{}{}a = 1", "x {\n".repeat(100_000), "}\n".repeat(100_000)));
        assert_eq!(deep.value("a"), Some("1"));
    }
}
