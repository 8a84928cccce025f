//! A document of docs/differences and the cases that show it hold together: no number without a case, no case without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The numbers of a document (`letter` and 1, 2, …), which go on without a gap.
#[must_use]
pub fn listed(document: &str, letter: char) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/differences").join(document)).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| line.split_once("** "))
        .map(|(number, _)| number)
        .collect();
    let counted: Vec<String> = (1..=listed.len()).map(|number| format!("{letter}{number}")).collect();
    assert_eq!(listed, counted, "{document}: the numbers go from {letter}1 on without a gap");
    counted.into_iter().collect()
}

/// `letter` and a number of at most two digits, as words of their own.
pub fn numbers(text: &str, letter: char) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter_map(move |word| {
        let digits = word.strip_prefix(letter)?;
        let number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| word.to_owned())
    })
}

/// Each number of the document is `named` by a case or shown `elsewhere`, never both, and there are no others.
#[track_caller]
pub fn assert_held(listed: &BTreeSet<String>, named: &BTreeSet<String>, elsewhere: &BTreeSet<String>) {
    let none: [&String; 0] = [];
    let held: BTreeSet<String> = named.union(elsewhere).cloned().collect();
    assert_eq!(held.difference(listed).collect::<Vec<_>>(), none, "not in the document");
    assert_eq!(named.intersection(elsewhere).collect::<Vec<_>>(), none, "they have cases after all");
    assert_eq!(listed.difference(&held).collect::<Vec<_>>(), none, "no case shows these");
}
