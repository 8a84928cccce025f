//! Whole configurations, right and wrong, and any bytes at all.

use std::time::Duration;

use base::config::Source;
use base::config::toml::{Fallback, Kind};
use proptest::prelude::*;

use super::settings::*;
use super::*;

const MINIMAL: &str = r#"
mechanisms = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]
[[listen]]
address = "unix:/path/auth"
kind = "client"            # or "userdb"
mode = 0o660               # user, group likewise
[[passdb]]
driver = "passwd-file"
path = "/path/users"
[[userdb]]
driver = "passwd-file"
path = "/path/users"
"#;

fn loaded(text: &str) -> Loaded {
    load(&Source::new("sasl-auth.toml", text))
}

fn settings_of(text: &str) -> Settings {
    let loaded = loaded(text);
    loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report))
}

#[test]
fn the_minimal_file_works_as_it_stands() {
    let loaded = loaded(MINIMAL);
    assert_eq!(loaded.report.to_string(), "");
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.mechanisms, ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]);
    assert_eq!(settings.listen[0].mode, 0o660);
    assert_eq!(settings.passdb[0].default_scheme, "CRYPT");
    assert_eq!(settings.passdb[0].name, "passwd-file");
    assert!(
        matches!(&settings.userdb[0].driver, UserdbDriver::PasswdFile(file) if file.path == "/path/users")
    );
    let with_user = format!("user = \"vmail\"\ngroup = \"mail\"\n{MINIMAL}");
    assert_eq!(settings_of(&with_user).run_as.as_deref(), Some("vmail:mail"));
}

#[test]
fn defaults_are_those_of_the_settings_documentation() {
    let settings = settings_of(MINIMAL);
    let limits = Limits {
        connections: 8192,
        requests_per_connection: 1000,
        handshake_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(150),
        reply_within: Duration::from_secs(8),
        drain_timeout: Duration::from_secs(5),
    };
    assert_eq!(settings.limits, limits);
    assert_eq!((settings.hashing.memory_bytes, settings.hashing.queue), (512 << 20, 1024));
    assert!(settings.hashing.threads >= 1 && settings.cache.is_none() && settings.oauth2.is_none());
    let throttle = Throttle {
        failure_delay: Duration::from_secs(2),
        max_delay: Duration::from_secs(6),
        forget_after: Duration::from_secs(600),
        entries: 65536,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
    };
    assert_eq!(settings.throttle, throttle);
    let networks =
        Networks { users: 10000, per_user: 16, ipv4_prefix: 24, ipv6_prefix: 48, country_database: None };
    assert_eq!(settings.networks, networks);
    assert_eq!(settings.names.username_format, "%{user|lower}");
    assert_eq!(settings.names.username_chars, "a-zA-Z0-9.-_@+");
    assert_eq!(settings.names.master_user_separator, None);
    assert_eq!((settings.log.facility.as_str(), settings.log.tag.as_str()), ("mail", "auth"));
    assert_eq!(settings.passdb[0].timeout, Duration::from_secs(4));
    assert_eq!(settings.internal_failure, InternalFailure::Close);
    let cache = settings_of(&format!("{MINIMAL}[cache]\n")).cache.unwrap();
    assert_eq!((cache.size_bytes, cache.ttl), (16 << 20, Duration::from_secs(300)));
    assert_eq!((cache.negative_ttl, cache.stale_ttl), (Duration::from_secs(60), Duration::from_secs(43200)));
}

#[test]
fn every_driver_is_read() {
    let text = r#"
allow_weak_schemes = true
[[listen]]
address = "unix:/run/auth"
[[passdb]]
driver = "pam"
service = "*"
[[passdb]]
driver = "system"
[[passdb]]
driver = "sql"
url = ["postgres://u:p@h/d", "sqlite:///var/lib/users"]
query = "SELECT password FROM users WHERE name = '%{user}'"
default_scheme = "SHA512-CRYPT.b64"
[[passdb]]
driver = "ldap"
uris = "ldaps://ldap.example.com"
bind_dn = "cn=auth"
bind_password = "opensesame"
filter = "(uid=%{user})"
attributes = { password = "userPassword", userdb_home = "/home/%{ldap:uid}", user = true }
[[passdb]]
driver = "static"
password = "{PLAIN-MD5}1a1dc91c907325c69271ddf0c944bc72"
fields.nologin = true
fields.delay = 5
[[passdb]]
driver = "command"
command = ["/usr/local/bin/check", "-v"]
[[userdb]]
driver = "static"
allow_all_users = true
[userdb.fields]
uid = 5000
gid = 5000
home = "/var/mail/%{user|domain}/%{user|username}"
[[userdb]]
driver = "prefetch"
skip = "found"
"#;
    let settings = settings_of(text);
    let PassdbDriver::Sql(sql) = &settings.passdb[2].driver else { panic!() };
    assert_eq!(sql.urls[0].expose_text(), Some("postgres://u:p@h/d"));
    assert_eq!(sql.connections, 5);
    let PassdbDriver::Ldap(ldap) = &settings.passdb[3].driver else { panic!() };
    assert_eq!(ldap.bind_password.expose_text(), Some("opensesame"));
    assert_eq!(ldap.attributes[2], ("user".to_owned(), "user".to_owned()));
    assert_eq!(ldap.connections, 4);
    let PassdbDriver::Static { fields, .. } = &settings.passdb[4].driver else { panic!() };
    assert_eq!(fields.iter().collect::<Vec<_>>(), [("nologin", None), ("delay", Some("5"))]);
    let UserdbDriver::Static { fields, allow_all_users } = &settings.userdb[0].driver else { panic!() };
    assert_eq!((fields.value("uid"), *allow_all_users), (Some("5000"), true));
    assert_eq!(settings.userdb[1].skip, Skip::Authenticated);
}

#[test]
fn secrets_may_stand_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "postgres://u:opensesame@h/d\n\n").unwrap();
    let text = format!(
        "[[listen]]\naddress = \"unix:/a\"\n[[passdb]]\ndriver = \"sql\"\nurl_file = \"{}\"\nquery = \"SELECT 1\"\n",
        file.display()
    );
    let PassdbDriver::Sql(sql) = &settings_of(&text).passdb[0].driver else { panic!() };
    assert_eq!(sql.urls.len(), 1);
    assert_eq!(sql.urls[0].expose_text(), Some("postgres://u:opensesame@h/d"));
    std::fs::write(&file, "\n").unwrap();
    assert!(loaded(&text).report.to_string().contains("secret: is empty"));
}

#[test]
fn the_table_is_whole() {
    for section in &parameters::SECTIONS {
        let mut names = std::collections::HashSet::new();
        let words: &[&str] = match section.selector.and_then(|name| section.setting(name)).map(|one| one.kind)
        {
            Some(Kind::Word(words)) => words,
            _ => &[],
        };
        for setting in section.settings {
            let place = format!("{} {}", section.header(), setting.name);
            assert!(names.insert(setting.name), "{place} twice");
            assert!(setting.doc.ends_with('.') || setting.doc.ends_with('}'), "{place}: {}", setting.doc);
            assert!(setting.only.iter().all(|word| words.contains(word)), "{place}");
        }
    }
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    for section in &parameters::SECTIONS {
        for setting in section.settings {
            let Fallback::Value(text) = setting.default else { continue };
            let quoted = match setting.kind {
                Kind::Boolean | Kind::Integer { .. } | Kind::Mode => text.to_owned(),
                _ => format!("'{text}'"),
            };
            let header = match (section.name, section.repeated) {
                ("", _) => String::new(),
                (name, true) => format!("[[{name}]]\n"),
                (name, false) => format!("[{name}]\n"),
            };
            let report = loaded(&format!("{header}{} = {quoted}\n", setting.name)).report.to_string();
            assert!(!report.contains(&format!("error: {}:", setting.name)), "{report}");
            assert!(!report.contains("unknown setting"), "{report}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_complained_about(text in "(?s).{0,200}") {
        let loaded = loaded(&text);
        prop_assert!(loaded.settings.is_some() != loaded.report.has_errors());
    }

    #[test]
    fn a_damaged_configuration_is_read_or_complained_about(at in 0_usize..400, with in "(?s).{0,6}", cut in 0_usize..9) {
        let mut text = MINIMAL.to_owned();
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        text.replace_range(start..end, &with);
        let loaded = loaded(&text);
        prop_assert!(loaded.settings.is_some() != loaded.report.has_errors());
        for note in loaded.report.notes() {
            prop_assert!(!note.one_line().contains('\n'));
        }
    }

    #[test]
    fn secrets_are_never_shown(key in "[a-z_]{1,12}", junk in "[\\[\\]{}=\"' \n,.a-f]{0,12}", at in 0_usize..200) {
        let mut text = format!(
            "[[passdb]]\ndriver = \"static\"\npassword = \"opensesame\"\n{key} = \"opensesame\"\nfields = {{ a = \"opensesame\" }}\n\
             [[passdb]]\ndriver = \"sql\"\nurl = [\n  \"opensesame\",\n  \"opensesame\" ]\n"
        );
        let start = text.floor_char_boundary(at.min(text.len()));
        // A secret that the damage falls into is no longer one word to look for.
        let damages = text.match_indices("opensesame").any(|(word, _)| start > word && start < word + 10);
        prop_assume!(!damages);
        text.insert_str(start, &junk);
        let shown = loaded(&text).report.to_string();
        prop_assert!(!shown.contains("opensesame"), "{text}\n{shown}");
    }
}

#[test]
fn tokens_and_guests_need_no_passdb() {
    let listen = "[[listen]]\naddress = \"unix:/run/auth\"\n";
    let tokens = "[oauth2]\nintrospection_url = \"https://idp.example.com/i\"\n";
    for (mechanisms, rest) in
        [(r#"["OAUTHBEARER", "XOAUTH2"]"#, tokens), (r#"["XOAUTH2"]"#, tokens), (r#"["ANONYMOUS"]"#, "")]
    {
        let loaded = loaded(&format!("mechanisms = {mechanisms}\n{listen}{rest}"));
        assert_eq!(loaded.report.to_string(), "", "{mechanisms}");
        let active = crate::active::Active::new(loaded.settings.unwrap()).unwrap();
        assert!(!active.offered.is_empty() && active.passdbs.is_empty());
    }
    for (mechanisms, rest) in [
        (r#"["EXTERNAL"]"#, ""),
        (r#"["EXTERNAL"]"#, tokens),
        (r#"["OAUTHBEARER"]"#, ""),
        (r#"["PLAIN"]"#, tokens),
    ] {
        let loaded = loaded(&format!("mechanisms = {mechanisms}\n{listen}{rest}"));
        assert!(loaded.report.to_string().contains(NO_PASSDB), "{mechanisms}");
    }
    let mixed = loaded(&format!("mechanisms = [\"PLAIN\", \"XOAUTH2\"]\n{listen}{tokens}"));
    assert!(mixed.report.to_string().contains("PLAIN is not offered: it needs a passdb"), "{}", mixed.report);
    assert!(mixed.settings.is_some());
}

#[test]
fn the_check_reads_the_lines_of_users() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let users = "joe:{PLAIN}opensesame\nann:{SHA512-CRYTP}opensesame\n:opensesame\nbob:{PLAIN-MD5}1a1dc91c907325c69271ddf0c944bc72\n\
                 kim:{SSHA}opensesame\nmax:\neve:{PLAIN}opensesame:::::: user=%q\n";
    std::fs::write(path("users"), users).unwrap();
    let apps = "joe:{PLAIN}opensesame:phone::soon\njoe:{SSHA9}opensesame:tablet\njoe:{PLAIN}opensesame::\n";
    std::fs::write(path("apps"), apps).unwrap();
    for name in ["users", "apps"] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let text = format!(
        "[[listen]]\naddress = \"unix:/run/auth\"\n[[passdb]]\ndriver = \"passwd-file\"\npath = \"{0}\"\n\
         app_passwords = \"{1}\"\n[[userdb]]\ndriver = \"passwd-file\"\npath = \"{0}\"\n",
        path("users"),
        path("apps")
    );
    let mut loaded = loaded(&text);
    loaded.check();
    let found = loaded.report.to_string();
    for wanted in [
        "users:2: unknown password scheme SHA512-CRYTP",
        "users:3: no user name before the first colon",
        "users:4: PLAIN-MD5 is quickly broken",
        "users:5: not a SSHA password",
        "users:7: unknown variable `%q`",
        "apps:1: `expires` is no date",
        "apps:2: unknown password scheme SSHA9",
    ] {
        assert_eq!(found.matches(wanted).count(), 1, "{wanted}\n{found}");
    }
    assert!(
        !found.contains("opensesam") && !found.contains("1a1dc9") && !loaded.report.has_errors(),
        "{found}"
    );
    for fine in ["users:1:", "users:6:", "apps:3:"] {
        assert!(!found.contains(fine), "{found}");
    }
    let many: String = (0..13).map(|number| format!("u{number}:{{SHA9}}x\n")).collect();
    std::fs::write(path("users"), many).unwrap();
    let mut loaded = self::loaded(&text);
    loaded.check();
    let found = loaded.report.to_string();
    assert!(
        found.contains("users:10: unknown") && found.contains("users: 3 more lines like these"),
        "{found}"
    );
}

#[test]
fn the_start_names_the_section_that_it_refuses() {
    let listen = "[[listen]]\naddress = \"unix:/run/auth\"\n";
    let passdb =
        "[[passdb]]\nname = \"mine\"\ndriver = \"sql\"\nurl = \"mysql://u@h/d?x=1\"\nquery = \"SELECT 1\"\n";
    let users = "[[passdb]]\ndriver = \"static\"\npassword = \"x\"\n";
    for (text, wanted) in [
        (format!("{listen}{passdb}"), "[[passdb]] mine: "),
        (format!("{listen}{users}{}", passdb.replace("passdb", "userdb")), "[[userdb]] mine: "),
        (format!("{listen}{users}[oauth2]\nkeys = [\"/nonexistent\"]\n"), "[oauth2]: "),
    ] {
        let mut loaded = loaded(&text);
        let error = crate::active::Active::new(loaded.settings.clone().unwrap()).unwrap_err();
        assert!(error.starts_with(wanted), "{error}");
        loaded.check();
        assert!(loaded.report.has_errors(), "{text}");
    }
}

#[test]
fn a_configuration_with_a_password_is_for_few_eyes() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sasl-auth.toml");
    let text = "[[listen]]\naddress = \"unix:/run/auth\"\n[[passdb]]\ndriver = \"static\"\npassword = \"opensesame\"\n";
    let complaint = |text: &str, mode| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut loaded = load(&Source::read(&file, file.display().to_string(), 1 << 20).unwrap());
        loaded.check();
        loaded.report.to_string()
    };
    assert!(complaint(text, 0o644).contains("every local user may read it"));
    assert_eq!(complaint(text, 0o640), "");
    let database = folder.path().join("users.db").display().to_string();
    std::fs::write(&database, "").unwrap();
    for (url, is_secret) in [
        ("postgres://mail@localhost/mail".to_owned(), false),
        (format!("sqlite://{database}"), false),
        ("postgres://mail:x@localhost/mail".to_owned(), true),
        ("mysql://mail:@y:z@localhost/mail".to_owned(), true),
    ] {
        let text = format!(
            "[[listen]]\naddress = \"unix:/run/auth\"\n[[passdb]]\ndriver = \"sql\"\nurl = \"{url}\"\n\
             query = \"SELECT password FROM users WHERE name = '%u'\"\n"
        );
        assert_eq!(complaint(&text, 0o644).contains("holds a password"), is_secret, "{url}");
    }
}
