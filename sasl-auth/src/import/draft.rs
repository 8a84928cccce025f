//! The configuration that comes out: sections whose lines can be turned into comments, as TOML.

use std::fmt::Write as _;

use base::config::{Note, Severity, Source};

use crate::config;

/// Rounds of loading and turning into comments; each turns off at least one line or section.
const MAX_ROUNDS: usize = 200;

/// What doveconf writes in place of a password unless it is called with `-P` (Dovecot 2.3.19 observed).
const HIDDEN: &str = "#hidden_use-P_to_show#";

/// Stands at the top when a passdb that refuses users is not in force.
const DENIED: &str = "ATTENTION: a passdb that denies users could not be carried over. They can log in!";

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Boolean(bool),
    Integer(u64),
    Mode(u32),
    Fields(Vec<(String, Option<String>)>),
}

/// One `[section]`, `[[section]]`, or the lines before the first.
#[derive(Debug, Default)]
pub(super) struct Section {
    header: &'static str,
    /// Comments above the header.
    notes: Vec<String>,
    lines: Vec<Line>,
    off: bool,
}

#[derive(Debug)]
struct Line {
    text: String,
    note: Option<String>,
    off: bool,
}

impl Section {
    /// An empty section with this header, `[[passdb]]` for instance.
    pub(super) fn new(header: &'static str) -> Self {
        Self { header, ..Self::default() }
    }

    /// Adds a line.
    pub(super) fn set(&mut self, name: &str, value: &Value) {
        self.lines.push(Line { text: format!("{name} = {}", toml(value)), note: None, off: false });
    }

    /// Adds a line with a comment above it.
    pub(super) fn set_with_note(&mut self, name: &str, value: &Value, note: &str) {
        self.set(name, value);
        if let Some(line) = self.lines.last_mut() {
            line.note = Some(note.to_owned());
        }
    }

    /// Adds a text, unless it is empty.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.set(name, &Value::Text(text.to_owned()));
        }
    }

    /// Adds fields, unless there are none.
    pub(super) fn fields(&mut self, name: &str, fields: Vec<(String, Option<String>)>) {
        if !fields.is_empty() {
            self.set(name, &Value::Fields(fields));
        }
    }

    /// Adds a comment above the header.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Turns the whole section into comments.
    pub(super) fn turn_off(&mut self, why: impl Into<String>) {
        self.off = true;
        self.notes.push(why.into());
    }

    /// Whether it refuses the users that are in it.
    fn denies(&self) -> bool {
        self.lines.iter().any(|line| line.text == "deny = true")
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.notes.is_empty()
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Draft {
    version: &'static str,
    notes: Vec<String>,
    sections: Vec<Section>,
}

/// What a line of the written text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    section: usize,
    line: Option<usize>,
}

impl Draft {
    pub(super) fn new(version: &'static str) -> Self {
        Self { version, notes: Vec::new(), sections: Vec::new() }
    }

    /// Adds a comment at the top.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a section, unless there is nothing in it.
    ///
    /// One whose password doveconf has hidden is turned off: what stands in its place is a password
    /// that everybody knows.
    pub(super) fn add(&mut self, mut section: Section) {
        if section.lines.iter().any(|line| line.text.contains(HIDDEN)) {
            section.turn_off("Its password was hidden: run doveconf -nP and import its output.");
        }
        if !section.is_empty() {
            if section.off && section.denies() {
                self.note(DENIED);
            }
            self.sections.push(section);
        }
    }

    /// Whether a section of this header is in force.
    pub(super) fn has(&self, header: &str) -> bool {
        self.sections.iter().any(|section| section.header == header && !section.off)
    }

    /// The text, of which everything that [`config::load`] would refuse is a comment.
    pub(super) fn finish(mut self) -> String {
        let mut placeholder = false;
        for _ in 0..MAX_ROUNDS {
            if !self.has("[[listen]]") {
                self.sections.push(usual_listener());
            }
            // Tokens alone let users in as well; a passdb that was turned off is missed all the same.
            let tokens = self.has("[oauth2]") && !self.sections.iter().any(|one| one.header == "[[passdb]]");
            if !self.has("[[passdb]]") && !tokens && !placeholder {
                placeholder = true;
                self.sections.push(no_passdb());
            }
            let (text, origins) = self.write();
            let loaded = config::load(&Source::new("imported", text.as_str()));
            let mut errors = loaded.report.notes().iter().filter(|note| note.severity() == Severity::Error);
            let Some(error) = errors.next() else { return text };
            // Neither the mechanisms nor the header of a listener are at fault when nobody can log in.
            let nobody = [config::NOTHING_TO_OFFER, config::NO_PASSDB]
                .iter()
                .any(|start| error.text().starts_with(start));
            if nobody && !placeholder {
                placeholder = true;
                self.sections.push(no_passdb());
            } else if let Some(origin) = origin(error, &origins) {
                self.turn_off(origin, &why(error));
            } else {
                // What is missing as a whole has no place; all that must be there is.
                self.note(why(error));
                break;
            }
        }
        self.write().0
    }

    fn turn_off(&mut self, origin: Origin, why: &str) {
        let Some(section) = self.sections.get_mut(origin.section) else { return };
        // Without one of its lines a passdb might let in more people than before.
        let whole = section.header.starts_with("[[");
        match origin.line.and_then(|line| section.lines.get_mut(line)).filter(|_| !whole) {
            Some(line) => {
                line.off = true;
                line.note = Some(format!("Not carried over: {why}"));
            }
            None => {
                section.turn_off(format!("Not carried over: {why}"));
                if section.denies() {
                    self.note(DENIED);
                }
            }
        }
    }

    /// The text, and for each of its lines where it comes from.
    fn write(&self) -> (String, Vec<Option<Origin>>) {
        let mut page = Page::default();
        page.comment(&format!(
            "Made from the configuration of Dovecot {} by postrider-sasl-auth import. What does not concern \
             authentication is left out. This file may hold passwords: chmod 0640.",
            self.version
        ));
        for note in &self.notes {
            page.comment(note);
        }
        let top = |section: &Section| section.header.is_empty();
        let sections = || self.sections.iter().enumerate();
        for (index, section) in
            sections().filter(|(_, one)| top(one)).chain(sections().filter(|(_, one)| !top(one)))
        {
            page.line("", None);
            for note in &section.notes {
                page.comment(note);
            }
            let prefix = if section.off { "# " } else { "" };
            if !section.header.is_empty() {
                let origin = Origin { section: index, line: None };
                page.line(&format!("{prefix}{}", section.header), Some(origin));
            }
            for (number, line) in section.lines.iter().enumerate() {
                if let Some(note) = &line.note {
                    page.comment(note);
                }
                let prefix = if section.off || line.off { "# " } else { "" };
                let origin = Origin { section: index, line: Some(number) };
                page.line(&format!("{prefix}{}", line.text), Some(origin));
            }
        }
        (page.text, page.origins)
    }
}

/// What stands in for a passdb.
fn no_passdb() -> Section {
    let mut passdb = Section::new("[[passdb]]");
    passdb.note("No passdb that lets users in could be carried over. Name your users' file here.");
    passdb.text("driver", "passwd-file");
    passdb.text("path", "/etc/postrider/users");
    passdb
}

/// What stands in for a listener.
fn usual_listener() -> Section {
    let mut listen = Section::new("[[listen]]");
    listen.note(
        "No socket for Postfix was found. In main.cf this one is smtpd_sasl_path = private/postrider-auth",
    );
    listen.text("address", "unix:/var/spool/postfix/private/postrider-auth");
    listen.set("mode", &Value::Mode(0o660));
    listen.text("user", "postfix");
    listen.text("group", "postfix");
    listen
}

/// What an error says, in a line.
fn why(note: &Note) -> String {
    note.text().replace(char::is_control, " ")
}

fn origin(note: &Note, origins: &[Option<Origin>]) -> Option<Origin> {
    let line = usize::try_from(note.span()?.line()).ok()?.checked_sub(1)?;
    *origins.get(line)?
}

#[derive(Default)]
struct Page {
    text: String,
    origins: Vec<Option<Origin>>,
}

impl Page {
    fn line(&mut self, text: &str, origin: Option<Origin>) {
        // Writing to a String cannot fail.
        let _ok = writeln!(self.text, "{text}");
        self.origins.push(origin);
    }

    /// A comment of lines that are not too long. Control characters are not allowed in TOML.
    fn comment(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
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

fn toml(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Texts(texts) => {
            format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
        }
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Mode(mode) => format!("0o{mode:o}"),
        Value::Fields(fields) => {
            let field = |(name, value): &(String, Option<String>)| {
                format!(
                    "{} = {}",
                    key(name),
                    value.as_ref().map_or_else(|| "true".to_owned(), |text| quoted(text))
                )
            };
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A name, in quotes if it needs them.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A text in TOML's basic quotes, or in literal ones where that spares escapes.
fn quoted(text: &str) -> String {
    let literal = text.contains(['"', '\\']) && !text.contains('\'') && !text.contains(char::is_control);
    if literal {
        return format!("'{text}'");
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ok = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
