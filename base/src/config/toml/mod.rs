//! Configuration in TOML, read by a table of settings: what may stand where, in which form.
//!
//! A service writes its settings down once, as a table of [`Section`]s with [`Setting`]s. [`read`]
//! compares a text with the table, reports every mistake at its place, and gives a [`Document`]
//! whose values have the right kinds, with the table's defaults for what is not set. The same table
//! makes the manual page ([`man::roff`]). Cross checks are the service's own: every value knows its
//! place ([`Table::place`]).
//!
//! Values of [`Kind::Secret`], of [`Kind::Fields`] and of unknown names are never shown: notes cite
//! a copy of the text in which they are replaced.

pub mod man;
mod reader;
mod syntax;
mod value;

pub use reader::{Document, Table, read};
pub use value::{Field, Value, duration_text, or, size_text};

/// The longest text that is read, in bytes; the parser needs a hundred times as much memory.
pub const MAX_BYTES: u64 = 1 << 20;

/// A table of the text: `[name]`, `[[name]]`, or what stands before the first header.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The name in the header; empty for what stands before the first one.
    pub name: &'static str,
    /// Whether it is written `[[name]]`, any number of times.
    pub repeated: bool,
    /// The setting (of kind [`Kind::Word`]) on whose value it depends which others are allowed.
    pub selector: Option<&'static str>,
    /// What it is for, for the manual page.
    pub doc: &'static str,
    /// What may stand in it.
    pub settings: &'static [Setting],
}

impl Section {
    /// The header as it is written; "the top level" where there is none.
    #[must_use]
    pub fn header(&self) -> String {
        match (self.name, self.repeated) {
            ("", _) => "the top level".to_owned(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }

    /// The setting of this name.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

/// One line of a section.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name as it is written.
    pub name: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// What holds when it is absent.
    pub default: Fallback,
    /// The words of the section's selector that it is for; empty when it is for all.
    pub only: &'static [&'static str],
    /// What it does, in whole sentences, for the manual page.
    pub doc: &'static str,
}

/// What holds when a setting is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It must be there.
    Required,
    /// Nothing is set.
    None,
    /// This value, in the form that the kind reads (a text without its quotes).
    Value(&'static str),
    /// Something that the service finds out; the words are for the manual page.
    Found(&'static str),
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `"text"`.
    Text,
    /// `"text"`, not shown in any report.
    Secret,
    /// `"/path"`, absolute.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A number within these bounds.
    Integer {
        /// Smallest value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// The mode of a file, `0o660`; at most `0o777`.
    Mode,
    /// `"2s"`, `"150 s"`, `"5min"`, `"1h"`, `"12h"`, `"1d"`, `"500ms"`; a number counts seconds.
    Duration {
        /// Shortest, in milliseconds.
        min_ms: u64,
        /// Longest, in milliseconds.
        max_ms: u64,
    },
    /// `"16M"`, `"512M"`, `"1G"`, `"64k"`, in units of 1024; a number counts bytes.
    Size {
        /// Smallest, in bytes.
        min: u64,
        /// Greatest, in bytes.
        max: u64,
    },
    /// `["a", "b"]`, or `"a"` for one.
    Texts,
    /// The same, not shown in any report.
    Secrets,
    /// `"one of these"`.
    Word(&'static [&'static str]),
    /// `{ name = "value", other = true }`, where `true` is a field without a value; a section of
    /// its own (`[section.name]`) will do as well. Values are not shown in any report.
    Fields,
    /// `"unix:/path"` or `"inet:host:port"`.
    Address,
    /// The same, one or a list.
    Addresses,
    /// `"host:port"`, with or without `inet:` before it.
    TcpAddress,
}

impl Kind {
    /// Whether values are kept out of reports.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets | Self::Fields)
    }

    /// The kind in words, for the manual page.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "text",
            Self::Path => "path",
            Self::Boolean => "true or false",
            Self::Integer { .. } => "integer",
            Self::Mode => "mode",
            Self::Duration { .. } => "duration",
            Self::Size { .. } => "size",
            Self::Texts | Self::Secrets => "list of texts",
            Self::Word(_) => "word",
            Self::Fields => "fields",
            Self::Address => "address",
            Self::Addresses => "list of addresses",
            Self::TcpAddress => "host:port",
        }
    }
}
