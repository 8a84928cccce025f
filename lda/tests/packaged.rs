//! The configuration that the Debian package brings is read without a complaint, as it stands and with all of it on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::fs;
use std::path::Path;

use base::config::Source;
use lda::config;

#[test]
fn as_it_stands_and_with_what_is_commented_out() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/conf/lda.toml");
    let text = fs::read_to_string(&path).unwrap();
    // Settings are commented out without a space behind the mark.
    let all: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(all.contains("\n[quota]\n") && all.contains("\ndriver = \"passwd-file\"\n"));
    for text in [text, all] {
        let loaded = config::load(&Source::new("lda.toml", text.as_str()));
        assert_eq!(loaded.report.to_string(), "", "{text}");
        assert!(loaded.settings.is_some());
    }
}
