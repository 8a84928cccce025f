//! Reads a data set: a list in the configuration, a file, or a file of patterns.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::config::{Report, Source, Span};

/// The longest file of a data set that is read, in bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// Whether upper and lower case of ASCII letters differ in a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `A` and `a` are different.
    Sensitive,
    /// `A` and `a` are the same.
    Insensitive,
}

/// How the records of a data set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Items between commas in the configuration itself (`csl:` or no prefix).
    List,
    /// One record a line (`file:` or a path).
    File,
    /// One record a line, whose key is a pattern (`refile:`).
    Patterns,
}

/// What a data set's specification names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Specification {
    /// The items themselves: the range of the specification that they fill.
    List(Range<usize>),
    /// A file of literal keys.
    File(PathBuf),
    /// A file of patterns.
    Patterns(PathBuf),
    /// A type that OpenDKIM knows and Postrider does not.
    Foreign(ForeignType),
    /// A word before the first colon that is no type.
    Unknown(String),
}

/// The types of data sets that OpenDKIM knows and Postrider does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignType {
    /// Berkeley DB: `db:` or a name that ends in `.db`.
    BerkeleyDb,
    /// SQL through OpenDBX.
    Dsn,
    /// LDAP.
    Ldap,
    /// A Lua script.
    Lua,
    /// memcached.
    Memcache,
    /// LMDB.
    Lmdb,
    /// The types that no packaged OpenDKIM has: `socket:`, `repute:`, `erlang:`.
    Remote,
}

impl ForeignType {
    /// What to use instead.
    #[must_use]
    pub fn instead(self) -> &'static str {
        match self {
            Self::BerkeleyDb => {
                "write the records into a text file with db_dump -p and name that file with file:"
            }
            Self::Dsn => {
                "SQL data sets are not yet honoured; export the query's rows to a text file and name it with file:, or refile: for patterns"
            }
            Self::Ldap => {
                "LDAP data sets are not yet honoured; export the entries to a text file and name it with file:"
            }
            Self::Lua => "Lua scripts are not run; write the answers into a text file and name it with file:",
            Self::Memcache => {
                "memcached is not asked; write the records into a text file and name it with file:"
            }
            Self::Lmdb => {
                "LMDB is not yet read; write the records into a text file with mdb_dump and name it with file:"
            }
            Self::Remote => "write the records into a text file and name it with file:",
        }
    }
}

/// Decides by its text what a specification names (OpenDKIM 2.11 observed).
///
/// The text before the first colon must be a type, unless a comma stands before that colon.
/// Without a colon: a name that ends in `.db` is a database, one that starts with `/` a file,
/// anything else a list.
#[must_use]
pub fn classify(specification: &str) -> Specification {
    let whole = || Specification::List(0..specification.len());
    let Some((prefix, rest)) = specification.split_once(':') else {
        return if specification.ends_with(".db") {
            Specification::Foreign(ForeignType::BerkeleyDb)
        } else if specification.starts_with('/') {
            Specification::File(PathBuf::from(specification))
        } else {
            whole()
        };
    };
    if prefix.contains(',') {
        return whole();
    }
    match prefix.to_ascii_lowercase().as_str() {
        "csl" => Specification::List(prefix.len() + 1..specification.len()),
        "file" => Specification::File(PathBuf::from(rest.trim())),
        "refile" => Specification::Patterns(PathBuf::from(rest.trim())),
        "db" | "bdb" => Specification::Foreign(ForeignType::BerkeleyDb),
        "dsn" => Specification::Foreign(ForeignType::Dsn),
        "ldap" | "ldaps" | "ldapi" => Specification::Foreign(ForeignType::Ldap),
        "lua" => Specification::Foreign(ForeignType::Lua),
        "memcache" => Specification::Foreign(ForeignType::Memcache),
        "mdb" => Specification::Foreign(ForeignType::Lmdb),
        "socket" | "repute" | "erlang" => Specification::Foreign(ForeignType::Remote),
        _ => Specification::Unknown(prefix.to_owned()),
    }
}

/// A data set in memory: records in the order of the file, each with its line.
#[derive(Clone, Debug)]
pub struct DataSet {
    kind: Kind,
    source: Arc<Source>,
    rows: Vec<Row>,
    private: bool,
}

/// Offsets into the source; 20 bytes for each record.
#[derive(Clone, Debug)]
struct Row {
    line: u32,
    key: Range<u32>,
    value: Range<u32>,
}

/// One record of a [`DataSet`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    set: &'a DataSet,
    row: &'a Row,
}

impl<'a> Record<'a> {
    /// The key, never empty.
    #[must_use]
    pub fn key(&self) -> &'a str {
        self.set.slice(&self.row.key)
    }

    /// The value without blanks around it; empty when there is none.
    #[must_use]
    pub fn value(&self) -> &'a str {
        self.set.slice(&self.row.value)
    }

    /// Where the key stands.
    #[must_use]
    pub fn key_span(&self) -> Span {
        self.set.span(self.row.line, &self.row.key)
    }

    /// Where the value stands.
    #[must_use]
    pub fn value_span(&self) -> Span {
        self.set.span(self.row.line, &self.row.value)
    }
}

impl DataSet {
    /// A set without records.
    #[must_use]
    pub fn empty() -> Self {
        Self { kind: Kind::List, source: Source::new("", ""), rows: Vec::new(), private: false }
    }

    /// The records between the commas of `list`: `key` or `key=value`, without blanks around them.
    #[must_use]
    pub fn from_list(list: &Span) -> Self {
        let (source, line, base) = (list.source(), list.line(), list.start_offset());
        let mut rows = Vec::new();
        let mut offset = base;
        for item in list.text().split(',') {
            let (key, value, value_at) = match item.split_once('=') {
                Some((key, value)) => (key, value, offset + key.len() + 1),
                None => (item, "", offset + item.len()),
            };
            let key = trimmed(key, offset);
            if !key.is_empty() {
                rows.push(Row { line, key: narrow(&key), value: narrow(&trimmed(value, value_at)) });
            }
            offset += item.len() + 1;
        }
        Self { kind: Kind::List, source: Arc::clone(source), rows, private: false }
    }

    /// The records of a text with one record a line (OpenDKIM 2.11 observed): cut at `#`, key up
    /// to the first blank, the rest without blanks around it is the value.
    ///
    /// As patterns, a line that begins with a blank is no record: there the key is what stands
    /// before the first blank, which is nothing. Such lines are warned about.
    #[must_use]
    pub fn from_lines(source: &Arc<Source>, patterns: bool, report: &mut Report) -> Self {
        let mut rows = Vec::new();
        for line in source.lines() {
            let text = line.text.split('#').next().unwrap_or("");
            let text = text.strip_suffix('\r').unwrap_or(text);
            let content = trimmed(text, line.start);
            if content.is_empty() {
                continue;
            }
            if patterns && content.start > line.start {
                let key = Span::new(source, line.number, content.start, content.start + 1);
                report
                    .warning(&key, "a pattern must begin in the first column: this line is not used")
                    .help("remove the blanks before it");
                continue;
            }
            let content_text = source.text().get(content.clone()).unwrap_or("");
            let key_len = content_text.find(char::is_whitespace).unwrap_or(content_text.len());
            let key = content.start..content.start + key_len;
            let value = trimmed(content_text.get(key_len..).unwrap_or(""), key.end);
            rows.push(Row { line: line.number, key: narrow(&key), value: narrow(&value) });
        }
        let kind = if patterns { Kind::Patterns } else { Kind::File };
        Self { kind, source: Arc::clone(source), rows, private: false }
    }

    /// Opens the data set that `specification` names; relative paths start at `directory`.
    ///
    /// With `private`, reports show of its lines only what stands before a mark's end: a KeyTable
    /// may hold keys. Returns `None` after reporting a mistake: a type that is not known or not
    /// read, a file that cannot be read or is longer than [`MAX_BYTES`].
    pub fn open(
        specification: &Span,
        directory: Option<&Path>,
        private: bool,
        report: &mut Report,
    ) -> Option<Self> {
        let text = specification.text();
        let prefix_len = text.split(':').next().map_or(0, str::len);
        let prefix = specification.part(0, prefix_len).into_private();
        let mut set = match classify(text) {
            Specification::List(range) => Self::from_list(&specification.part(range.start, range.len())),
            Specification::File(path) => {
                let source = read(specification, &path, directory, report)?;
                Self::from_lines(&source, false, report)
            }
            Specification::Patterns(path) => {
                let source = read(specification, &path, directory, report)?;
                Self::from_lines(&source, true, report)
            }
            Specification::Foreign(kind) => {
                report.error(&prefix, "this type of data set is not supported").help(kind.instead());
                return None;
            }
            Specification::Unknown(word) => {
                report.error(&prefix, format!("unknown type of data set '{word}'")).help(
                    "a data set is a list, a path, or begins with csl:, file: or refile:; \
                     a list whose first item holds a colon needs csl: before it",
                );
                return None;
            }
        };
        set.private = private;
        Some(set)
    }

    /// How the records were written.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The records in the order of the text.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.rows.iter().map(|row| Record { set: self, row })
    }

    /// The record with this number, counted from 0 in the order of the text.
    #[must_use]
    pub fn record(&self, index: u32) -> Option<Record<'_>> {
        let row = self.rows.get(usize::try_from(index).ok()?)?;
        Some(Record { set: self, row })
    }

    fn slice(&self, range: &Range<u32>) -> &str {
        self.source.text().get(widen(range)).unwrap_or("")
    }

    fn span(&self, line: u32, range: &Range<u32>) -> Span {
        let range = widen(range);
        let span = Span::new(&self.source, line, range.start, range.end);
        if self.private { span.into_private() } else { span }
    }
}

/// Where a relative path starts: at `BaseDirectory` when it is set, else where the program runs.
#[must_use]
pub fn resolve(path: &Path, directory: Option<&Path>) -> PathBuf {
    match directory {
        Some(directory) => directory.join(path),
        None => path.to_path_buf(),
    }
}

fn read(
    specification: &Span,
    path: &Path,
    directory: Option<&Path>,
    report: &mut Report,
) -> Option<Arc<Source>> {
    match Source::read(&resolve(path, directory), path.to_string_lossy(), MAX_BYTES) {
        Ok(source) => Some(source),
        Err(error) => {
            report.error(specification, format!("cannot read {}: {error}", path.display()));
            None
        }
    }
}

/// The range of `text` without blanks around it, when `text` starts at `offset` of its source.
fn trimmed(text: &str, offset: usize) -> Range<usize> {
    let start = offset + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}

fn narrow(range: &Range<usize>) -> Range<u32> {
    let narrow = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
    narrow(range.start)..narrow(range.end)
}

fn widen(range: &Range<u32>) -> Range<usize> {
    let widen = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    widen(range.start)..widen(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(set: &DataSet) -> Vec<(u32, &str, &str)> {
        set.records().map(|record| (record.key_span().line(), record.key(), record.value())).collect()
    }

    fn whole(text: &str) -> Span {
        Span::new(&Source::new("t", text), 1, 0, text.len())
    }

    #[test]
    fn the_type_is_decided_as_opendkim_decides_it() {
        let file = |path: &str| Specification::File(PathBuf::from(path));
        for (text, want) in [
            ("a,b", Specification::List(0..3)),
            ("csl:a:b", Specification::List(4..7)),
            ("CSL:a", Specification::List(4..5)),
            ("127.0.0.1,::1", Specification::List(0..13)),
            ("0.0.0.0/0, ::/0", Specification::List(0..15)),
            ("/etc/x", file("/etc/x")),
            ("file:/etc/x", file("/etc/x")),
            ("file:x", file("x")),
            ("refile:/etc/x", Specification::Patterns(PathBuf::from("/etc/x"))),
            ("RefIle:/etc/x", Specification::Patterns(PathBuf::from("/etc/x"))),
            ("/etc/x.db", Specification::Foreign(ForeignType::BerkeleyDb)),
            ("x.db", Specification::Foreign(ForeignType::BerkeleyDb)),
            ("dsn:mysql://a", Specification::Foreign(ForeignType::Dsn)),
            ("ldaps://a", Specification::Foreign(ForeignType::Ldap)),
            ("fe80::1", Specification::Unknown("fe80".to_owned())),
            ("::1", Specification::Unknown(String::new())),
            ("./x", Specification::List(0..3)),
        ] {
            assert_eq!(classify(text), want, "{text}");
        }
    }

    #[test]
    fn a_list_is_split_at_commas() {
        assert_eq!(
            pairs(&DataSet::from_list(&whole(" a , b=c d ,, k = v=w ,"))),
            [(1, "a", ""), (1, "b", "c d"), (1, "k", "v=w")]
        );
        assert!(DataSet::from_list(&whole("")).is_empty());
    }

    #[test]
    fn lines_are_cut_and_trimmed() {
        let text = "# head\n\nkey value with blanks: and colons  # note\r\n\tindented v\nbare\nx#y z\n";
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("t", text), false, &mut report);
        let want = [
            (3, "key", "value with blanks: and colons"),
            (4, "indented", "v"),
            (5, "bare", ""),
            (6, "x", ""),
        ];
        assert_eq!(pairs(&set), want);
        assert!(report.notes().is_empty());
    }

    #[test]
    fn an_indented_pattern_is_no_record_and_is_warned_about() {
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("t", "a 1\n b 2\n \nc 3"), true, &mut report);
        assert_eq!(pairs(&set), [(1, "a", "1"), (3 + 1, "c", "3")]);
        assert_eq!(report.warnings(), 1);
        assert_eq!(report.notes()[0].span().unwrap().line(), 2);
    }

    #[test]
    fn a_line_may_be_longer_than_a_kilobyte() {
        let text = format!("name example.com:sel:{}\n", "A".repeat(5000));
        let set = DataSet::from_lines(&Source::new("t", text), false, &mut Report::new());
        assert_eq!(set.len(), 1);
        assert_eq!(set.record(0).unwrap().value().len(), 5000 + 16);
        assert!(set.record(1).is_none());
    }

    #[test]
    fn types_that_are_not_read_say_what_to_use() {
        for (text, help) in [("dsn:mysql://u:p@h", "SQL"), ("lua:/x", "Lua"), ("fe80::1", "csl:")] {
            let mut report = Report::new();
            assert!(DataSet::open(&whole(text), None, false, &mut report).is_none());
            let printed = report.to_string();
            assert!(report.has_errors() && printed.contains(help), "{printed}");
            assert!(!printed.contains("u:p@"), "{printed}");
        }
    }
}
