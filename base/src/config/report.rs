//! Collects mistakes and warnings about configuration and prints them all at once.

use std::fmt::{self, Write as _};

use super::span::Span;

/// How bad a [`Note`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Info,
    /// Probably not what the admin wants; the configuration is used all the same.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Info => "\x1b[1;36m",
            Self::Warning => "\x1b[1;33m",
            Self::Error => "\x1b[1;31m",
        }
    }
}

/// One thing to say about the configuration.
#[derive(Clone, Debug)]
pub struct Note {
    severity: Severity,
    span: Option<Span>,
    text: String,
    help: Option<String>,
}

impl Note {
    /// Adds what to write or do instead.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Where it is, when it stands in a text.
    #[must_use]
    pub fn span(&self) -> Option<&Span> {
        self.span.as_ref()
    }

    /// The sentence, unescaped; print it through [`Note::one_line`] or the report.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The note in one line, for a log: `file:line:col: text (help)`, escaped and cut.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut line = String::new();
        if let Some(span) = &self.span {
            line = format!("{}:{}:{}: ", printable(span.source().name()), span.line(), span.column());
        }
        line.push_str(&printable(&self.text));
        if let Some(help) = &self.help {
            line.push_str(" (");
            line.push_str(&printable(help));
            line.push(')');
        }
        line
    }
}

/// All notes of one reading of the configuration, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Report {
    notes: Vec<Note>,
    errors: usize,
    warnings: usize,
    overflow: Option<Box<Note>>,
}

impl Report {
    /// The number of notes that are kept; further ones are only counted.
    pub const MAX_NOTES: usize = 500;

    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a mistake at a place.
    pub fn error(&mut self, span: &Span, text: impl Into<String>) -> &mut Note {
        self.note(Severity::Error, Some(span.clone()), text.into())
    }

    /// Records a mistake that stands nowhere in a text.
    pub fn error_anywhere(&mut self, text: impl Into<String>) -> &mut Note {
        self.note(Severity::Error, None, text.into())
    }

    /// Records a warning at a place.
    pub fn warning(&mut self, span: &Span, text: impl Into<String>) -> &mut Note {
        self.note(Severity::Warning, Some(span.clone()), text.into())
    }

    /// Records a warning that stands nowhere in a text.
    pub fn warning_anywhere(&mut self, text: impl Into<String>) -> &mut Note {
        self.note(Severity::Warning, None, text.into())
    }

    /// Records something worth knowing at a place.
    pub fn info(&mut self, span: &Span, text: impl Into<String>) -> &mut Note {
        self.note(Severity::Info, Some(span.clone()), text.into())
    }

    /// Whether there is any mistake.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The number of mistakes, also of those that were not kept.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// The number of warnings, also of those that were not kept.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// The notes that were kept, in the order they were made.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Appends all notes of another report.
    pub fn append(&mut self, other: Self) {
        let kept_errors = other.notes.iter().filter(|note| note.severity == Severity::Error).count();
        let kept_warnings = other.notes.iter().filter(|note| note.severity == Severity::Warning).count();
        for note in other.notes {
            let made = self.note(note.severity, note.span, note.text);
            made.help = note.help;
        }
        self.errors += other.errors.saturating_sub(kept_errors);
        self.warnings += other.warnings.saturating_sub(kept_warnings);
    }

    /// Puts the notes of each text in the order of its lines; the texts stay in the order in which
    /// they were first complained about, and what stands nowhere comes last.
    pub fn sort_by_place(&mut self) {
        let mut names: Vec<String> = Vec::new();
        for span in self.notes.iter().filter_map(Note::span) {
            if !names.iter().any(|name| name == span.source().name()) {
                names.push(span.source().name().to_owned());
            }
        }
        self.notes.sort_by_cached_key(|note| match &note.span {
            Some(span) => {
                let source = names.iter().position(|name| name == span.source().name());
                (source.unwrap_or(usize::MAX), span.line(), span.start_offset())
            }
            None => (usize::MAX, u32::MAX, usize::MAX),
        });
    }

    /// The report as text, with terminal colours when `colour` says so. Ends with a line feed
    /// unless it is empty.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for note in &self.notes {
            render_note(&mut out, note, colour);
        }
        let kept = |severity| self.notes.iter().filter(|note| note.severity == severity).count();
        let errors = self.errors.saturating_sub(kept(Severity::Error));
        let warnings = self.warnings.saturating_sub(kept(Severity::Warning));
        if errors + warnings > 0 {
            push_line(&mut out, &format!("and {errors} more errors, {warnings} more warnings"));
        }
        out
    }

    fn note(&mut self, severity: Severity, span: Option<Span>, text: String) -> &mut Note {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Info => {}
        }
        let note = Note { severity, span, text, help: None };
        // A mistake must be seen even when warnings have filled the report.
        if self.notes.len() >= Self::MAX_NOTES
            && severity == Severity::Error
            && let Some(at) = self.notes.iter().rposition(|note| note.severity != Severity::Error)
        {
            self.notes.remove(at);
        }
        if self.notes.len() < Self::MAX_NOTES {
            self.notes.push_mut(note)
        } else {
            self.overflow.insert(Box::new(note))
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// Text that came from outside, fit for a terminal or a log: control characters and such that
/// change the direction of writing are escaped, and what is longer than 300 characters is cut.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for (count, c) in text.chars().enumerate() {
        if count == MAX_TEXT {
            out.push('…');
            break;
        }
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Whether a character neither controls a terminal nor hides or reorders other characters.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn render_note(out: &mut String, note: &Note, colour: bool) {
    let (strong, plain) = if colour { (note.severity.colour(), "\x1b[0m") } else { ("", "") };
    let mut head = String::new();
    if let Some(span) = &note.span {
        head = format!("{}:{}:{}: ", printable(span.source().name()), span.line(), span.column());
    }
    push_line(out, &format!("{head}{strong}{}:{plain} {}", note.severity.word(), printable(&note.text)));
    if let Some(span) = &note.span {
        let (line, mark) = cite(span);
        push_line(out, &format!("  {line}"));
        push_line(out, &format!("  {strong}{mark}{plain}"));
    }
    if let Some(help) = &note.help {
        push_line(out, &format!("  help: {}", printable(help)));
    }
}

/// The line of a place as it is shown, and the line with the mark below it. Every character of
/// the source takes one column, so that the mark stands right whatever the line contains.
fn cite(span: &Span) -> (String, String) {
    let first = span.column().saturating_sub(1);
    let marked = span.text().chars().count().max(1);
    let from = if first > MAX_LINE / 2 { first - MAX_LINE / 4 } else { 0 };
    let end = if span.is_private() { first + marked } else { usize::MAX };
    let all = span.line_text().chars().count();
    let shown_end = all.min(end).min(from + MAX_LINE);

    let mut line = String::new();
    let lead = if from > 0 { "…" } else { "" };
    line.push_str(lead);
    for c in span.line_text().chars().take(shown_end).skip(from) {
        line.push(match c {
            '\t' => ' ',
            c if is_harmless(c) => c,
            _ => '?',
        });
    }
    if shown_end < all {
        line.push('…');
    }
    let mut mark = " ".repeat(lead.chars().count() + (first - from));
    mark.push('^');
    mark.push_str(&"~".repeat(marked.min(shown_end.saturating_sub(first)).saturating_sub(1)));
    (line.trim_end().to_owned(), mark)
}

fn push_line(out: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(out, "{line}");
}

const MAX_TEXT: usize = 300;
const MAX_LINE: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::span::Source;

    fn at(text: &str, word: &str) -> Span {
        let source = Source::new("opendkim.conf", text);
        let start = text.find(word).unwrap();
        let line = u32::try_from(text.get(..start).unwrap().matches('\n').count()).unwrap() + 1;
        Span::new(&source, line, start, start + word.len())
    }

    #[test]
    fn a_note_cites_the_line_and_marks_the_place() {
        let mut report = Report::new();
        report.error(&at("# -\nMode\tsx\n", "x\n").part(0, 1), "unknown mode 'x'").help("write s, v or sv");
        assert_eq!(
            report.to_string(),
            "opendkim.conf:2:7: error: unknown mode 'x'\n  Mode sx\n        ^\n  help: write s, v or sv\n"
        );
        assert!(report.has_errors());
    }

    #[test]
    fn all_notes_are_printed_in_order() {
        let mut report = Report::new();
        report.warning(&at("Mode sv", "sv"), "first");
        report.error_anywhere("second");
        report.info(&at("Mode sv", "Mode"), "third");
        assert_eq!(
            report.to_string(),
            "opendkim.conf:1:6: warning: first\n  Mode sv\n       ^~\nerror: second\n\
             opendkim.conf:1:1: info: third\n  Mode sv\n  ^~~~\n"
        );
        assert_eq!((report.errors(), report.warnings()), (1, 1));
    }

    #[test]
    fn notes_can_be_put_in_the_order_of_the_lines() {
        let text = "a\nb\nc";
        let other = Source::new("other", "x");
        let mut report = Report::new();
        report.error_anywhere("nowhere");
        report.error(&at(text, "c"), "c");
        report.error(&Span::new(&other, 1, 0, 1), "x");
        report.error(&at(text, "a"), "a");
        report.sort_by_place();
        let texts: Vec<_> = report.notes().iter().map(Note::text).collect();
        assert_eq!(texts, ["a", "c", "x", "nowhere"]);
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}HERE{}", "a".repeat(1000), "b".repeat(1000));
        let mut report = Report::new();
        report.error(&at(&text, "HERE"), "x");
        let printed = report.to_string();
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[1].chars().count() < 170);
        let column = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().skip(column).take(4).collect::<String>(), "HERE");
        assert!(lines[2].ends_with("^~~~"));
    }

    #[test]
    fn what_could_harm_a_terminal_is_escaped() {
        let mut report = Report::new();
        report.error(&at("Mode \x1b[2Js\u{202e}", "Mode"), "bad \x1b[2J\n");
        let printed = report.to_string();
        assert!(!printed.contains('\x1b') && !printed.contains('\u{202e}'), "{printed:?}");
        assert!(printed.starts_with("opendkim.conf:1:1: error: bad \\u{1b}[2J\\n\n"), "{printed:?}");
        assert_eq!(printable(&"x".repeat(1000)).chars().count(), 301);
    }

    #[test]
    fn what_follows_a_private_place_is_not_shown() {
        let mut report = Report::new();
        report.error(&at("KeyTable csl:a=b:c:KEYDATA", "csl:").into_private(), "x");
        assert!(!report.to_string().contains("KEYDATA"));
        assert!(report.to_string().contains("KeyTable csl:…"));
    }

    #[test]
    fn colour_is_asked_for() {
        let mut report = Report::new();
        report.error_anywhere("x");
        assert!(report.render(true).contains("\x1b[1;31merror:\x1b[0m x"));
        assert!(!report.render(false).contains('\x1b'));
    }

    #[test]
    fn a_full_report_still_counts_and_still_shows_errors() {
        let mut report = Report::new();
        for _ in 0..Report::MAX_NOTES + 10 {
            report.warning_anywhere("w");
        }
        report.error_anywhere("the one that matters");
        assert_eq!(report.notes().len(), Report::MAX_NOTES);
        assert_eq!((report.errors(), report.warnings()), (1, Report::MAX_NOTES + 10));
        let printed = report.to_string();
        assert!(printed.contains("the one that matters"));
        assert!(printed.ends_with("and 0 more errors, 11 more warnings\n"), "{printed}");

        let mut whole = Report::new();
        whole.append(report);
        assert_eq!((whole.errors(), whole.warnings()), (1, Report::MAX_NOTES + 10));
    }
}
