//! `KeyTable`: names to signing domain, selector and key.

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};

use base::config::Report;
use zeroize::Zeroizing;

use crate::dkim::Domain;

use super::{
    dataset::{Case, DataSet, Kind, Record, resolve},
    lookup::Table,
};

/// A signature algorithm that Postrider makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `rsa-sha256` (RFC 6376 §3.3).
    RsaSha256,
    /// `ed25519-sha256` (RFC 8463).
    Ed25519Sha256,
}

impl Algorithm {
    /// Reads the name as it stands in `a=`, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::RsaSha256, Self::Ed25519Sha256].into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    /// The name as it stands in `a=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// Where a private key comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file, read when the key is used and again when it changes.
    File(PathBuf),
    /// The key itself, in any encoding: from the table, or from `KeyFile` at start.
    Inline(Zeroizing<Vec<u8>>),
}

impl Hash for KeySource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::File(path) => path.hash(state),
            Self::Inline(bytes) => bytes.as_slice().hash(state),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Inline(_) => f.write_str("Inline(<hidden>)"),
        }
    }
}

/// A record of the table, made ready for one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key's name in the table, or the path of `KeyFile`.
    pub name: String,
    /// The signing domain for `d=`: lower-case, in A-labels.
    pub domain: String,
    /// The selector for `s=`.
    pub selector: String,
    /// Where the key comes from.
    pub key: KeySource,
    /// The algorithm that the table asks for; without one the key's type decides.
    pub algorithm: Option<Algorithm>,
}

/// Why a name of the table gives no key. The texts are those that OpenDKIM logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyTableError {
    /// No record has this name.
    Unknown(String),
    /// The record of this name lacks one of its three fields, or its selector is none.
    Corrupt(String),
    /// The domain that the record of this name leads to is no domain name.
    Domain {
        /// The name of the record.
        name: String,
        /// What should be a domain.
        domain: String,
    },
}

impl fmt::Display for KeyTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base::config::report::printable;
        match self {
            Self::Unknown(name) => write!(f, "signing table references unknown key '{}'", printable(name)),
            Self::Corrupt(name) => write!(f, "KeyTable entry for '{}' corrupt", printable(name)),
            Self::Domain { name, domain } => {
                write!(
                    f,
                    "KeyTable entry for '{}': '{}' is not a domain name",
                    printable(name),
                    printable(domain)
                )
            }
        }
    }
}

/// The table of keys.
#[derive(Debug)]
pub struct KeyTable {
    table: Table,
    directory: Option<PathBuf>,
}

/// The fields of a record, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The signing domain, or `%` for the sender's.
    pub domain: &'a str,
    /// The selector.
    pub selector: &'a str,
    /// A path, or the key itself.
    pub key: &'a str,
    /// The algorithm, when the text after the last colon is the name of one.
    pub algorithm: Option<Algorithm>,
}

impl<'a> Fields<'a> {
    /// Splits `domain:selector:key[:algorithm]`. A key path may contain colons. `None` when a
    /// field is missing or empty.
    #[must_use]
    pub fn parse(value: &'a str) -> Option<Self> {
        let (domain, rest) = value.split_once(':')?;
        let (selector, rest) = rest.split_once(':')?;
        let (key, algorithm) = match rest.rsplit_once(':') {
            Some((key, last)) => match Algorithm::parse(last.trim()) {
                Some(algorithm) => (key, Some(algorithm)),
                None => (rest, None),
            },
            None => (rest, None),
        };
        let (domain, selector, key) = (domain.trim(), selector.trim(), key.trim());
        let complete = !domain.is_empty() && !selector.is_empty() && !key.is_empty();
        complete.then_some(Self { domain, selector, key, algorithm })
    }

    /// Whether the key is a path rather than the key itself.
    #[must_use]
    pub fn is_path(&self) -> bool {
        ["/", "./", "../"].iter().any(|start| self.key.starts_with(start))
    }

    /// Whether the file's name depends on the sender's domain.
    #[must_use]
    pub fn depends_on_sender(&self) -> bool {
        self.domain == "%" && self.key.starts_with('/') && self.key.contains('%')
    }
}

impl KeyTable {
    /// Makes the table of a data set; names are case-sensitive. Relative key paths start at
    /// `directory`. Broken patterns are reported.
    #[must_use]
    pub fn new(set: DataSet, directory: Option<&Path>, report: &mut Report) -> Self {
        Self { table: Table::new(set, Case::Sensitive, report), directory: directory.map(Path::to_path_buf) }
    }

    /// Whether a record has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.table.contains(name)
    }

    /// The first record of this name, made ready for a sender in `sender_domain` (OpenDKIM 2.11
    /// observed): a domain field `%` is the sender's domain, and in a path that starts with `/`
    /// every `%` is the signing domain.
    ///
    /// # Errors
    /// [`KeyTableError`]: no such record, a record that lacks a field, or a domain that is no
    /// domain name (so no sender can choose a path outside the keys' folder).
    pub fn find(&self, name: &str, sender_domain: &str) -> Result<KeyEntry, KeyTableError> {
        let record = self.table.first(name).ok_or_else(|| KeyTableError::Unknown(name.to_owned()))?;
        self.entry(name, record, sender_domain)
    }

    /// The record made ready as [`Self::find`] does.
    ///
    /// # Errors
    /// [`KeyTableError::Corrupt`] and [`KeyTableError::Domain`].
    pub fn entry(
        &self,
        name: &str,
        record: Record<'_>,
        sender_domain: &str,
    ) -> Result<KeyEntry, KeyTableError> {
        let corrupt = || KeyTableError::Corrupt(name.to_owned());
        let fields = Fields::parse(record.value()).ok_or_else(corrupt)?;
        if !is_host_name(fields.selector) {
            return Err(corrupt());
        }
        let written = if fields.domain == "%" { sender_domain } else { fields.domain };
        let domain = to_ascii(written)
            .ok_or_else(|| KeyTableError::Domain { name: name.to_owned(), domain: written.to_owned() })?;
        let key = if !fields.is_path() {
            KeySource::Inline(Zeroizing::new(fields.key.as_bytes().to_vec()))
        } else if fields.key.starts_with('/') {
            KeySource::File(PathBuf::from(fields.key.replace('%', &domain)))
        } else {
            KeySource::File(resolve(Path::new(fields.key), self.directory.as_deref()))
        };
        Ok(KeyEntry {
            name: name.to_owned(),
            domain,
            selector: fields.selector.to_owned(),
            key,
            algorithm: fields.algorithm,
        })
    }

    /// All records in the order of the table.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.table.set().records()
    }

    /// The first record of this name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<Record<'_>> {
        self.table.first(name)
    }

    /// How the records were written.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.table.set().kind()
    }
}

/// A domain name in lower-case A-labels (RFC 5890), or `None` when the text is none. No result
/// holds a `/` or an empty label.
#[must_use]
pub fn to_ascii(domain: &str) -> Option<String> {
    Domain::parse_selector(domain.as_bytes()).map(|domain| domain.as_str().to_owned())
}

/// Whether a text is made of labels of letters, digits, `-` and `_` with single dots between
/// them, 253 characters at most.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::config::Source;

    fn table(text: &str) -> KeyTable {
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("KeyTable", text), false, &mut report);
        KeyTable::new(set, Some(Path::new("/base")), &mut report)
    }

    fn file(path: &str) -> KeySource {
        KeySource::File(PathBuf::from(path))
    }

    fn inline(text: &str) -> KeySource {
        KeySource::Inline(Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn records_are_read_as_opendkim_reads_them() {
        for (line, sender, domain, selector, key, algorithm) in [
            ("k example.com:s:/k/f", "x.y", "example.com", "s", file("/k/f"), None),
            ("k Example.COM:S:/k/f", "x.y", "example.com", "S", file("/k/f"), None),
            ("k %:s:/k/%/f", "x.y", "x.y", "s", file("/k/x.y/f"), None),
            ("k example.com:s:/k/%/%", "x.y", "example.com", "s", file("/k/example.com/example.com"), None),
            ("k %:s:./%", "x.y", "x.y", "s", file("/base/./%"), None),
            ("k example.com:s:../f", "x.y", "example.com", "s", file("/base/../f"), None),
            ("k example.com:s:/k/a:b", "x.y", "example.com", "s", file("/k/a:b"), None),
            (
                "k example.com:s:/k/f:ed25519-sha256",
                "x.y",
                "example.com",
                "s",
                file("/k/f"),
                Some(Algorithm::Ed25519Sha256),
            ),
            ("k example.com:s:/k/f:rsa-sha1", "x.y", "example.com", "s", file("/k/f:rsa-sha1"), None),
            ("k example.com:s:MIIE+/=", "x.y", "example.com", "s", inline("MIIE+/="), None),
            (
                "k bücher.example:s:/k/%",
                "x.y",
                "xn--bcher-kva.example",
                "s",
                file("/k/xn--bcher-kva.example"),
                None,
            ),
        ] {
            let want = KeyEntry {
                name: "k".to_owned(),
                domain: domain.to_owned(),
                selector: selector.to_owned(),
                key,
                algorithm,
            };
            assert_eq!(table(line).find("k", sender), Ok(want), "{line}");
        }
    }

    #[test]
    fn errors_are_told_in_opendkims_words() {
        for (line, name, sender, want) in [
            ("k a:b:/c", "K", "x.y", "signing table references unknown key 'K'"),
            ("k a:b", "k", "x.y", "KeyTable entry for 'k' corrupt"),
            ("k", "k", "x.y", "KeyTable entry for 'k' corrupt"),
            ("k a::/c", "k", "x.y", "KeyTable entry for 'k' corrupt"),
            ("k a:b:", "k", "x.y", "KeyTable entry for 'k' corrupt"),
            ("k a:b c:/d", "k", "x.y", "KeyTable entry for 'k' corrupt"),
            ("k %:b:/k/%", "k", "../../etc", "KeyTable entry for 'k': '../../etc' is not a domain name"),
            ("k %:b:/k/%", "k", "..", "KeyTable entry for 'k': '..' is not a domain name"),
            ("k %:b:/k/%", "k", "", "KeyTable entry for 'k': '' is not a domain name"),
            ("k %:b:/k/%", "k", "a/b", "KeyTable entry for 'k': 'a/b' is not a domain name"),
        ] {
            assert_eq!(table(line).find(name, sender).unwrap_err().to_string(), want, "{line}");
        }
    }

    #[test]
    fn the_first_record_wins_and_a_name_may_be_a_pattern() {
        assert_eq!(table("k a.example:s:/1\nk a.example:s:/2").find("k", "x").unwrap().key, file("/1"));
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("t", "*.example %:s:/k/%"), true, &mut report);
        let table = KeyTable::new(set, None, &mut report);
        assert_eq!(table.find("any.example", "x.y").unwrap().key, file("/k/x.y"));
    }

    #[test]
    fn an_inline_key_is_not_printed() {
        let entry = table("k example.com:s:MIIESECRET").find("k", "x").unwrap();
        assert!(!format!("{entry:?}").contains("SECRET"));
    }
}
