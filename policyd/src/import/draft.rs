//! The configuration that comes out: sections that can be turned into comments, as TOML.

use base::config::{Severity, Source};

use crate::config;

/// Rounds of loading and turning into comments; each turns off one section.
const MAX_ROUNDS: usize = 200;

/// One section, or the lines before the first.
#[derive(Debug, Default, Clone)]
pub(super) struct Section {
    header: &'static str,
    notes: Vec<String>,
    lines: Vec<String>,
    off: bool,
}

impl Section {
    pub(super) fn new(header: &'static str) -> Self {
        Self { header, ..Self::default() }
    }

    /// Adds `name = "text"`.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.lines.push(format!("{name} = {}", quoted(text)));
    }

    /// Adds `name = ["text", ...]`.
    pub(super) fn texts<T: AsRef<str>>(&mut self, name: &str, texts: &[T]) {
        let all: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
        self.lines.push(format!("{name} = [{}]", all.join(", ")));
    }

    /// Adds `name = value` as it is.
    pub(super) fn raw(&mut self, name: &str, value: &str) {
        self.lines.push(format!("{name} = {value}"));
    }

    /// Adds a comment above.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Draft {
    notes: Vec<String>,
    sections: Vec<Section>,
}

impl Draft {
    /// Of which program's configuration it is made.
    pub(super) fn new(program: &str) -> Self {
        let first = format!("Made from the configuration of {program} by postrider-policyd import.");
        Self { notes: vec![first], sections: Vec::new() }
    }

    /// Adds a comment at the top.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(super) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The text, of which every section that [`config::load`] would refuse is a comment.
    pub(super) fn finish(mut self) -> String {
        for _ in 0..MAX_ROUNDS {
            let top = |one: &Section| one.header.is_empty() && !one.off;
            if !self.sections.iter().any(top) {
                let mut section = Section::new("");
                section
                    .note("No place to listen at could be carried over. This one is the packaged service's.");
                section.texts("listen", &["unix:/var/spool/postfix/postrider/policyd"]);
                self.sections.push(section);
            }
            let (text, origins) = self.write();
            let loaded = config::load(&Source::new("imported", text.as_str()));
            let mut errors = loaded.report.notes().iter().filter(|note| note.severity() == Severity::Error);
            let Some(error) = errors.next() else { return text };
            let line = error.span().and_then(|span| usize::try_from(span.line()).ok()?.checked_sub(1));
            let section = line.and_then(|line| *origins.get(line)?);
            let Some(section) = section.and_then(|at| self.sections.get_mut(at)).filter(|one| !one.off)
            else {
                self.notes.push(format!("ATTENTION: {}", error.text()));
                break;
            };
            section.off = true;
            section.notes.push(format!("Not carried over: {}", error.text()));
        }
        self.write().0
    }

    /// The text, and for each of its lines which section it comes from.
    fn write(&self) -> (String, Vec<Option<usize>>) {
        let mut page = Page::default();
        for note in &self.notes {
            page.comment(note);
        }
        let top = |section: &Section| section.header.is_empty();
        let all = || self.sections.iter().enumerate();
        for (at, section) in all().filter(|(_, one)| top(one)).chain(all().filter(|(_, one)| !top(one))) {
            page.line("", None);
            for note in &section.notes {
                page.comment(note);
            }
            let prefix = if section.off { "# " } else { "" };
            if !section.header.is_empty() {
                page.line(&format!("{prefix}{}", section.header), Some(at));
            }
            for line in &section.lines {
                page.line(&format!("{prefix}{line}"), Some(at));
            }
        }
        (page.text, page.origins)
    }
}

#[derive(Default)]
struct Page {
    text: String,
    origins: Vec<Option<usize>>,
}

impl Page {
    fn line(&mut self, text: &str, origin: Option<usize>) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.push(origin);
    }

    /// A comment of lines that are not too long; a line feed in it begins a new one. Control characters are
    /// not allowed in TOML.
    fn comment(&mut self, text: &str) {
        for part in text.split('\n') {
            let mut line = String::from("#");
            for word in
                part.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
            {
                if line.chars().count() + word.chars().count() > 99 && line != "#" {
                    self.line(&line, None);
                    line = String::from("#");
                }
                line.push(' ');
                line.push_str(word);
            }
            self.line(&line, None);
        }
    }
}

/// A text in TOML's basic quotes, or in literal ones where that spares escapes.
fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) && !text.contains('\'') && !text.contains(char::is_control) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
