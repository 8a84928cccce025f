//! opendkim.conf: any text is read, and its mistakes can be shown.

use base::config::{Source, directives};
use milter::config::{Origin, load};

use crate::assert_printable;

/// Parameters whose value is a path, which a fuzzer must not choose.
const PATHS: [&str; 9] = [
    "Include",
    "KeyFile",
    "TrustAnchorFile",
    "BaseDirectory",
    "TestDNSData",
    "TestPublicKeys",
    "PidFile",
    "ChangeRootDirectory",
    "TemporaryDirectory",
];

/// A configuration file. Settings come out, or else a mistake is told.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let source = Source::new("opendkim.conf", text.as_ref());
    for directive in directives::parse(&source) {
        assert!(!directive.name.text().is_empty());
        assert!(directive.name.line_text().contains(directive.name.text()));
        assert!(directive.value.is_none_or(|value| !value.text().is_empty()));
    }
    let harmless: Vec<&str> = text.split('\n').filter(|line| names_no_file(line)).collect();
    let loaded = load(&Origin::Text { name: "opendkim.conf".to_owned(), text: harmless.join("\n") }, &[]);
    assert_eq!(loaded.settings.is_none(), loaded.report.has_errors());
    assert_printable(&loaded.report.render(false));
    for note in loaded.report.notes() {
        assert_printable(&note.one_line());
    }
}

fn names_no_file(line: &str) -> bool {
    let read = directives::parse(&Source::new("line", line));
    read.iter().all(|directive| {
        let value = directive.value.as_ref().map_or("", |value| value.text()).to_ascii_lowercase();
        !PATHS.iter().any(|name| name.eq_ignore_ascii_case(directive.name.text()))
            && !value.contains('/')
            && !value.contains("file:")
    })
}
