//! docs/differences/dovecot-auth.md and the dialogues hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::differences::{assert_held, listed, numbers};

/// Differences that no dialogue here can show, and what shows them.
const WITHOUT_A_DIALOGUE: [(&str, &str); 1] =
    [("S21", "services of PAM belong to the machine: the tests of sasl-auth/src/passdb/pam/worker.rs")];

#[test]
fn every_difference_has_a_number_and_a_dialogue() {
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("auth-compat")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "differences.rs" && name != "dialogue.rs") {
            named.extend(numbers(&fs::read_to_string(path).unwrap(), 'S'));
        }
    }
    let without = WITHOUT_A_DIALOGUE.iter().map(|(number, _)| (*number).to_owned()).collect();
    assert_held(&listed("dovecot-auth.md", 'S'), &named, &without);
}
