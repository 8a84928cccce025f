//! docs/differences/pigeonhole.md and the cases hold together: no number without a case, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Differences that sieve-test cannot show, which needs a delivery: the cases that deliver with both programs.
const CASES_ELSEWHERE: &str = "tests/lda-sieve/pigeonhole.rs";

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
    // `fn p12_what_would_come_back…`
    let elsewhere = fs::read_to_string(root.join(CASES_ELSEWHERE)).unwrap();
    let number = |after: &str| after.split('_').next().unwrap_or_default().to_uppercase();
    let without: BTreeSet<String> = elsewhere.split("#[test]\nfn ").skip(1).map(number).collect();
    let without: BTreeSet<&str> = without.iter().map(String::as_str).collect();
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
    assert_eq!(named.intersection(&without).collect::<Vec<_>>(), none, "one case is enough");
    assert_eq!(without.difference(&listed).collect::<Vec<_>>(), none, "not in the document");
    let held: BTreeSet<&str> = named.union(&without).copied().collect();
    assert_eq!(listed.difference(&held).collect::<Vec<_>>(), none, "no case shows these");
}
