//! Whole configurations of Dovecot, with the texts that come out (tests/cases/import).

use std::fs;
use std::path::{Path, PathBuf};

use base::config::Source;
use proptest::prelude::*;

use super::*;
use crate::config;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Reads the files beside a case by their last name, whatever folder they were in.
fn import(case: &Path) -> String {
    let text = fs::read_to_string(case.join("doveconf")).unwrap();
    doveconf(&text, &mut |path| fs::read_to_string(case.join(path.file_name()?)).ok()).unwrap()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "UPDATE=1 rewrites the wanted texts")]
fn configurations_come_out_as_wanted_and_are_taken() {
    let cases = cases();
    assert!(cases.len() >= 8, "the cases are not there");
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

/// Case 02 has one file a domain, in which users stand without their domain.
#[tokio::test]
async fn the_users_of_an_imported_file_are_found() {
    use crate::request::Request;

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("example.com")).unwrap();
    fs::write(folder.path().join("example.com/passwd"), "joe:{PLAIN}x\n").unwrap();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import/02-passwd-file-2.3");
    let text = import(&case).replace("/etc/mail", &folder.path().display().to_string());
    let mut settings = config::load(&Source::new("imported", text)).settings.unwrap();
    // Its user vmail is not on every machine.
    settings.userdb.clear();
    let active = crate::active::Active::new(settings).unwrap();
    let passdb = &active.passdbs[0];
    for (user, known) in [("joe@example.com", true), ("ann@example.com", false), ("joe@example.org", false)] {
        let request = Request { user: user.into(), ..Request::default() };
        let found = passdb.driver.lookup(&passdb.renamed(&request).unwrap(), None).await.unwrap();
        assert_eq!(matches!(found, crate::passdb::Lookup::Found(_)), known, "{user}");
    }
}

#[test]
fn a_file_that_cannot_be_read_leaves_a_comment() {
    let text = "passdb {\n args = /etc/dovecot/dovecot-sql.conf.ext\n driver = sql\n}\n";
    let found = doveconf(text, &mut |_| None).unwrap();
    assert!(found.contains("# /etc/dovecot/dovecot-sql.conf.ext could not be read"), "{found}");
    assert!(found.contains("# [[passdb]]\n# driver = \"sql\"\n"), "{found}");
}

#[test]
fn who_was_denied_is_not_forgotten() {
    let text = "passdb {\n args = /x\n driver = dict\n deny = yes\n}\n";
    assert!(doveconf(text, &mut |_| None).unwrap().contains("# ATTENTION: a passdb that denies"));
    // This one is turned off only when it is loaded.
    let text = "passdb {\n args = users\n driver = passwd-file\n deny = yes\n}\n";
    let found = doveconf(text, &mut |_| None).unwrap();
    assert!(found.contains("# ATTENTION: a passdb that denies"), "{found}");
    assert!(found.contains("# path = \"users\""), "{found}");
}

#[test]
fn a_hidden_password_is_no_password() {
    let text = "passdb {\n args = password=#hidden_use-P_to_show#\n driver = static\n}\n";
    let found = doveconf(text, &mut |_| None).unwrap();
    assert!(found.contains("# password = \"#hidden"), "{found}");
}

#[test]
fn even_fragments_become_a_configuration() {
    for text in ["passdb {", "passdb x {\n}\nuserdb y {\n}", "\u{0}=\u{0}\nauth_x=\n{=\n"] {
        let found = doveconf(text, &mut |_| None).unwrap();
        let loaded = config::load(&Source::new("imported", found.as_str()));
        assert!(loaded.settings.is_some(), "{text:?}:\n{}\n{found}", loaded.report);
    }
}

#[test]
fn what_is_not_dovecots_is_refused() {
    for text in ["", "}}}{{{", "\u{0}=\u{0}\n{=\n", "smtpd_sasl_type = dovecot\nmyhostname = x\n", "<html>\n"]
    {
        assert_eq!(doveconf(text, &mut |_| None), Err(NotDovecot), "{text:?}");
    }
    assert!(doveconf("# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\n", &mut |_| None).is_ok());
}

#[test]
fn tokens_alone_need_no_passdb() {
    let text = "dovecot_config_version = 2.4.1\nauth_mechanisms = oauthbearer\npassdb oauth2 {\n mechanisms_filter = \
                oauthbearer\n oauth2 {\n  introspection_url = https://idp.example.com/i\n  client_id = c\n }\n}\n";
    let found = doveconf(text, &mut |_| None).unwrap();
    assert!(
        found.contains("[oauth2]\nintrospection_url = \"https://idp.example.com/i\"\nclient_id = \"c\""),
        "{found}"
    );
    assert!(!found.contains("[[passdb]]"), "{found}");
    assert!(config::load(&Source::new("imported", found)).settings.is_some());
}

#[test]
fn settings_without_a_counterpart_are_named_with_a_reason() {
    let text = "auth_worker_max_count = 90\nauth_internal_failure_delay = 5 secs\n";
    let found = doveconf(text, &mut |_| None).unwrap().replace("\n# ", " ");
    assert!(found.contains("auth_worker_max_count = 90: there are no worker processes"), "{found}");
    assert!(
        found.contains("auth_internal_failure_delay = 5 secs: a temporary failure is not delayed"),
        "{found}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_damaged_input_still_becomes_a_configuration(at in 0_usize..4000, with in "(?s).{0,8}", cut in 0_usize..40) {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import/01-everything-2.3");
        let mut text = fs::read_to_string(case.join("doveconf")).unwrap();
        let start = text.floor_char_boundary(at % text.len());
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        text.replace_range(start..end, &with);
        let found = doveconf(&text, &mut |path| fs::read_to_string(case.join(path.file_name()?)).ok()).unwrap();
        let loaded = config::load(&Source::new("imported", found.as_str()));
        prop_assert!(loaded.settings.is_some(), "{}\n{found}", loaded.report);
    }
}
