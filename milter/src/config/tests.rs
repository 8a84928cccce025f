//! What text becomes which settings, table by table.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use base::config::Report;
use proptest::prelude::{ProptestConfig, Strategy, proptest};

use super::{
    Action, Loaded, Origin, Raw, Settings, Socket, Status, build,
    directives::{self, Kind},
    load,
    settings::{Canonicalization, CanonicalizationKind, Mode, SignatureLimit, UserSpec},
    values::{Values, parse_boolean, parse_integer},
};
use crate::table::{Algorithm, KeysFor, Sender};

fn read_with(text: &str, command_line: &[(&str, &str)]) -> Loaded {
    let command_line: Vec<_> =
        command_line.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&Origin::Text { name: "opendkim.conf".to_owned(), text: text.to_owned() }, &command_line)
}

fn read(text: &str) -> Loaded {
    read_with(text, &[])
}

fn settings(text: &str) -> Settings {
    let loaded = read(text);
    loaded.settings.unwrap_or_else(|| panic!("{text:?}:\n{}", loaded.report))
}

fn complaint(text: &str) -> String {
    let loaded = read(text);
    assert!(loaded.settings.is_none() && loaded.report.has_errors(), "{text:?} is accepted");
    loaded.report.to_string()
}

fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn nothing_set_is_all_defaults() {
    let settings = load(&Origin::Nothing, &[]).settings.unwrap();
    assert_eq!(settings.mode, Mode { sign: true, verify: true });
    assert_eq!(settings.process.socket, None);
    assert!(settings.process.background && !settings.log.syslog);
    assert_eq!(settings.log.facility, "mail");
    let simple = CanonicalizationKind::Simple;
    assert_eq!(settings.signing.canonicalization, Canonicalization { header: simple, body: simple });
    assert_eq!(settings.signing.sender_headers, ["From"]);
    assert!(settings.signing.require_safe_keys);
    assert_eq!(settings.limits.connections, 1000);
    assert_eq!(settings.limits.idle_timeout, Duration::from_secs(7210));
    assert_eq!(settings.limits.message_timeout, Duration::from_secs(600));
    assert_eq!(settings.limits.drain_timeout, Duration::from_secs(60));
    assert_eq!(settings.limits.header_bytes, Some(65_536));
    assert!(settings.limits.suppress_replies);
    assert_eq!(settings.verifying.minimum_key_bits, 1024);
    assert_eq!(settings.verifying.signature_limit, SignatureLimit::First(8));
    assert_eq!(settings.verifying.clock_drift, Duration::from_secs(300));
    assert_eq!(settings.dns.timeout, Duration::from_secs(5));
    assert_eq!(settings.actions.bad_signature, Action::Accept);
    assert_eq!(settings.actions.internal_error, Action::Tempfail);
    assert_eq!(settings.actions.signature_error, Action::Reject);
    assert_eq!(settings.actions.dns_error, None);
    let internal = |address: &str| settings.clients.internal.matches(None, Some(address.parse().unwrap()));
    assert!(internal("127.0.0.1") && internal("::1") && !internal("192.0.2.1"));
}

#[test]
fn every_honoured_parameter_is_asked_for_and_no_other() {
    let raw = Arc::new(Raw::default());
    let mut report = Report::new();
    let mut values = Values::new(&raw, &mut report);
    build::build(&mut values, &raw);
    // Include is spent while reading.
    let mut asked: BTreeSet<_> = values.asked;
    asked.insert("Include");
    let honoured: BTreeSet<_> = directives::all()
        .filter(|parameter| parameter.status == Status::Honoured)
        .map(|parameter| parameter.name)
        .collect();
    assert_eq!(asked, honoured);
}

#[test]
fn every_default_is_of_its_kind() {
    for parameter in directives::all().filter(|parameter| !parameter.default.is_empty()) {
        let good = match parameter.kind {
            Kind::Boolean => parse_boolean(parameter.default).is_some(),
            Kind::Integer => parse_integer(parameter.default).is_some(),
            Kind::Action => Action::parse(parameter.default).is_some(),
            Kind::String | Kind::DataSet => true,
        };
        assert!(good, "{}", parameter.name);
    }
}

#[test]
fn every_parameter_gets_a_definite_answer() {
    for parameter in directives::all().filter(|parameter| parameter.name != "Include") {
        let value = match (parameter.kind, parameter.name) {
            (_, "MaximumSignedBytes") => "10",
            (Kind::Boolean, _) => {
                if parse_boolean(parameter.default) == Some(true) {
                    "no"
                } else {
                    "yes"
                }
            }
            (Kind::Integer, _) => "7",
            (Kind::Action, _) => "reject",
            (Kind::String | Kind::DataSet, _) => "some,thing",
        };
        let loaded = read(&format!("{} {value}\n", parameter.name));
        let printed = loaded.report.to_string();
        match parameter.status {
            Status::Honoured => {
                assert!(!printed.contains("unrecognized") && !printed.contains("honoured"), "{printed}");
            }
            Status::NotYet(_) | Status::Ignored(_) => {
                assert!(loaded.settings.is_some(), "{printed}");
                assert_eq!(loaded.report.warnings(), 1, "{printed}");
                assert!(printed.starts_with("opendkim.conf:1:"), "{printed}");
            }
            Status::Refused { instead, .. } => {
                assert!(
                    loaded.settings.is_none() && printed.contains(instead),
                    "{}: {printed}",
                    parameter.name
                );
            }
            Status::Gone(instead) => {
                assert!(loaded.settings.is_none() && printed.contains(instead), "{printed}");
                let tolerant = read(&format!("{} {value}\nUnknownParameters warn\n", parameter.name));
                assert!(tolerant.settings.is_some() && tolerant.report.warnings() == 1);
            }
        }
    }
}

#[test]
fn a_default_written_out_is_not_complained_about() {
    for line in [
        "SendReports no",
        "MilterDebug 0",
        "MaximumSignedBytes -1",
        "UnprotectedKey none",
        "VBR-PurgeFields No",
    ] {
        assert!(read(line).report.notes().is_empty(), "{line}");
    }
}

#[test]
fn words_and_numbers_become_settings() {
    use CanonicalizationKind::{Relaxed, Simple};
    for (text, header, body) in [
        ("simple", Simple, Simple),
        ("relaxed", Relaxed, Simple),
        ("relaxed/simple", Relaxed, Simple),
        ("Relaxed/RELAXED", Relaxed, Relaxed),
        ("simple/relaxed", Simple, Relaxed),
    ] {
        let got = settings(&format!("Canonicalization {text}")).signing.canonicalization;
        assert_eq!(got, Canonicalization { header, body }, "{text}");
    }
    for (text, sign, verify) in [("s", true, false), ("v", false, true), ("vs", true, true)] {
        assert_eq!(settings(&format!("Mode {text}")).mode, Mode { sign, verify });
    }
    for (text, mask) in
        [("002", 0o002), ("007", 0o007), ("0002", 0o002), ("7", 7), ("0x12", 0o022), ("18", 0o022)]
    {
        let loaded = read(&format!("UMask {text}"));
        assert_eq!(loaded.settings.unwrap().process.umask, Some(mask), "{text}");
        assert!(loaded.report.notes().is_empty(), "{text}: {}", loaded.report);
    }
    let loaded = read("UMask 22");
    assert_eq!(loaded.settings.unwrap().process.umask, Some(22));
    assert_eq!(loaded.report.warnings(), 1);
    let spec = |user: &str, group: Option<&str>| {
        Some(UserSpec { user: user.to_owned(), group: group.map(str::to_owned) })
    };
    assert_eq!(settings("UserID opendkim").process.user, spec("opendkim", None));
    assert_eq!(settings("Userid opendkim:postfix").process.user, spec("opendkim", Some("postfix")));
    assert_eq!(settings("DNSTimeout 0").dns.timeout, Duration::from_secs(60));
    assert_eq!(settings("MinimumKeyBits 0").verifying.minimum_key_bits, 1024);
    assert_eq!(
        settings("MaximumSignaturesToVerify 0").verifying.signature_limit,
        SignatureLimit::AuthorAndTrusted
    );
    assert_eq!(settings("MaximumHeaders 0").limits.header_bytes, None);
    assert_eq!(settings("SignatureTTL 3600").signing.ttl, Some(Duration::from_secs(3600)));
    assert_eq!(
        settings("SignatureAlgorithm ED25519-sha256").signing.algorithm,
        Some(Algorithm::Ed25519Sha256)
    );
    assert_eq!(
        settings("SenderHeaders Sender, Resent-From").signing.sender_headers,
        ["Sender", "Resent-From", "From"]
    );
    assert_eq!(settings("SenderHeaders from,Sender").signing.sender_headers, ["from", "Sender"]);
    assert_eq!(settings("MustBeSigned Subject,To").verifying.must_be_signed, ["Subject", "To"]);
    assert!(settings("X-Header yes").verifying.software_header);
    assert!(!settings("MilterReplies ALWAYS").limits.suppress_replies);
    assert_eq!(
        settings("AuthservID mx.example.com").verifying.authserv_id.as_deref(),
        Some("mx.example.com")
    );
    let host = base::service::host_name().unwrap();
    assert_eq!(settings("AuthservID HOSTNAME").verifying.authserv_id, Some(host));
    assert_eq!(settings("").verifying.authserv_id, None);
}

#[test]
fn name_servers_are_read_with_and_without_port() {
    let servers =
        settings("Nameservers 192.0.2.1, ::1,127.0.0.1@5353, 127.0.0.1:54, [::1]:55").dns.nameservers;
    let want: Vec<std::net::SocketAddr> =
        ["192.0.2.1:53", "[::1]:53", "127.0.0.1:5353", "127.0.0.1:54", "[::1]:55"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
    assert_eq!(servers, want);
    assert!(complaint("Nameservers ns.example.com").contains("name server"));
}

#[test]
fn on_default_sets_all_but_dns_errors() {
    let actions = settings("On-NoSignature accept\nOn-Default reject").actions;
    assert_eq!(actions.no_signature, Action::Accept);
    assert_eq!(actions.bad_signature, Action::Reject);
    assert_eq!(actions.internal_error, Action::Reject);
    assert_eq!(actions.dns_error, None);
    assert_eq!(settings("On-DNSError tempfail").actions.dns_error, Some(Action::Tempfail));
    assert_eq!(settings("On-BadSignature Q").actions.bad_signature, Action::Quarantine);
    assert!(complaint("On-BadSignature bounce").contains("accept, discard, quarantine, reject or tempfail"));
}

#[test]
fn the_last_of_several_lines_counts_and_the_others_are_named() {
    let loaded = read("Mode s\nSyslog yes\nMode v\nMode sv\n");
    assert_eq!(loaded.settings.unwrap().mode, Mode { sign: true, verify: true });
    assert_eq!(loaded.report.warnings(), 2);
    assert_eq!(loaded.raw.values("mode"), ["sv", "v", "s"]);
    assert_eq!(loaded.raw.effective("MODE").as_deref(), Some("sv"));
    assert_eq!(loaded.raw.effective("SyslogFacility").as_deref(), Some("mail"));
    assert_eq!(loaded.raw.effective("PidFile"), None);
    assert_eq!(loaded.raw.effective("NoSuchThing"), None);
}

#[test]
fn values_are_printed_as_opendkim_prints_them() {
    let raw = read("Mode v\nMode s\nSyslog y\nSubDomains 0\nUMask 007\nDNSTimeout 0x10\n").raw;
    let printed = |name: &str| raw.printed(name).join(" ");
    assert_eq!(printed("mode"), "s v");
    assert_eq!((printed("Syslog"), printed("SubDomains")), ("True".to_owned(), "False".to_owned()));
    assert_eq!((printed("UMask"), printed("DNSTimeout")), ("7".to_owned(), "16".to_owned()));
    // Defaults are not printed, and unknown names have no value.
    assert_eq!((printed("SyslogFacility"), printed("NoSuchThing")), (String::new(), String::new()));
}

#[test]
fn the_command_line_wins_and_is_named_in_reports() {
    let loaded = read_with("Mode v\nSocket inet:1\n", &[("Mode", "s"), ("Socket", "local:/run/x")]);
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.mode, Mode { sign: true, verify: false });
    assert_eq!(settings.process.socket, Some(Socket::Unix(PathBuf::from("/run/x"))));
    assert!(loaded.report.notes().is_empty());
    let printed = read_with("Mode v\n", &[("LogWhy", "yes"), ("Mode", "x")]).report.to_string();
    assert!(
        printed.starts_with("command line:2:6: error: unknown mode 'x'\n  Mode x\n       ^\n"),
        "{printed}"
    );
}

#[test]
fn files_are_spliced_in_where_they_are_included() {
    let directory = tempfile::tempdir().unwrap();
    let inner = file(&directory, "inner", "Mode s\nLogWhy yes\n");
    let loaded = read(&format!("Mode v\nInclude {}\nLogWhy no\n", inner.display()));
    let outer = loaded.settings.unwrap();
    assert_eq!(outer.mode, Mode { sign: true, verify: false });
    assert!(!outer.log.why);

    let itself = directory.path().join("loop");
    std::fs::write(&itself, format!("Include {0}\nInclude {0}\n", itself.display())).unwrap();
    assert!(complaint(&format!("Include {}", itself.display())).contains("more than 5 levels"));
    assert!(complaint("Include /no/such/file").contains("cannot read /no/such/file"));

    let mut path = file(&directory, "level5", "Mode s\n");
    for level in (1..5).rev() {
        path = file(&directory, &format!("level{level}"), &format!("Include {}\n", path.display()));
    }
    assert_eq!(settings(&format!("Include {}", path.display())).mode, Mode { sign: true, verify: false });
}

#[test]
fn a_file_that_includes_too_many_ends() {
    let directory = tempfile::tempdir().unwrap();
    let itself = directory.path().join("loop");
    std::fs::write(&itself, format!("Include {}\n", itself.display()).repeat(50)).unwrap();
    assert_eq!(read(&format!("Include {}", itself.display())).report.errors(), 1);

    let inner = file(&directory, "inner", "Mode s\n");
    let includes = format!("Include {}\n", inner.display());
    assert!(read(&includes.repeat(1000)).settings.is_some());
    let loaded = read(&includes.repeat(1100));
    assert_eq!(loaded.report.errors(), 1);
    assert!(loaded.report.to_string().contains("more than 1000 files"), "{}", loaded.report);
}

#[test]
fn relative_paths_start_at_the_base_directory() {
    let directory = tempfile::tempdir().unwrap();
    file(&directory, "hosts", "192.0.2.0/24\n");
    file(&directory, "keys", "k example.com:s:./k.pem\n");
    file(&directory, "senders", "*@example.com k\n");
    let base = directory.path();
    let settings = settings(&format!(
        "InternalHosts refile:hosts\nKeyTable file:keys\nSigningTable refile:senders\nPidFile run/pid\nSocket local:s\n\
         BaseDirectory {}\n",
        base.display()
    ));
    assert!(settings.clients.internal.matches(None, Some("192.0.2.9".parse().unwrap())));
    assert_eq!(settings.process.pid_file, Some(base.join("run/pid")));
    assert_eq!(settings.process.socket, Some(Socket::Unix(base.join("s"))));
    let KeysFor::Sign(choices) = settings.signing.policy.keys_for(&Sender::new("jo", "example.com")) else {
        panic!("no key");
    };
    assert_eq!(choices[0].key.key, crate::table::KeySource::File(base.join("./k.pem")));
}

#[test]
fn what_needs_a_restart_is_named() {
    let before = settings("Socket inet:1\nUMask 002\nMode s");
    let after = settings("Socket inet:2\nUMask 002\nMode v\nAutoRestart yes");
    assert_eq!(before.needs_restart(&after), ["Socket", "AutoRestart"]);
    assert!(before.needs_restart(&settings("Socket inet:1\nUMask 002")).is_empty());
}

#[test]
fn signing_needs_its_companions() {
    for (text, want) in [
        ("KeyTable a,b", "KeyTable requires SigningTable"),
        ("SigningTable a,b", "SigningTable requires KeyTable"),
        ("Domain a.example", "Domain requires KeyFile and Selector"),
        ("Selector s", "Selector requires KeyFile"),
        ("KeyFile /k", "KeyFile requires Selector"),
        ("Domain a.example\nSelector s", "Domain requires KeyFile and Selector"),
    ] {
        assert!(complaint(text).contains(want), "{text}");
    }
}

#[test]
fn a_key_file_is_read_with_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let key = file(&directory, "key", "key one");
    let text = format!("Domain example.com\nSubDomains yes\nSelector s\nKeyFile {}\n", key.display());
    assert!(complaint(&text).contains("key data is not secure: "));

    let loaded =
        read(&format!("{text}RequireSafeKeys no\nSocket inet:1\nSignatureAlgorithm ed25519-sha256\n"));
    assert_eq!(loaded.report.warnings(), 1, "{}", loaded.report);
    let settings = loaded.settings.unwrap();
    let KeysFor::Sign(choices) = settings.signing.policy.keys_for(&Sender::new("jo", "a.example.com")) else {
        panic!("no key");
    };
    assert_eq!((choices[0].key.domain.as_str(), choices[0].key.selector.as_str()), ("example.com", "s"));
    assert_eq!(choices[0].identity.as_deref(), Some("@example.com"));
    let inline = zeroize::Zeroizing::new(b"key one".to_vec());
    assert_eq!(choices[0].key.key, crate::table::KeySource::Inline(inline));

    let mut report = Report::new();
    super::check::<crate::keys::tests::Plain>(&settings, &mut report);
    let printed = report.to_string();
    assert_eq!((report.errors(), report.warnings()), (0, 1), "{printed}");
    assert!(printed.contains("does not fit ed25519-sha256: it signs with rsa-sha256"), "{printed}");
}

#[test]
fn the_deep_check_reads_the_keys_of_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let key = file(&directory, "key", "key one");
    let broken = file(&directory, "broken", "nothing");
    let table = format!(
        "good example.com:s:{0}\nbroken example.com:s:{1}\nother example.com:s:{0}:ed25519-sha256\ngone example.com:s:/no/such\n\
         late %:s:/keys/%\n",
        key.display(),
        broken.display()
    );
    let table = file(&directory, "KeyTable", &table);
    let settings = settings(&format!(
        "Socket inet:1\nRequireSafeKeys no\nKeyTable file:{}\nSigningTable x=good\n",
        table.display()
    ));
    let mut report = Report::new();
    super::check::<crate::keys::tests::Plain>(&settings, &mut report);
    let errors: Vec<_> = report
        .notes()
        .iter()
        .filter(|note| note.severity() == base::config::Severity::Error)
        .map(|note| note.span().unwrap().line())
        .collect();
    assert_eq!(errors, [2, 4], "{report}");
    assert!(report.to_string().contains("the key 'other' does not fit ed25519-sha256"), "{report}");
}

#[test]
fn no_report_shows_a_key_or_a_password() {
    for text in [
        "KeyTable csl:k=example.com:HUSH,l=example.com:s:HUSH\nSigningTable x=nokey,y=l",
        "KeyTable csl:k=example.com:s:HUSH\nKeyTable csl:k=example.com:s:HUSH",
        "KeyTable dsn:pgsql://me:HUSH@db/mail\nSigningTable a,b",
        "LDAPBindPassword HUSH\nLDAPBindPassword HUSH",
        "PeerList ldap://me:HUSH@db/",
        "KeyTabel csl:k=example.com:s:HUSH",
        "Password HUSH",
        "KeyTable = HUSH",
    ] {
        let mut loaded = read(text);
        assert!(!loaded.report.notes().is_empty(), "{text}");
        assert!(!loaded.report.to_string().contains("HUSH"), "{}", loaded.report);
        if let Some(settings) = &loaded.settings {
            super::check::<crate::keys::tests::Plain>(settings, &mut loaded.report);
            assert!(!loaded.report.to_string().contains("HUSH"), "{}", loaded.report);
            assert!(!format!("{settings:?}").contains("HUSH"));
        }
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let names: Vec<&'static str> = directives::all()
        .map(|parameter| parameter.name)
        // These name files; what they hold is tried elsewhere.
        .filter(|name| !["Include", "BaseDirectory"].contains(name))
        .collect();
    let line = (proptest::sample::select(names), "[ -~\u{e9}\t]{0,40}")
        .prop_map(|(name, value)| format!("{name} {value}"));
    let values = proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"));
    proptest!(ProptestConfig::with_cases(300), |(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        text in values,
    )| {
        let noise = String::from_utf8_lossy(&bytes).into_owned();
        let noise = noise.replace(['I', 'i'], "x");
        let _printed = read(&noise).report.render(true);
        let _printed = read(&text).report.render(false);
    });
}
