//! docs/differences/policy.md and the series hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::differences::{assert_held, listed};

#[test]
fn every_difference_has_a_number_and_a_series() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policyd-compat");
    let mut named = BTreeSet::new();
    for name in ["rate_limit.rs", "postfwd.rs"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let numbers = text.split("Differ(\"").skip(1).filter_map(|rest| rest.split_once('"'));
        named.extend(numbers.map(|(number, _)| number.to_owned()));
    }
    assert_held(&listed("policy.md", 'R'), &named, &BTreeSet::new());
}
