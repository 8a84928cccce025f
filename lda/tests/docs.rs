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
use lda::config::{self, man};

#[test]
fn the_manual_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-lda.toml.5");
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
    assert!(example.contains("[[userdb]]"));
    let loaded = config::load(&Source::new("example", example));
    assert_eq!(loaded.report.to_string(), "");
    assert!(loaded.settings.is_some());
}

#[test]
fn the_options_of_the_manual_page_are_those_of_the_program() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-lda.8"))
        .unwrap();
    let Ok(lda::cli::Invocation { task: lda::cli::Task::Print(help), .. }) =
        lda::cli::read(["--help".into()])
    else {
        panic!("no help")
    };
    let options = help.split_whitespace().map(|word| word.trim_end_matches([',', ':'])).filter(|word| {
        word.starts_with("--") && word.len() > 3 || word.len() == 2 && word.starts_with('-') && *word != "--"
    });
    for option in options.filter(|option| !["-h", "--help"].contains(option)) {
        let written = option.replace('-', "\\-");
        assert!(page.contains(&written), "{option} is not in postrider-lda.8");
    }
}

/// The file of the issue and of the README.
#[test]
fn the_smallest_file_works() {
    let text = "mail_location = \"maildir:~/Maildir\"\n[[userdb]]\ndriver = \"passwd-file\"       # or \"auth-userdb\", \"system\", \"static\"\n\
                path = \"/path/users\"\n[lmtp]\nlisten = [\"unix:/path/lmtp\"]\n";
    let loaded = config::load(&Source::new("lda.toml", text));
    assert_eq!(loaded.report.to_string(), "");
    assert!(loaded.settings.is_some());
}

#[test]
fn mistakes_are_all_told_at_once() {
    let text = "mail_location = \"mbox:~/mail\"\nmail_path = \"/x\"\nnamespace_separator = \"ab\"\nusername_format = \"%y\"\n\
                [[userdb]]\ndriver = \"passwd-file\"\n[quota]\nquota_rule = [\"*:storage=1G\", \"x\"]\nquota_grace = \"much\"\n[lmtp]\nlisten = [\"/x\"]\n";
    let report = config::load(&Source::new("lda.toml", text)).report.to_string();
    for part in [
        "lda.toml:1:17: error: mail_location: mbox: only maildir is delivered to; write \"maildir:~/Maildir\"",
        "lda.toml:2:1: error: mail_path and mail_location are both set",
        "lda.toml:3:23: error: namespace_separator: one character is expected",
        "lda.toml:4:20: error: username_format: the variable \"y\" is not known here",
        "[[userdb]] with driver passwd-file needs path",
        "lda.toml:8:31: error: quota_rule: \"x\": write it as \"*:storage=1G\"",
        "quota_grace: \"much\" is no size",
        "listen: this is no address",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

#[test]
fn the_options_of_the_lmtp_server_are_in_its_manual_page() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/postrider-lmtp.8"))
        .unwrap();
    let Ok(lda::lmtp::cli::Invocation { task: lda::lmtp::cli::Task::Print(help), .. }) =
        lda::lmtp::cli::read(["--help".into()])
    else {
        panic!("no help")
    };
    let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 3);
    for option in options.filter(|option| *option != "--help") {
        let written = option.replace('-', "\\-");
        assert!(page.contains(&written), "{option} is not in postrider-lmtp.8");
    }
}
