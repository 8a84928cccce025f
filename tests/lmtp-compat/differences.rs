//! docs/differences/dovecot-lmtp.md and the dialogues hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Differences that no dialogue here can show, and what shows them.
const WITHOUT_A_DIALOGUE: [(&str, &str); 4] = [
    ("L10", "one broken mailbox: tests/lmtp-e2e/delivery.rs"),
    ("L11", "limits: tests/lmtp-e2e/bounds.rs"),
    ("L12", "the end of the service: tests/lmtp-e2e/service.rs"),
    ("L13", "the same id at each attempt: tests/lmtp-e2e/kills.rs"),
];

#[test]
fn every_difference_has_a_number_and_a_dialogue() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/differences/dovecot-lmtp.md")).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| line.split_once("** "))
        .map(|(number, _)| number)
        .collect();
    let counted: Vec<String> = (1..=listed.len()).map(|number| format!("L{number}")).collect();
    assert_eq!(listed, counted, "the numbers go from L1 on without a gap");
    let listed: BTreeSet<String> = counted.into_iter().collect();
    let without: BTreeSet<String> =
        WITHOUT_A_DIALOGUE.iter().map(|(number, _)| (*number).to_owned()).collect();
    let mut named = BTreeSet::new();
    for name in ["dialogues.rs", "delivered.rs"] {
        named.extend(numbers(&fs::read_to_string(root.join("tests/lmtp-compat").join(name)).unwrap()));
    }
    let none: [&String; 0] = [];
    assert_eq!(named.difference(&listed).collect::<Vec<_>>(), none, "not in the document");
    assert_eq!(named.intersection(&without).collect::<Vec<_>>(), none, "they have dialogues after all");
    let held: BTreeSet<String> = named.union(&without).cloned().collect();
    assert_eq!(listed.difference(&held).collect::<Vec<_>>(), none, "no dialogue shows these");
}

/// `L` and a number, as words of their own.
fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter_map(|word| {
        let digits = word.strip_prefix('L')?;
        let number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| word.to_owned())
    })
}
