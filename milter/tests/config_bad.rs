//! Broken configurations, each with the exact complaint: tests/cases/config-bad (UPDATE=1 rewrites it).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use milter::{
    config::{self, Origin},
    keys::DecodeKey,
    table::Algorithm,
};

/// Takes anything in PEM for a key: the cases are about configuration, not about keys.
struct Pem;

impl DecodeKey for Pem {
    type Key = Algorithm;

    fn decode(bytes: &[u8]) -> Result<Algorithm, String> {
        let text = String::from_utf8_lossy(bytes);
        if text.starts_with("-----BEGIN RSA PRIVATE KEY-----") {
            Ok(Algorithm::RsaSha256)
        } else if text.starts_with("-----BEGIN PRIVATE KEY-----") {
            Ok(Algorithm::Ed25519Sha256)
        } else {
            Err("it is neither PEM nor base64".to_owned())
        }
    }

    fn algorithm(key: &Algorithm) -> Algorithm {
        *key
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/config-bad");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.file_name().unwrap().to_string_lossy().starts_with("sasl-"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn broken_configurations_are_complained_about_exactly() {
    let cases = cases();
    assert!(cases.len() >= 20, "the cases are not there");
    let mut wrong = Vec::new();
    for case in cases {
        // The only test of this binary, so nobody else minds where the process is.
        std::env::set_current_dir(&case).unwrap();
        let mut loaded = config::load(&Origin::File(PathBuf::from("opendkim.conf")), &[]);
        if let Some(settings) = &loaded.settings {
            config::check::<Pem>(settings, &mut loaded.report);
        }
        let found = loaded.report.to_string();
        assert!(!found.is_empty(), "{} is not complained about", case.display());
        assert!(!fs::read_to_string("why").unwrap().trim().is_empty(), "{}/why is empty", case.display());
        if std::env::var_os("UPDATE").is_some() {
            fs::write("want", &found).unwrap();
        } else if fs::read_to_string("want").unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "other complaints than wanted:\n{}", wrong.join("\n"));
}
