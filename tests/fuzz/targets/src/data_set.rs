//! Data sets: any text is a table, and what is found in it is what stands in it.

use std::net::IpAddr;
use std::path::Path;

use base::config::{Report, Source, Span};
use milter::table::{Case, DataSet, HostSet, KeyTable, MacroList, Sender, SigningTable, Table};

use crate::{assert_printable, choice};

/// A table of lines, of patterns or a list, used in every way in which tables are used.
pub fn data_set(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    let text = String::from_utf8_lossy(rest);
    let source = Source::new("table", text.as_ref());
    let mut report = Report::new();
    let set = match first % 3 {
        0 => DataSet::from_lines(&source, false, &mut report),
        1 => DataSet::from_lines(&source, true, &mut report),
        _ => DataSet::from_list(&Span::new(&source, 1, 0, text.len())),
    };
    for record in set.records() {
        assert!(!record.key().is_empty());
        assert_eq!(record.key_span().text(), record.key());
        assert_eq!(record.value_span().text(), record.value());
    }
    let keys: Vec<String> = set.records().take(8).map(|record| record.key().to_owned()).collect();
    lookups(&set, &keys, first % 3 == 1, &mut report);
    signing(&set, &keys, &mut report);
    assert_printable(&report.render(false));
}

fn lookups(set: &DataSet, keys: &[String], patterns: bool, report: &mut Report) {
    let hosts = HostSet::new(set, report);
    let macros = MacroList::new(set);
    let loopback = Some(IpAddr::from([127, 0, 0, 1]));
    for key in keys.iter().map(String::as_str).chain(["", "localhost", "a.b.example.com"]) {
        let _ = hosts.matches(Some(key), loopback);
        let _ = hosts.matches(Some(key), key.parse().ok());
        macros.matches(|name| (name == key).then_some("value"));
    }
    for case in [Case::Sensitive, Case::Insensitive] {
        let table = Table::new(set.clone(), case, report);
        for key in keys {
            let all = table.all(key);
            let first = table.first(key).map(|record| record.key_span().start_offset());
            assert_eq!(first, all.first().map(|record| record.key_span().start_offset()), "{key:?}");
            assert_eq!(table.contains(key), first.is_some());
            assert!(patterns || first.is_some(), "{key:?} is not found");
        }
    }
}

fn signing(set: &DataSet, keys: &[String], report: &mut Report) {
    let senders = SigningTable::new(set.clone(), report);
    let table = KeyTable::new(set.clone(), Some(Path::new("/keys")), report);
    for key in keys {
        let (local, domain) = key.split_once('@').unwrap_or(("a", key));
        let sender = Sender::new(local, domain);
        let first = senders.lookup(&sender, false);
        let all = senders.lookup(&sender, true);
        assert!(first.len() <= 1 && first.len() == all.len().min(1), "{key:?}");
        if let Ok(entry) = table.find(key, domain) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            assert!(entry.domain.chars().all(plain), "{:?}", entry.domain);
            assert!(!entry.domain.split('.').any(str::is_empty), "{:?}", entry.domain);
        }
    }
}
