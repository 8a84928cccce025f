//! Whole configurations, with the texts that come out (tests/cases/import-policyd).

use std::fs;
use std::path::{Path, PathBuf};

use base::config::Source;
use proptest::prelude::*;

use super::*;
use crate::config;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import-policyd");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn import(case: &Path) -> String {
    match fs::read_to_string(case.join("postfwd.cf")) {
        Ok(text) => postfwd(&text).unwrap(),
        Err(_) => {
            policyd_rate_limit(&fs::read_to_string(case.join("policyd-rate-limit.yaml")).unwrap()).unwrap()
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "UPDATE=1 rewrites the wanted texts")]
fn configurations_come_out_as_wanted_and_are_taken() {
    let cases = cases();
    assert!(cases.len() >= 4, "the cases are not there");
    let mut wrong = Vec::new();
    for case in cases {
        let found = import(&case);
        let loaded = config::load(&Source::new("imported", found.as_str()));
        assert!(loaded.settings.is_some(), "{}:\n{}\n{found}", case.display(), loaded.report);
        let want = case.join("want.toml");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&want, &found).unwrap();
        } else if fs::read_to_string(&want).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn other_files_are_refused() {
    for text in ["", "listen = 1", "a: b", "- x", "limits: *x", "{", "limits: [[[[[[[[[[[[[[[[[[[[", "\u{0}"]
    {
        assert!(policyd_rate_limit(text).is_err(), "{text}");
    }
    for text in ["", "# nothing", "hello world", "&&X { action=rate(a) }"] {
        assert!(postfwd(text).is_err(), "{text}");
    }
}

#[test]
fn rates_read_well() {
    let found: Vec<String> =
        [60, 3600, 86_400, 90, 120, 7200, 604_800, 1, 0].iter().map(|secs| rate("10", *secs)).collect();
    let want =
        ["10/minute", "10/hour", "10/day", "10/90s", "10/2min", "10/2h", "10/7d", "10/second", "10/0s"];
    assert_eq!(found, want);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is imported, our own reading takes it.
    #[test]
    fn what_comes_out_is_taken(
        yaml in "(limits|SOCKET|fail_action|limits_by_id|limited_networks|limit_by_ip): [ -~]{0,20}\n(limits: \\[\\[[0-9]{1,3}, [0-9]{0,6}\\]\\]\n)?",
        rules in "((id|sender|client_address|size|action)(=|==|=~|!=)[ -~]{0,15}; ?){0,4}action=(rate|size|rcpt)\\([a-z_]{0,14}/[0-9a]{0,4}/[0-9]{0,5}/[ -~]{0,20}\\)",
    ) {
        for text in [policyd_rate_limit(&yaml), postfwd(&rules)].into_iter().flatten() {
            let loaded = config::load(&Source::new("imported", text.as_str()));
            prop_assert!(loaded.settings.is_some(), "{}\n{}", loaded.report, text);
        }
    }
}
