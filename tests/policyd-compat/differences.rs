//! docs/differences/policy.md and the series hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_difference_has_a_number_and_a_series() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/differences/policy.md")).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| line.split_once("** "))
        .map(|(number, _)| number)
        .collect();
    let counted: Vec<String> = (1..=listed.len()).map(|number| format!("R{number}")).collect();
    assert_eq!(listed, counted, "the numbers go from R1 on without a gap");
    let listed: BTreeSet<String> = counted.into_iter().collect();
    let mut named = BTreeSet::new();
    for name in ["rate_limit.rs", "postfwd.rs"] {
        let text = fs::read_to_string(root.join("tests/policyd-compat").join(name)).unwrap();
        let numbers = text.split("Differ(\"").skip(1).filter_map(|rest| rest.split_once('"'));
        named.extend(numbers.map(|(number, _)| number.to_owned()));
    }
    let none: [&String; 0] = [];
    assert_eq!(named.difference(&listed).collect::<Vec<_>>(), none, "not in the document");
    assert_eq!(listed.difference(&named).collect::<Vec<_>>(), none, "no series shows these");
}
