//! docs/differences/opendkim.md and the cases hold together: no number without a case, no case without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use harness::differences::{assert_held, listed, numbers};

/// Differences that no case here can show, and why.
const WITHOUT_A_CASE: [(&str, &str); 2] = [
    (
        "D9",
        "OpenDKIM needs the databases themselves; tests/cases/config-bad/28-data-set-foreign shows our side",
    ),
    ("D15", "OpenDKIM would have to be stopped after minutes; milter/src/table/pattern.rs tests our side"),
];

/// The top of the tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn every_difference_has_a_number_and_a_case() {
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests/compat")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "differences.rs") {
            named.extend(numbers(&fs::read_to_string(path).unwrap(), 'D'));
        }
    }
    let without = WITHOUT_A_CASE.iter().map(|(number, _)| (*number).to_owned()).collect();
    assert_held(&listed("opendkim.md", 'D'), &named, &without);
}
