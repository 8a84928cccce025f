//! docs/differences/pigeonhole.md and the cases hold together: no number without a case, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Differences that sieve-test cannot show, and what shows them.
const WITHOUT_A_CASE: &[(&str, &str)] = &[
    ("P12", "sieve-test redirects nothing: tests/lda-sieve"),
    ("P13", "sieve-test redirects nothing: tests/lda-sieve"),
    ("P14", "sieve-test rejects nothing: tests/lda-sieve"),
    ("P15", "a script with it is refused there: lda/src/sieve/interpreter/tests.rs"),
    ("P16", "sieve-test remembers nothing: tests/lda-sieve"),
    ("P17", "sieve-test answers nobody: lda/src/sieve/vacation.rs"),
    ("P18", "sieve-test has no such limit: tests/lda-sieve"),
    ("P19", "sieve-test compiles nothing to files: tests/lda-sieve"),
    ("P20", "sieve-test stores nothing: tests/lda-sieve"),
];

#[test]
fn every_difference_has_a_number_and_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/differences/pigeonhole.md")).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| line.split_once("** "))
        .map(|(number, _)| number)
        .collect();
    let counted: Vec<String> = (1..=listed.len()).map(|number| format!("P{number}")).collect();
    assert_eq!(listed, counted, "the numbers go from P1 on without a gap");
    let without: BTreeSet<&str> = WITHOUT_A_CASE.iter().map(|(number, _)| *number).collect();
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(root.join("tests/sieve-compat")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "differences.rs") {
            let text = fs::read_to_string(path).unwrap();
            for after in text.split(".differs(\"").skip(1) {
                named.insert(after.split('"').next().unwrap().to_owned());
            }
        }
    }
    let listed: BTreeSet<&str> = listed.into_iter().collect();
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    let none: [&&str; 0] = [];
    assert_eq!(named.difference(&listed).collect::<Vec<_>>(), none, "not in the document");
    assert_eq!(named.intersection(&without).collect::<Vec<_>>(), none, "they have cases after all");
    let held: BTreeSet<&str> = named.union(&without).copied().collect();
    assert_eq!(listed.difference(&held).collect::<Vec<_>>(), none, "no case shows these");
}
