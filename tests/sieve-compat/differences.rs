//! docs/differences/pigeonhole.md and the cases hold together: no number without a case, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::differences::{assert_held, listed};

/// Differences that sieve-test cannot show, which needs a delivery: the cases that deliver with both programs.
const CASES_ELSEWHERE: &str = "lda-sieve/pigeonhole.rs";

#[test]
fn every_difference_has_a_number_and_a_case() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    // `fn p12_what_would_come_back…`
    let elsewhere = fs::read_to_string(tests.join(CASES_ELSEWHERE)).unwrap();
    let number = |after: &str| after.split('_').next().unwrap_or_default().to_uppercase();
    let without: BTreeSet<String> = elsewhere.split("#[test]\nfn ").skip(1).map(number).collect();
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(tests.join("sieve-compat")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "differences.rs") {
            let text = fs::read_to_string(path).unwrap();
            let numbers = text.split(".differs(\"").skip(1);
            named.extend(numbers.map(|after| after.split('"').next().unwrap().to_owned()));
        }
    }
    assert_held(&listed("pigeonhole.md", 'P'), &named, &without);
}
