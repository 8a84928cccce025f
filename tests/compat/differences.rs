//! docs/differences/opendkim.md and the cases hold together: no number without a case, no case without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
    let text = fs::read_to_string(root().join("docs/differences/opendkim.md")).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| line.split_once("** "))
        .map(|(number, _)| number)
        .collect();
    let counted: Vec<String> = (1..=listed.len()).map(|number| format!("D{number}")).collect();
    assert_eq!(listed, counted, "the numbers go from D1 on without a gap");
    let listed: BTreeSet<String> = counted.into_iter().collect();
    let without: BTreeSet<String> = WITHOUT_A_CASE.iter().map(|(number, _)| (*number).to_owned()).collect();
    let named = named_by_cases();
    assert_eq!(
        named.difference(&listed).collect::<Vec<_>>(),
        [""; 0],
        "cases name what is not in the document"
    );
    assert_eq!(named.intersection(&without).collect::<Vec<_>>(), [""; 0], "they have cases after all");
    let held: BTreeSet<String> = named.union(&without).cloned().collect();
    assert_eq!(listed.difference(&held).collect::<Vec<_>>(), [""; 0], "no case shows these");
}

/// `D` and a number, as words of their own, in the files of this test but this one.
fn named_by_cases() -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests/compat")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "differences.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let numbered = words.filter(|word| {
            word.strip_prefix('D').is_some_and(|rest| {
                (1..=2).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit())
            })
        });
        named.extend(numbered.map(str::to_owned));
    }
    named
}
