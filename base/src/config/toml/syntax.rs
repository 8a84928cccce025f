//! From text to TOML values with their places, past syntax errors, with secrets kept out of sight.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use toml_edit::{Document, Item, TableLike};

use super::{MAX_BYTES, Section, Setting};
use crate::config::nearest::nearest;
use crate::config::{Report, Source, Span};

/// Syntax errors that are looked for; each costs a reading of the whole text.
const MAX_ERRORS: usize = 20;

/// A text and the copy of it that reports cite.
#[derive(Debug)]
pub(super) struct Text {
    source: Arc<Source>,
    shown: Arc<Source>,
    line_starts: Vec<usize>,
    whole: bool,
}

impl Text {
    fn new(source: &Arc<Source>, shown: String, whole: bool) -> Self {
        let line_starts = source.lines().map(|line| line.start).collect();
        Self { source: Arc::clone(source), shown: Source::new(source.name(), shown), line_starts, whole }
    }

    /// Whether it was read to its end: no line was left out because of its syntax.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The place of these bytes, up to the end of the line that they begin in.
    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        let text = self.source.text();
        let start = text.floor_char_boundary(range.start.min(text.len()));
        let line = self.line_starts.partition_point(|first| *first <= start);
        let rest = text.get(start..).unwrap_or("");
        let line_end = start + rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end = text.floor_char_boundary(range.end.clamp(start, line_end));
        Span::new(&self.shown, u32::try_from(line).unwrap_or(u32::MAX).max(1), start, end)
    }

    /// These bytes as they are written, secrets included.
    pub(super) fn raw(&self, range: &Range<usize>) -> &str {
        self.source.text().get(range.clone()).unwrap_or("")
    }
}

/// What could be read of a text.
pub(super) struct Parsed {
    pub(super) document: Document<String>,
    pub(super) text: Arc<Text>,
}

/// Reads the text, reporting syntax errors. A line that cannot be read is left out when it stands for
/// itself; otherwise everything from there on is. `None` when there is nothing to go on with.
pub(super) fn parse(source: &Arc<Source>, sections: &[Section], report: &mut Report) -> Option<Parsed> {
    if u64::try_from(source.text().len()).unwrap_or(u64::MAX) > MAX_BYTES {
        report.error_anywhere(format!("{} is longer than {MAX_BYTES} bytes", source.name()));
        return None;
    }
    let guarded = OnceCell::new();
    let mut rest = source.text().to_owned();
    let mut whole = true;
    let mut cut = false;
    for _ in 0..MAX_ERRORS {
        let error = match Document::parse(rest.clone()) {
            Ok(document) => {
                let mut ranges = Vec::new();
                secrets(document.as_table(), top(sections), sections, &mut ranges);
                let text = Arc::new(Text::new(source, mask(source.text(), &ranges), whole));
                return Some(Parsed { document, text });
            }
            Err(error) => error,
        };
        whole = false;
        let range = error.span().unwrap_or(0..0);
        // An error at the end may come from what was cut off there.
        let end_of_text = rest.trim_end().len();
        let of_the_cut = cut && range.start >= end_of_text;
        let at = rest.floor_char_boundary(if of_the_cut { end_of_text } else { range.start.min(rest.len()) });
        let start = rest.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |feed| feed + 1);
        let end = rest.get(start..).and_then(|line| line.find('\n')).map_or(rest.len(), |feed| start + feed);
        if !of_the_cut {
            let guarded = guarded.get_or_init(|| Text::new(source, mask_lines(source, sections), false));
            complain(guarded, &range, error.message(), source.text(), start..end, report);
        }
        let line = rest.get(start..end).unwrap_or("");
        if !of_the_cut && stands_alone(line) && !within_a_list(rest.get(..start).unwrap_or("")) {
            rest.replace_range(start..end, &" ".repeat(end - start));
        } else {
            cut = true;
            rest.truncate(start);
        }
    }
    None
}

/// Words the parser's message, with help for what people write most.
fn complain(
    guarded: &Text,
    range: &Range<usize>,
    message: &str,
    text: &str,
    line: Range<usize>,
    report: &mut Report,
) {
    let line_text = text.get(line).unwrap_or("");
    let value = line_text.split_once('=').map_or("", |(_, value)| value).trim();
    let word = value.split(['#', ' ', '\t', '\r']).next().unwrap_or("");
    let span = guarded.span(range);
    let octal = word.len() > 1 && word.starts_with('0') && word.chars().all(|c| matches!(c, '0'..='7'));
    let (text, help) = if message == "duplicate key" {
        (format!("{} is set twice", span.text()), "keep one of the two".to_owned())
    } else if octal {
        (
            "a number cannot begin with 0".to_owned(),
            format!("modes are octal: write 0o{}", word.get(1..).unwrap_or("")),
        )
    } else if matches!(word, "yes" | "no" | "on" | "off" | "True" | "False" | "TRUE" | "FALSE") {
        let meant = matches!(word.to_ascii_lowercase().as_str(), "yes" | "on" | "true");
        ("that is no value".to_owned(), format!("write {meant}"))
    } else if message.starts_with("string values must be quoted") {
        (
            "a text must stand in quotes".to_owned(),
            "write \"text\" or 'text'; within '...' a backslash is a backslash".to_owned(),
        )
    } else {
        (format!("not TOML: {message}"), String::new())
    };
    let note = report.error(&span, text);
    if !help.is_empty() {
        note.help(help);
    }
}

/// Whether a line is a setting of its own, so that the others read the same without it.
fn stands_alone(line: &str) -> bool {
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    let balance = |open: &str, close: &str| value.matches(open).count() == value.matches(close).count();
    let quoted = ["\"\"\"", "'''"].iter().any(|quotes| value.contains(quotes));
    let words = |text: &str| text.split_whitespace().all(is_name);
    !name.trim().is_empty() && words(name) && !quoted && balance("[", "]") && balance("{", "}")
}

/// Whether a text ends within a list that was begun on a line before. Brackets in quotes count as well:
/// a wrong answer costs only the mistakes that follow.
fn within_a_list(before: &str) -> bool {
    let mut depth = 0_usize;
    for line in before.lines() {
        let value = match line.split_once('=') {
            _ if depth > 0 => line,
            Some((name, value)) if is_name(name.trim()) => value,
            _ => continue,
        };
        depth = (depth + value.matches('[').count()).saturating_sub(value.matches(']').count());
    }
    depth > 0
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The section without a header.
fn top(sections: &[Section]) -> Option<&Section> {
    sections.iter().find(|section| section.name.is_empty())
}

/// Collects where secrets stand in a table: values of secret kinds, and of names that are not known.
fn secrets(
    table: &dyn TableLike,
    section: Option<&Section>,
    sections: &[Section],
    ranges: &mut Vec<Range<usize>>,
) {
    for (name, item) in table.iter() {
        let below = section
            .filter(|section| section.name.is_empty())
            .and_then(|_top| sections.iter().find(|below| below.name == name && !name.is_empty()));
        let setting = section.and_then(|section| section.setting(name));
        match (below, setting) {
            (Some(below), _) => each_table(item, &mut |table| secrets(table, Some(below), sections, ranges)),
            (None, Some(setting)) if !setting.kind.is_secret() => {}
            _ => values(item, ranges),
        }
    }
}

/// Calls `each` with the table, or the tables, that an item is.
pub(super) fn each_table(item: &Item, each: &mut dyn FnMut(&dyn TableLike)) {
    if let Some(table) = item.as_table_like() {
        each(table);
    } else if let Some(tables) = item.as_array_of_tables() {
        tables.iter().for_each(|table| each(table));
    } else if let Some(array) = item.as_array() {
        array.iter().filter_map(|value| value.as_inline_table()).for_each(|table| each(table));
    }
}

/// Collects the places of all values in an item. The depth is bounded by the parser.
fn values(item: &Item, ranges: &mut Vec<Range<usize>>) {
    if let Some(value) = item.as_value() {
        ranges.extend(value.span());
    }
    each_table(item, &mut |table| {
        for (_, item) in table.iter() {
            values(item, ranges);
        }
    });
}

/// The text with stars for these bytes, byte for byte, so that places stay where they are.
fn mask(text: &str, ranges: &[Range<usize>]) -> String {
    let mut hidden = vec![false; text.len()];
    for range in ranges {
        hidden.iter_mut().take(range.end).skip(range.start).for_each(|byte| *byte = true);
    }
    let mut masked = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if hidden.get(at).copied().unwrap_or(false) && !c.is_whitespace() {
            masked.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            masked.push(c);
        }
    }
    masked
}

/// The text of which nobody knows yet what its values are, with stars for all that could be a secret:
/// only headers and settings that are known to hold none stay.
fn mask_lines(source: &Source, sections: &[Section]) -> String {
    let settings = || sections.iter().flat_map(|section| section.settings.iter());
    let harmless = |name: &str| {
        let mut found = settings().filter(|setting: &&Setting| setting.name == name).peekable();
        found.peek().is_some() && found.all(|setting| !setting.kind.is_secret())
    };
    let resembles_one = |name: &str| {
        nearest(name, settings().map(|setting| setting.name)).is_some()
            || nearest(name, sections.iter().map(|section| section.name)).is_some()
    };
    let mut ranges = Vec::new();
    let mut comparisons = 0;
    for line in source.lines() {
        let text = line.text.trim_start();
        let indent = line.text.len() - text.len();
        let end = line.start + line.text.len();
        let word = text.split([' ', '\t', '=', '\r']).next().unwrap_or("");
        let header = text.split('#').next().unwrap_or("");
        let is_header = text.starts_with('[')
            && header.trim().chars().all(|c| is_name(c.encode_utf8(&mut [0; 4])) || matches!(c, '[' | ']'));
        let shown = if is_header {
            header.len()
        } else if harmless(word) && !text.contains('{') {
            text.len()
        } else if is_name(word) && word.len() < MAX_SHOWN_NAME && comparisons < MAX_COMPARISONS {
            comparisons += 1;
            if !resembles_one(word) {
                ranges.push(line.start + indent..end);
                continue;
            }
            text.find('=').map_or(word.len(), |equals| equals + 1)
        } else {
            0
        };
        ranges.push(line.start + indent + shown..end);
    }
    mask(source.text(), &ranges)
}

/// Lines whose first words are compared with all names; each costs some microseconds.
const MAX_COMPARISONS: usize = 2000;

/// Longer words are no names of settings.
const MAX_SHOWN_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::super::{Fallback, Kind};
    use super::*;

    const TABLE: [Section; 2] = [
        Section {
            name: "",
            repeated: false,
            selector: None,
            doc: "",
            settings: &[
                Setting { name: "user", kind: Kind::Text, default: Fallback::None, only: &[], doc: "" },
                Setting { name: "mode", kind: Kind::Mode, default: Fallback::None, only: &[], doc: "" },
            ],
        },
        Section {
            name: "passdb",
            repeated: true,
            selector: None,
            doc: "",
            settings: &[Setting {
                name: "password",
                kind: Kind::Secret,
                default: Fallback::None,
                only: &[],
                doc: "",
            }],
        },
    ];

    fn complaints(text: &str) -> (String, Option<bool>) {
        let mut report = Report::new();
        let parsed = parse(&Source::new("f", text), &TABLE, &mut report);
        (report.to_string(), parsed.map(|parsed| parsed.text.is_whole()))
    }

    #[test]
    fn several_mistakes_are_found_in_one_reading() {
        let (found, whole) = complaints("user = vmail\nmode = 0660\nuser = \"a\"\nuser = \"b\"\n");
        assert_eq!(whole, Some(false));
        let firsts: Vec<_> = found.lines().filter(|line| line.starts_with("f:")).collect();
        assert_eq!(
            firsts,
            [
                "f:1:8: error: a text must stand in quotes",
                "f:2:8: error: a number cannot begin with 0",
                "f:4:1: error: user is set twice"
            ]
        );
    }

    #[test]
    fn no_secret_is_shown_even_when_the_text_cannot_be_read() {
        for text in [
            "[[passdb]]\npassword = \"opensesame",
            "[[passdb]]\npassword = opensesame",
            "[[passdb]]\npassword \"opensesame\"",
            "[[passdb]]\npasword = opensesame x",
            "[[passdb]]\npassword = \"\"\"\nopensesame\nopensesame==\n",
            "passdb = [ { password = \"opensesame\" x } ]",
            "user = { a = \"opensesame\", b }",
            "[[passdb]]\npassword = [\n\"opensesame\",\n\"opensesame\" x\n]",
            "[[passdb]]\n# opensesame \u{7}",
        ] {
            let (found, _) = complaints(text);
            assert!(found.contains("error:"), "{text}");
            assert!(!found.contains("opensesame"), "{text}:\n{found}");
        }
    }

    #[test]
    fn places_stay_where_they_are_in_the_masked_text() {
        let source = Source::new("f", "passdb = [{ password = \"öpen\", x = 1 }]\n");
        let parsed = parse(&source, &TABLE, &mut Report::new()).unwrap();
        let at = source.text().find("x = 1").unwrap();
        let span = parsed.text.span(&(at..at + 1));
        assert_eq!(span.text(), "x");
        assert!(!span.line_text().contains("pen"), "{}", span.line_text());
    }

    #[test]
    fn deep_nesting_and_long_texts_are_refused() {
        let (found, _) = complaints(&format!("user = {}", "[".repeat(100_000)));
        assert!(found.contains("error:"), "{found}");
        let (found, whole) = complaints(&" ".repeat(1 + usize::try_from(MAX_BYTES).unwrap()));
        assert_eq!((found.as_str(), whole), ("error: f is longer than 1048576 bytes\n", None));
    }
}
