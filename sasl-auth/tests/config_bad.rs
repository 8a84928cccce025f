//! Broken configurations, each with the exact complaint: tests/cases/config-bad/sasl-* (UPDATE=1 rewrites it).
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

use base::config::{Report, Source};
use sasl_auth::config;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/config-bad");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("sasl-"))
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
        let name = "sasl-auth.toml";
        let mut loaded = match Source::read(Path::new(name), name, base::config::toml::MAX_BYTES) {
            Ok(source) => config::load(&source),
            Err(error) => {
                let mut report = Report::new();
                report.error_anywhere(format!("{name}: {error}"));
                config::Loaded { settings: None, document: None, report }
            }
        };
        loaded.check();
        let found = loaded.report.to_string();
        assert!(!found.is_empty(), "{} is not complained about", case.display());
        assert!(!found.contains("opensesame"), "{} shows a secret", case.display());
        assert!(!fs::read_to_string("why").unwrap().trim().is_empty(), "{}/why is empty", case.display());
        if std::env::var_os("UPDATE").is_some() {
            fs::write("want", &found).unwrap();
        } else if fs::read_to_string("want").unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "other complaints than wanted:\n{}", wrong.join("\n"));
}
