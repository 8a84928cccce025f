//! The manual page of the settings is that of the table (UPDATE=1 rewrites it), and its example works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::{fs, path::Path};

use base::config::Source;
use policyd::config::{self, man};

#[test]
fn the_manual_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-policyd.toml.5");
    let want = man::roff();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, want).unwrap();
    } else {
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == want, "{} is not up to date: run the tests with UPDATE=1", path.display());
    }
}

#[test]
fn the_example_of_the_manual_page_is_taken_without_a_complaint() {
    let page = man::roff();
    let example = page.split(".nf\n").nth(1).unwrap().split(".fi\n").next().unwrap().replace("\\-", "-");
    assert!(example.contains("[[limit]]"));
    let loaded = config::load(&Source::new("example", example));
    assert_eq!(loaded.report.to_string(), "");
    assert!(loaded.settings.is_some());
}
