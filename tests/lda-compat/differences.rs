//! docs/differences/dovecot-lda.md and the cases hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::differences::{assert_held, listed, numbers};

/// Differences that no case here shows, and what shows them.
const ELSEWHERE: [(&str, &str); 2] =
    [("L5", "tests/lda-e2e/kills.rs: deliveries that were killed"), ("L9", "lda/src/cli.rs: -k and -i")];

#[test]
fn every_difference_has_a_number_and_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lda-compat");
    let mut named = BTreeSet::new();
    for name in ["cases.rs", "places.rs", "quota.rs"] {
        named.extend(numbers(&fs::read_to_string(folder.join(name)).unwrap(), 'L'));
    }
    let elsewhere = ELSEWHERE.iter().map(|(number, _)| (*number).to_owned()).collect();
    assert_held(&listed("dovecot-lda.md", 'L'), &named, &elsewhere);
}
