//! The configurations that the Debian package brings are read without a complaint.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::fs;
use std::path::{Path, PathBuf};

use base::config::Source;
use sasl_auth::config;

fn files() -> Vec<PathBuf> {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/conf");
    let mut files = vec![conf.join("sasl-auth.toml")];
    for entry in fs::read_dir(conf.join("sasl-auth-examples")).unwrap() {
        files.push(entry.unwrap().path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files
}

fn taken_without_a_complaint(file: &Path, text: &str) {
    let loaded = config::load(&Source::new(file.display().to_string(), text));
    assert_eq!(loaded.report.to_string(), "", "{text}");
    assert!(loaded.settings.is_some());
}

#[test]
fn as_they_are() {
    let files = files();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        taken_without_a_complaint(&file, &fs::read_to_string(&file).unwrap());
    }
}

/// Settings that are commented out have no blank after the mark, sentences do. Of several ways to set
/// the same, the first counts.
#[test]
fn with_what_is_commented_out() {
    for file in files() {
        let (mut whole, mut set) = (String::new(), Vec::new());
        for line in fs::read_to_string(&file).unwrap().lines() {
            let bare = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
            let key = bare.split(" = ").next().unwrap_or_default().to_owned();
            if bare.starts_with('[') {
                set.clear();
            } else if bare.contains(" = ") && !bare.starts_with('#') {
                if set.contains(&key) {
                    continue;
                }
                set.push(key);
            }
            whole.push_str(bare);
            whole.push('\n');
        }
        assert!(whole != fs::read_to_string(&file).unwrap() || file.ends_with("pam.toml"), "{whole}");
        taken_without_a_complaint(&file, &whole);
    }
}
