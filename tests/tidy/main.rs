//! The tree's own rules, checked: first lines, file sizes, names, who may import whom, where
//! foreign crates and unsafe code live.

use std::fs;
use std::path::{Path, PathBuf};

/// Files may be this long at most; over 500 lines is a question in review.
const LONGEST_FILE: usize = 800;

/// Files that may contain unsafe code, each with its reason in its first lines.
const UNSAFE: [&str; 6] = [
    "base/src/service/background.rs",
    "base/src/service/listen.rs",
    "lda/src/sieve/confine.rs",
    "lda/src/sieve/zone.rs",
    "lda/src/submit.rs",
    "milter/src/dkim/crypto/small_rsa.rs",
];

/// Foreign crates and the only places that may name them.
const ADDRESSES: &[(&str, &[&str])] = &[
    ("indymilter", &["milter/src/callbacks.rs"]),
    ("hickory_resolver", &["milter/src/dns/mod.rs"]),
    (
        "aws_lc_rs",
        &[
            "milter/src/dkim/crypto.rs",
            "milter/src/dkim/crypto/",
            "policyd/src/store/redis/link.rs",
            "sasl-auth/src/",
        ],
    ),
    ("mail_auth", &["tests/"]),
    ("sieve_rs", &["lda/src/sieve/interpreter.rs"]),
    (
        "clap",
        &[
            "lda/src/cli.rs",
            "lda/src/lmtp/cli.rs",
            "lda/src/sieve/tools.rs",
            "milter/src/cli.rs",
            "policyd/src/cli.rs",
            "sasl-auth/src/cli.rs",
        ],
    ),
    ("hashbrown", &["policyd/src/store/table.rs"]),
    ("jiff", &["policyd/src/timezone.rs", "policyd/src/notice/send.rs"]),
    ("redb", &["policyd/src/store/file.rs", "policyd/src/greylist/records.rs"]),
    ("redis", &["policyd/src/"]),
    ("regex", &["milter/src/table/pattern.rs", "policyd/src/condition.rs"]),
    ("argon2", &["sasl-auth/src/password/"]),
    ("jsonwebtoken", &["sasl-auth/src/oauth/", "sasl-auth/tests/"]),
    ("futures_util", &["base/src/sql/"]),
    ("ldap3", &["sasl-auth/src/ldap/"]),
    ("maxminddb", &["base/src/country.rs"]),
    ("md4", &["sasl-auth/src/password/"]),
    (
        "md5",
        &[
            "sasl-auth/src/password/",
            "sasl-auth/src/mechanism/",
            "sasl-auth/src/variables/filter.rs",
            "lda/src/variables.rs",
        ],
    ),
    ("pam_client2", &["sasl-auth/src/passdb/pam/"]),
    ("prometheus_client", &["lda/src/lmtp/metrics.rs", "policyd/src/metrics.rs", "sasl-auth/src/metrics.rs"]),
    ("reqwest", &["sasl-auth/src/oauth/", "policyd/src/notice/send.rs"]),
    ("rpassword", &["sasl-auth/src/main.rs"]),
    ("saphyr_parser", &["policyd/src/import/yaml.rs"]),
    ("sqlx", &["base/src/sql/"]),
    ("toml_edit", &["base/src/config/toml/", "base/src/config/toml.rs"]),
    ("xcrypt", &["sasl-auth/src/password/crypt.rs"]),
    ("idna", &["milter/src/dkim/domain.rs"]),
    ("sd_notify", &["base/src/service/notify.rs", "base/src/service/listen.rs"]),
    (
        "nix",
        &[
            "base/src/clock.rs",
            "base/src/service/",
            "lda/src/",
            "milter/src/main.rs",
            "policyd/src/",
            "milter/src/keys/",
            "milter/src/keys.rs",
            "sasl-auth/src/config/",
            "sasl-auth/src/passdb/pam/",
            "sasl-auth/src/program.rs",
            "sasl-auth/src/user_file/",
            "sasl-auth/src/userdb/",
            "sasl-auth/tests/",
            "tests/",
        ],
    ),
    (
        "proptest",
        &[
            "lda/src/",
            "milter/src/dkim/",
            "milter/src/config/",
            "milter/src/table/",
            "milter/tests/",
            "sasl-auth/src/",
            "policyd/src/",
            "base/src/config/",
            "base/src/sql/",
            "tests/",
        ],
    ),
];

const FORBIDDEN_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "manager"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files of ours, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, found);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths.sort();
    assert!(paths.len() > 20, "the tree was not found");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// The code of a file without its comment lines.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_file_says_its_one_job_first() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.lines().next().unwrap_or_default().starts_with("//! "))
        .map(|(path, _)| format!("{path}: the first line is no //! line"))
        .collect();
    none(&wrong);
}

#[test]
fn no_file_is_too_long() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LONGEST_FILE)
        .map(|(path, text)| format!("{path}: {} lines, at most {LONGEST_FILE}", text.lines().count()))
        .collect();
    none(&wrong);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| {
            path.trim_end_matches(".rs").split('/').any(|part| FORBIDDEN_NAMES.contains(&part))
        })
        .map(|(path, _)| path)
        .collect();
    none(&wrong);
}

#[test]
fn unsafe_code_lives_in_named_files() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| {
            ["base/", "milter/", "policyd/", "sasl-auth/"].iter().any(|home| path.starts_with(home))
        })
        .filter(|(path, _)| !UNSAFE.contains(&path.as_str()))
        .filter(|(_, text)| code(text).any(|line| line.contains("unsafe {") || line.contains("unsafe fn")))
        .map(|(path, _)| format!("{path}: unsafe code, but not in the list of tests/tidy"))
        .collect();
    none(&wrong);
}

#[test]
fn each_foreign_crate_has_one_address() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, homes) in ADDRESSES {
            let path_of = format!("{name}::");
            let named = code(&text).any(|line| {
                line.match_indices(&path_of).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
                })
            });
            if named && !homes.iter().any(|home| path.starts_with(home)) && !path.starts_with("tests/") {
                wrong.push(format!("{path}: names {name}, whose address is {}", homes.join(", ")));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_pure_core_stays_pure() {
    // The core of DKIM and the decisions know no sockets, files, clock or runtime.
    let pure = [
        "milter/src/dkim/",
        "milter/src/plan.rs",
        "milter/src/judge.rs",
        "milter/src/report.rs",
        "milter/src/edits.rs",
        "milter/src/authres.rs",
        "milter/src/address.rs",
        "milter/src/framing.rs",
        "base/src/dovecot/",
        "base/src/line.rs",
        "base/src/passwd_file.rs",
        "policyd/src/action.rs",
        "policyd/src/condition.rs",
        "policyd/src/decide.rs",
        "policyd/src/control/show.rs",
        "policyd/src/greylist/mod.rs",
        "policyd/src/greylist/record.rs",
        "policyd/src/greylist/subject.rs",
        "policyd/src/greylist/whitelist.rs",
        "policyd/src/import/",
        "policyd/src/lookup/cache.rs",
        "policyd/src/lookup/needs.rs",
        "policyd/src/lookup/template.rs",
        "policyd/src/notice/incidents.rs",
        "policyd/src/notice/mail.rs",
        "policyd/src/postfix_check/",
        "policyd/src/key.rs",
        "policyd/src/limiter/",
        "policyd/src/messages.rs",
        "policyd/src/protocol.rs",
        "policyd/src/rate.rs",
        "sasl-auth/src/cache.rs",
        "sasl-auth/src/chain.rs",
        "sasl-auth/src/mechanism/",
        "sasl-auth/src/networks.rs",
        "sasl-auth/src/outcome.rs",
        "sasl-auth/src/password/",
        "sasl-auth/src/report.rs",
        "sasl-auth/src/session.rs",
        "sasl-auth/src/throttle.rs",
        "sasl-auth/src/userdb_session.rs",
        "sasl-auth/src/variables/",
    ];
    let outside = [
        "std::fs",
        "std::net::Tcp",
        "std::os",
        "tokio::",
        "clock::",
        "crate::dns",
        "crate::callbacks",
        "crate::server",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if pure.iter().any(|home| path.starts_with(home)) {
            // Tests may read and write files.
            if path.ends_with("/tests.rs") || path.contains("/tests/") {
                continue;
            }
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for name in outside {
                if code(text).any(|line| line.contains(name)) {
                    wrong.push(format!("{path}: names {name}"));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn base_knows_no_service() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path.starts_with("base/"))
        .filter(|(_, text)| code(text).any(|line| line.contains("milter::") || line.contains("sasl_auth::")))
        .map(|(path, _)| path)
        .collect();
    none(&wrong);
}

#[test]
fn no_test_is_ignored_without_a_number() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path != "tests/tidy/main.rs")
        .flat_map(|(path, text)| {
            code(&text)
                .filter(|line| line.contains("#[ignore"))
                .filter(|line| !line.contains("gap: "))
                .map(|line| format!("{path}: {line}"))
                .collect::<Vec<_>>()
        })
        .collect();
    none(&wrong);
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path != "tests/tidy/main.rs")
        .filter(|(_, text)| text.contains("/work/") || text.contains("/root/"))
        .map(|(path, _)| path)
        .collect();
    none(&wrong);
}
