//! `SigningTable`: which keys sign for a sender.

use base::config::{Report, Span};

use super::{
    dataset::{Case, DataSet, Kind, Record},
    lookup::Table,
};

/// The address that decides which key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    local: String,
    domain: String,
}

impl Sender {
    /// Takes an address apart already; the domain becomes lower-case, the local part stays.
    #[must_use]
    pub fn new(local: impl Into<String>, domain: &str) -> Self {
        Self { local: local.into(), domain: domain.to_lowercase() }
    }

    /// The local part as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `local@domain`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }
}

/// A record that matches a sender.
#[derive(Clone, Debug)]
pub struct SigningMatch<'a> {
    /// The name of a key; a field `%` has become the sender's domain.
    pub key_name: String,
    /// The text for `i=`, `%` replaced, when the record has one.
    pub signer: Option<String>,
    /// The record itself.
    pub record: Record<'a>,
}

/// The table of senders.
#[derive(Debug)]
pub struct SigningTable(Table);

impl SigningTable {
    /// Makes the table of a data set; case does not matter. Reports as mistakes: a broken pattern,
    /// a record without a key name, a signer without `@`. Warns about a `*` in a table without
    /// `refile:`, where it is no wildcard.
    #[must_use]
    pub fn new(set: DataSet, report: &mut Report) -> Self {
        let flat = set.kind() != Kind::Patterns;
        for record in set.records() {
            let (key_name, signer) = fields(record.value());
            if key_name.is_empty() {
                report
                    .error(&record.key_span(), "the key's name is missing")
                    .help("write the sender, a blank, and the name of a key in KeyTable");
            }
            if signer.is_some_and(|signer| !signer.contains('@')) {
                report
                    .error(&record.value_span(), "the signer after the colon is no address")
                    .help("write user@domain or @domain, where % stands for the sender's domain");
            }
            if flat && literal_wildcard(record.key()) {
                report
                    .warning(
                        &record.key_span(),
                        "* is a wildcard only in a refile: table: this line never matches",
                    )
                    .help("put refile: before the file's name in SigningTable, or write the domain alone");
            }
        }
        Self(Table::new(set, Case::Insensitive, report))
    }

    /// The records that match, in the order in which they sign; only the first unless `all`
    /// (OpenDKIM 2.11 observed).
    ///
    /// A table of patterns is compared with `local@domain` in the order of the file. Any other is
    /// asked for `local@domain`, `domain`, then for each parent domain `local@.parent` and
    /// `.parent`, then `local@*`, then `*`.
    #[must_use]
    pub fn lookup(&self, sender: &Sender, all: bool) -> Vec<SigningMatch<'_>> {
        let mut found = Vec::new();
        if self.0.set().kind() == Kind::Patterns {
            found = self.records_for(&sender.address(), all);
        } else {
            for form in forms(sender) {
                found.extend(self.records_for(&form, all));
                if !all && !found.is_empty() {
                    break;
                }
            }
        }
        found.into_iter().map(|record| SigningMatch::new(record, sender)).collect()
    }

    /// All records in the order of the table.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.0.set().records()
    }

    fn records_for(&self, key: &str, all: bool) -> Vec<Record<'_>> {
        if all { self.0.all(key) } else { self.0.first(key).into_iter().collect() }
    }
}

impl<'a> SigningMatch<'a> {
    fn new(record: Record<'a>, sender: &Sender) -> Self {
        let (key_name, signer) = fields(record.value());
        let key_name = if key_name == "%" { sender.domain.clone() } else { key_name.to_owned() };
        Self { key_name, signer: signer.map(|signer| signer.replace('%', &sender.domain)), record }
    }
}

/// The key's name and the signer of a record's value `keyname[:signer]`.
#[must_use]
pub fn fields(value: &str) -> (&str, Option<&str>) {
    match value.split_once(':') {
        Some((key_name, signer)) => {
            (key_name.trim(), Some(signer.trim()).filter(|signer| !signer.is_empty()))
        }
        None => (value.trim(), None),
    }
}

/// Where the key's name stands in a record.
#[must_use]
pub fn key_name_span(record: Record<'_>) -> Span {
    record.value_span().part(0, fields(record.value()).0.len())
}

fn forms(sender: &Sender) -> impl Iterator<Item = String> {
    let (local, domain) = (sender.local.as_str(), sender.domain.as_str());
    let parents = domain.match_indices('.').filter_map(move |(at, _)| domain.get(at..));
    [sender.address(), domain.to_owned()]
        .into_iter()
        .chain(parents.flat_map(move |parent| [format!("{local}@{parent}"), parent.to_owned()]))
        .chain([format!("{local}@*"), "*".to_owned()])
}

/// Whether a key of a flat table holds a `*` that is taken literally.
fn literal_wildcard(key: &str) -> bool {
    let rest = key.strip_suffix("@*").unwrap_or(if key == "*" { "" } else { key });
    rest.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::config::Source;

    fn table(text: &str, patterns: bool) -> (SigningTable, Report) {
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("SigningTable", text), patterns, &mut report);
        (SigningTable::new(set, &mut report), report)
    }

    fn keys(table: &SigningTable, address: &str, all: bool) -> Vec<String> {
        let (local, domain) = address.split_once('@').unwrap();
        table.lookup(&Sender::new(local, domain), all).into_iter().map(|found| found.key_name).collect()
    }

    #[test]
    fn a_flat_table_is_asked_form_by_form() {
        let text = "* star\njo@* localstar\n.com dotcom\njo@.com local-dotcom\n.example.com dotexample\n\
                    jo@.example.com local-dotexample\nsub.example.com domain\njo@sub.example.com address\n";
        let (table, _) = table(text, false);
        let all = [
            "address",
            "domain",
            "local-dotexample",
            "dotexample",
            "local-dotcom",
            "dotcom",
            "localstar",
            "star",
        ];
        assert_eq!(keys(&table, "jo@sub.example.com", true), all);
        assert_eq!(keys(&table, "JO@SUB.example.com", false), ["address"]);
        assert_eq!(keys(&table, "al@sub.example.com", false), ["domain"]);
        assert_eq!(keys(&table, "jo@example.com", false), ["local-dotcom"]);
        assert_eq!(keys(&table, "al@example.com", false), ["dotcom"]);
        assert_eq!(keys(&table, "al@example.org", false), ["star"]);
    }

    #[test]
    fn a_dot_domain_does_not_match_itself() {
        let (table, _) = table(".example.com k\n", false);
        assert!(keys(&table, "a@example.com", true).is_empty());
        assert_eq!(keys(&table, "a@b.example.com", true), ["k"]);
    }

    #[test]
    fn patterns_match_in_file_order() {
        let (table, _) = table("*@other.example 0\n*@d.example 1\njo@* 2\n*@D.example 3\n", true);
        assert_eq!(keys(&table, "jo@d.example", true), ["1", "2", "3"]);
        assert_eq!(keys(&table, "jo@d.example", false), ["1"]);
        assert!(keys(&table, "al@x.example", true).is_empty());
    }

    #[test]
    fn percent_is_the_senders_domain() {
        let (table, report) = table("a.example %:@%\nb.example k:x%y@%\nc.example k\n", false);
        assert!(report.notes().is_empty());
        let find = |domain: &str| {
            let sender = Sender::new("jo", domain);
            let found = table.lookup(&sender, false);
            (found[0].key_name.clone(), found[0].signer.clone())
        };
        assert_eq!(find("A.example"), ("a.example".to_owned(), Some("@a.example".to_owned())));
        assert_eq!(find("b.example"), ("k".to_owned(), Some("xb.exampley@b.example".to_owned())));
        assert_eq!(find("c.example"), ("k".to_owned(), None));
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        for (text, patterns, errors, warnings) in [
            ("example.com", false, 1, 0),
            ("*@example.com", true, 1, 0),
            ("*@example.com k", false, 0, 1),
            ("*.example.com k", false, 0, 1),
            ("* k", false, 0, 0),
            ("jo@* k", false, 0, 0),
            ("*@example.com k", true, 0, 0),
            ("example.com k:nobody", false, 1, 0),
            ("example.com k:", false, 0, 0),
            ("ex(ample k", true, 1, 0),
        ] {
            let (_, report) = table(text, patterns);
            assert_eq!((report.errors(), report.warnings()), (errors, warnings), "{text}");
        }
    }
}
