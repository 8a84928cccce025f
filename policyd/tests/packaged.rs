//! The configurations and the README that the Debian package brings: read without a complaint, and in step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::config::Source;
use base::service::listen::Address;
use policyd::config;
use policyd::postfix_check::{self, Ours};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn read(name: &str) -> String {
    fs::read_to_string(packaging().join(name)).unwrap()
}

fn taken_without_a_complaint(name: &str, text: &str) {
    let loaded = config::load(&Source::new(name, text));
    assert_eq!(loaded.report.to_string(), "", "{name}: {text}");
    assert!(loaded.settings.is_some());
}

#[test]
fn configurations_are_taken_as_they_are_and_with_what_is_commented_out() {
    let mut names = vec!["conf/policyd.toml".to_owned()];
    for entry in fs::read_dir(packaging().join("conf/policyd-examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".toml") {
            names.push(format!("conf/policyd-examples/{name}"));
        }
    }
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let text = read(&name);
        taken_without_a_complaint(&name, &text);
        let whole: Vec<&str> = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .collect();
        taken_without_a_complaint(&name, &whole.join("\n"));
    }
}

#[test]
fn the_unit_listens_where_the_configuration_says() {
    let unit = read("debian/postrider-policyd.socket");
    let path = unit.lines().find_map(|line| line.strip_prefix("ListenStream=")).unwrap();
    let loaded = config::load(&Source::new("policyd.toml", read("conf/policyd.toml")));
    assert_eq!(loaded.settings.unwrap().listen, [Address::Unix(path.into())]);
}

/// The lines of README.Debian, on Debian's master.cf, are what our own check wants.
#[test]
fn what_the_readme_writes_into_main_cf_is_right() {
    let readme = read("debian/postrider-policyd.README.Debian");
    let lines: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("    smtpd_recipient_restrictions"))
        .take_while(|line| !line.is_empty())
        .map(|line| line.strip_prefix("    ").unwrap())
        .collect();
    assert!(lines.len() >= 7, "{lines:?}");
    let master = "smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n";
    let ours = Ours {
        listen: vec![Address::Unix("/var/spool/postfix/postrider/policyd".into())],
        reply_within: Duration::from_millis(100),
        by_login: vec!["per-user".into()],
        by_recipient: vec!["per-domain".into()],
        by_bytes: vec!["volume".into()],
        at_rcpt: Vec::new(),
        at_data: vec!["data".into()],
        at_end: vec!["end".into()],
        greylisting: true,
    };
    let main = Source::new("main.cf", lines.join("\n"));
    let report = postfix_check::check(&main, &Source::new("master.cf", master), &ours);
    assert_eq!((report.errors(), report.warnings()), (0, 0), "{report}");
}
