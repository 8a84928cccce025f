//! docs/differences/dovecot-lmtp.md and the dialogues hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::differences::{assert_held, listed, numbers};

/// Differences that no dialogue here can show, and what shows them.
const WITHOUT_A_DIALOGUE: [(&str, &str); 4] = [
    ("L10", "one broken mailbox: tests/lmtp-e2e/delivery.rs"),
    ("L11", "limits: tests/lmtp-e2e/bounds.rs"),
    ("L12", "the end of the service: tests/lmtp-e2e/service.rs"),
    ("L13", "the same id at each attempt: tests/lmtp-e2e/kills.rs"),
];

#[test]
fn every_difference_has_a_number_and_a_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lmtp-compat");
    let mut named = BTreeSet::new();
    for name in ["dialogues.rs", "delivered.rs"] {
        named.extend(numbers(&fs::read_to_string(folder.join(name)).unwrap(), 'L'));
    }
    let without = WITHOUT_A_DIALOGUE.iter().map(|(number, _)| (*number).to_owned()).collect();
    assert_held(&listed("dovecot-lmtp.md", 'L'), &named, &without);
}
