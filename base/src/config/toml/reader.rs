//! Compares a text with the table of settings: names, kinds, what is missing.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml_edit::{Item, TableLike};

use super::syntax::{self, Text};
use super::value::{Field, Value, of_text, or, take};
use super::{Fallback, Kind, Section, Setting};
use crate::config::nearest::nearest;
use crate::config::{Report, Source, Span};
use crate::secret::Secret;
use crate::service::listen::Address;

/// The values of a text. There is a [`Table`] for each section that is not repeated, also when the
/// text does not mention it.
#[derive(Debug)]
pub struct Document {
    tables: Vec<Table>,
    nothing: Table,
}

impl Document {
    /// The section of this name (empty: the top level), which the table of sections has and which is
    /// not repeated.
    #[must_use]
    pub fn section(&self, name: &str) -> &Table {
        let found = self.tables(name).next();
        debug_assert!(found.is_some(), "there is no section {name}");
        found.unwrap_or(&self.nothing)
    }

    /// Sets a value that comes from elsewhere (the command line), in the form that a default has: a text
    /// without quotes. It goes before what the text says, and keeps its place.
    ///
    /// # Errors
    /// A sentence: there is no such setting, or it takes another form.
    pub fn set(&mut self, section: &str, name: &str, value: &str) -> Result<(), String> {
        let table = self.tables.iter_mut().find(|table| table.section.name == section);
        let table = table.ok_or_else(|| format!("there is no section {section}"))?;
        let setting = table.section.setting(name).ok_or_else(|| format!("there is no setting {name}"))?;
        let value = of_text(setting.kind, value)
            .map_err(|wrong| format!("{name}: {}; {}", wrong.text, wrong.help))?;
        match table.entries.iter_mut().find(|entry| entry.setting.name == name) {
            Some(entry) => entry.value = Some(value),
            None => {
                let place = table.header.clone();
                let entry =
                    Entry { setting, key: place.clone(), place, literals: Vec::new(), value: Some(value) };
                table.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Whether nothing was left out because of its syntax, so that what is missing really is.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nothing.is_whole()
    }

    /// The secrets that stand in the text itself, with the names of their settings.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, Secret)> {
        let secrets = |entry: &Entry| -> Vec<Secret> {
            match &entry.value {
                Some(Value::Secret(secret)) => vec![secret.clone()],
                Some(Value::Secrets(secrets)) => secrets.clone(),
                _ => Vec::new(),
            }
        };
        self.tables.iter().flat_map(|table| &table.entries).flat_map(move |entry| {
            let name = entry.setting.name;
            secrets(entry).into_iter().map(move |secret| (name, secret))
        })
    }

    /// All sections of this name, in the order of the text.
    pub fn tables(&self, name: &str) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(move |table| table.section.name == name)
    }
}

/// The values of one section. A getter gives the value from the text, or else the default of the table
/// of settings; a value with a mistake counts as absent, but as set.
#[derive(Debug, Clone)]
pub struct Table {
    section: &'static Section,
    text: Arc<Text>,
    header: Span,
    present: bool,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    setting: &'static Setting,
    key: Span,
    place: Span,
    /// The value's own text, or that of each element of a list.
    literals: Vec<Range<usize>>,
    value: Option<Value>,
}

/// Compares a text with a table of sections and reports every mistake: syntax, unknown names (with the
/// nearest known one), wrong kinds, values out of range, names that do not go with the section's
/// selector, what is required and missing. Notes are not sorted.
///
/// `None` when the text cannot be read at all; otherwise what could be read, also after mistakes.
pub fn read(source: &Arc<Source>, sections: &'static [Section], report: &mut Report) -> Option<Document> {
    let parsed = syntax::parse(source, sections, report)?;
    let mut reader = Reader { text: parsed.text, sections, tables: Vec::new(), report };
    let start = reader.text.span(&(0..0));
    if let Some(top) = sections.iter().find(|section| section.name.is_empty()) {
        let table = reader.section(top, parsed.document.as_table(), start.clone());
        reader.tables.insert(0, table);
    }
    let (text, mut tables) = (reader.text, reader.tables);
    let absent = |section| Table {
        section,
        text: Arc::clone(&text),
        header: start.clone(),
        present: false,
        entries: Vec::new(),
    };
    for section in sections.iter().filter(|section| !section.repeated) {
        if !tables.iter().any(|table| table.section.name == section.name) {
            tables.push(absent(section));
        }
    }
    Some(Document { tables, nothing: absent(&NOTHING) })
}

/// What a name that is in no table of sections stands for.
static NOTHING: Section = Section { name: "", repeated: false, selector: None, doc: "", settings: &[] };

struct Reader<'a> {
    text: Arc<Text>,
    sections: &'static [Section],
    tables: Vec<Table>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn section(&mut self, section: &'static Section, toml: &dyn TableLike, header: Span) -> Table {
        let selected = section
            .selector
            .and_then(|name| toml.get(name))
            .and_then(Item::as_str)
            .filter(|word| self.is_word(section, word))
            .map(str::to_owned);
        let mut entries = Vec::new();
        for (name, item) in toml.iter() {
            let key = self.key(toml, name).unwrap_or_else(|| header.clone());
            let below = self
                .sections
                .iter()
                .find(|below| section.name.is_empty() && !below.name.is_empty() && below.name == name);
            if let Some(below) = below {
                self.below(below, item, &key);
            } else if let Some(setting) = section.setting(name) {
                entries.push(self.entry(section, setting, item, key, selected.as_deref()));
            } else {
                self.unknown(section, name, &key, selected.as_deref());
            }
        }
        if self.text.is_whole() {
            self.missing(section, toml, &header, selected.as_deref());
        }
        Table { section, text: Arc::clone(&self.text), header, present: true, entries }
    }

    fn is_word(&self, section: &Section, word: &str) -> bool {
        let selector = section.selector.and_then(|name| section.setting(name));
        matches!(selector.map(|setting| setting.kind), Some(Kind::Word(words)) if words.contains(&word))
    }

    fn key(&self, table: &dyn TableLike, name: &str) -> Option<Span> {
        let range = table.get_key_value(name)?.0.span()?;
        Some(self.text.span(&range))
    }

    /// A section of its own within the top level.
    fn below(&mut self, section: &'static Section, item: &Item, key: &Span) {
        let header = section.header();
        let several = item.is_array_of_tables() || item.is_array();
        if item.as_table_like().is_none() && !several {
            self.report
                .error(&key.clone().into_private(), format!("{} is a section", section.name))
                .help(format!("write {header} on a line of its own, and its settings below it"));
            return;
        }
        if several != section.repeated {
            let text = if section.repeated {
                format!("there may be several {header}")
            } else {
                format!("there is only one {header}")
            };
            self.report.error(key, text).help(format!("write {header}"));
        }
        let mut found: Vec<Table> = Vec::new();
        let mut spans: Vec<Option<Range<usize>>> = Vec::new();
        if let Some(tables) = item.as_array_of_tables() {
            spans.extend(tables.iter().map(toml_edit::Table::span));
        } else if let Some(array) = item.as_array() {
            for value in array.iter().filter(|value| !value.is_inline_table()) {
                let at = value.span().map_or_else(|| key.clone(), |range| self.text.span(&range));
                self.report
                    .error(&at.part(0, 1).into_private(), format!("{header} expects tables"))
                    .help(format!("write {header} on a line of its own, and its settings below it"));
            }
            spans.extend(array.iter().filter(|value| value.is_inline_table()).map(toml_edit::Value::span));
        } else {
            spans.push(item.span());
        }
        let mut spans = spans.into_iter();
        syntax::each_table(item, &mut |table| {
            let header = match spans.next().flatten() {
                // Inline tables are long; their beginning will do.
                Some(range) if !self.text.raw(&range).starts_with('[') => self.text.span(&range).part(0, 1),
                Some(range) => self.text.span(&range),
                None => key.clone(),
            };
            let table = self.section(section, table, header);
            found.push(table);
        });
        if !section.repeated {
            found.truncate(1);
        }
        self.tables.append(&mut found);
    }

    fn entry(
        &mut self,
        section: &'static Section,
        setting: &'static Setting,
        item: &Item,
        key: Span,
        selected: Option<&str>,
    ) -> Entry {
        if let (Some(selector), Some(word)) = (section.selector, selected)
            && !setting.only.is_empty()
            && !setting.only.contains(&word)
        {
            let private = setting.kind.is_secret().then(|| key.clone().into_private());
            self.report
                .error(
                    private.as_ref().unwrap_or(&key),
                    format!("{} does not go with {selector} {word}", setting.name),
                )
                .help(format!("it is for {selector} {}", or(setting.only)));
        }
        let range = item.span().unwrap_or(0..0);
        let place = if setting.kind.is_secret() || item.span().is_none() {
            key.clone().into_private()
        } else {
            self.text.span(&range)
        };
        let value = match take(setting.kind, item, self.text.raw(&range)) {
            Ok(value) => Some(value),
            Err(wrong) => {
                // A field's name may be shown, unlike its value.
                let shown = setting.kind == Kind::Fields || !setting.kind.is_secret();
                let part = wrong.at.filter(|_| shown).map(|range| self.text.span(&range));
                let at = part.as_ref().unwrap_or(&place);
                let note = self.report.error(at, format!("{}: {}", setting.name, wrong.text));
                note.help(wrong.help);
                None
            }
        };
        let literals = match item.as_array() {
            Some(array) => array.iter().map(|value| value.span().unwrap_or(0..0)).collect(),
            None => vec![range],
        };
        Entry { setting, key, place, literals, value }
    }

    fn unknown(&mut self, section: &'static Section, name: &str, key: &Span, selected: Option<&str>) {
        let full = self.report.notes().len() >= Report::MAX_NOTES;
        let place = if section.name.is_empty() { String::new() } else { format!(" in {}", section.header()) };
        let note = self.report.error(&key.clone().into_private(), format!("unknown setting {name}{place}"));
        if full {
            return;
        }
        let fits = |setting: &&Setting| {
            setting.only.is_empty() || selected.is_none_or(|word| setting.only.contains(&word))
        };
        let below: Vec<&str> = if section.name.is_empty() {
            self.sections.iter().map(|section| section.name).filter(|name| !name.is_empty()).collect()
        } else {
            Vec::new()
        };
        let names = section.settings.iter().filter(fits).map(|setting| setting.name);
        let help =
            nearest(name, names.chain(below)).map(|name| format!("did you mean {name}?")).or_else(|| {
                let home = self.sections.iter().find(|other| other.setting(name).is_some())?;
                let place = match home.name {
                    "" => "before the first section".to_owned(),
                    _ => format!("into {}", home.header()),
                };
                Some(format!("it belongs {place}"))
            });
        if let Some(help) = help {
            note.help(help);
        }
    }

    fn missing(
        &mut self,
        section: &'static Section,
        toml: &dyn TableLike,
        header: &Span,
        selected: Option<&str>,
    ) {
        for setting in section.settings {
            let applies =
                setting.only.is_empty() || selected.is_some_and(|word| setting.only.contains(&word));
            if setting.default != Fallback::Required || !applies || toml.contains_key(setting.name) {
                continue;
            }
            let which = match (section.selector, selected) {
                (Some(selector), Some(word)) if !setting.only.is_empty() => {
                    format!(" with {selector} {word}")
                }
                _ => String::new(),
            };
            let text = format!("{}{which} needs {}", section.header(), setting.name);
            let note = self.report.error(&header.clone().into_private(), text);
            if let Kind::Word(words) = setting.kind {
                note.help(format!("it may be {}", or(words)));
            }
        }
    }
}

impl Table {
    /// See [`Document::is_whole`].
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.text.is_whole()
    }

    /// Whether the text has this section.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Whether the text sets this.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Whether the text sets this, and to something that has been complained about.
    #[must_use]
    pub fn is_wrong(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.value.is_none())
    }

    /// The place of the section's header.
    #[must_use]
    pub fn header(&self) -> &Span {
        &self.header
    }

    /// The place of a value; of the name when the value is a secret, of the header when it is absent.
    #[must_use]
    pub fn place(&self, name: &str) -> Span {
        self.entry(name).map_or_else(|| self.header.clone(), |entry| entry.place.clone())
    }

    /// The place of a setting's name; of the header when it is absent.
    #[must_use]
    pub fn key_place(&self, name: &str) -> Span {
        self.entry(name).map_or_else(|| self.header.clone(), |entry| entry.key.clone())
    }

    /// The place of an element of a list, counted from 0.
    #[must_use]
    pub fn element_place(&self, name: &str, index: usize) -> Span {
        match self.entry(name).filter(|entry| !entry.setting.kind.is_secret()) {
            Some(entry) => match entry.literals.get(index) {
                Some(range) => self.text.span(range),
                None => entry.place.clone(),
            },
            None => self.place(name),
        }
    }

    /// The place of `len` bytes within a text, `offset` bytes after its first; of the whole text where
    /// escapes make that unclear.
    #[must_use]
    pub fn part_place(&self, name: &str, offset: usize, len: usize) -> Span {
        let literal = self
            .entry(name)
            .filter(|entry| !entry.setting.kind.is_secret())
            .and_then(|entry| Some((entry.literals.first()?, self.text(name)?)));
        let Some((range, value)) = literal else { return self.place(name) };
        let raw = self.text.raw(range);
        let inner = raw.trim_start_matches(['"', '\'']);
        let inner = inner.strip_prefix("\r\n").or_else(|| inner.strip_prefix('\n')).unwrap_or(inner);
        if !inner.starts_with(&value) {
            return self.place(name);
        }
        let start = range.start + (raw.len() - inner.len()) + offset;
        self.text.span(&(start..start + len))
    }

    /// Of [`Kind::Text`] and [`Kind::Word`].
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Of [`Kind::Secret`].
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<Secret> {
        match self.value(name)? {
            Value::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// Of [`Kind::Path`].
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        match self.value(name)? {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Of [`Kind::Boolean`]; false when neither set nor in the table.
    #[must_use]
    pub fn boolean(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Boolean(true)))
    }

    /// Of [`Kind::Integer`], in any type that the kind's bounds fit into; `None` also when they do not.
    #[must_use]
    pub fn integer<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        match self.value(name)? {
            Value::Integer(number) => T::try_from(number).ok(),
            _ => None,
        }
    }

    /// Of [`Kind::Mode`].
    #[must_use]
    pub fn mode(&self, name: &str) -> Option<u32> {
        match self.value(name)? {
            Value::Mode(mode) => Some(mode),
            _ => None,
        }
    }

    /// Of [`Kind::Duration`].
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.value(name)? {
            Value::Duration(duration) => Some(duration),
            _ => None,
        }
    }

    /// Of [`Kind::Size`], in bytes.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Size(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Of [`Kind::Texts`]; empty when absent.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::Texts(texts)) => texts,
            _ => Vec::new(),
        }
    }

    /// Of [`Kind::Secrets`]; empty when absent.
    #[must_use]
    pub fn secrets(&self, name: &str) -> Vec<Secret> {
        match self.value(name) {
            Some(Value::Secrets(secrets)) => secrets,
            _ => Vec::new(),
        }
    }

    /// Of [`Kind::Fields`]; empty when absent.
    #[must_use]
    pub fn fields(&self, name: &str) -> Vec<Field> {
        match self.value(name) {
            Some(Value::Fields(fields)) => fields,
            _ => Vec::new(),
        }
    }

    /// Of [`Kind::Address`] and [`Kind::TcpAddress`].
    #[must_use]
    pub fn address(&self, name: &str) -> Option<Address> {
        match self.value(name)? {
            Value::Address(address) => Some(address),
            _ => None,
        }
    }

    /// Of [`Kind::Addresses`]; empty when absent.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<Address> {
        match self.value(name) {
            Some(Value::Addresses(addresses)) => addresses,
            _ => Vec::new(),
        }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        debug_assert!(self.section.setting(name).is_some(), "{} has no {name}", self.section.header());
        self.entries.iter().find(|entry| entry.setting.name == name)
    }

    fn value(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.entry(name).and_then(|entry| entry.value.clone()) {
            return Some(value);
        }
        let setting = self.section.setting(name)?;
        match setting.default {
            Fallback::Value(text) => of_text(setting.kind, text).ok(),
            Fallback::Required | Fallback::None | Fallback::Found(_) => None,
        }
    }
}
