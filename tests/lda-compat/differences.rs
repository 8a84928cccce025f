//! docs/differences/dovecot-lda.md and the cases hold together: no number without one, none without a number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Differences that no case here shows, and what shows them.
const ELSEWHERE: [(&str, &str); 2] =
    [("L5", "tests/lda-e2e/kills.rs: deliveries that were killed"), ("L9", "lda/src/cli.rs: -k and -i")];

#[test]
fn every_difference_has_a_number_and_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/differences/dovecot-lda.md")).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| line.split_once("** "))
        .map(|(number, _)| number)
        .filter(|number| number.starts_with('L'))
        .collect();
    let counted: Vec<String> = (1..=listed.len()).map(|number| format!("L{number}")).collect();
    assert_eq!(listed, counted, "the numbers go from L1 on without a gap");
    let cases: String = ["cases", "places", "quota"]
        .map(|name| fs::read_to_string(root.join(format!("tests/lda-compat/{name}.rs"))).unwrap())
        .concat();
    let mut held: BTreeSet<String> = cases
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| {
            word.strip_prefix('L').is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
            })
        })
        .map(str::to_owned)
        .collect();
    held.extend(ELSEWHERE.iter().map(|(number, _)| (*number).to_owned()));
    assert_eq!(held, counted.into_iter().collect(), "numbers with a case, and numbers of the document");
}
