//! Configurations as they are in use: what Debian ships and what guides and roles write.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails here says so"
)]

use std::fs;

use milter::{
    config::{self, Loaded, Origin, settings::CanonicalizationKind},
    table::{KeysFor, Sender},
};

/// Reads `text`, in which `DIR` stands for a folder with the files `names`.
fn load(text: &str, files: &[(&str, &str)]) -> (Loaded, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let path = directory.path().join("opendkim.conf");
    fs::write(&path, text.replace("DIR", &directory.path().to_string_lossy())).unwrap();
    (config::load(&Origin::File(path), &[]), directory)
}

fn loads(text: &str, files: &[(&str, &str)], warnings: usize) -> config::Settings {
    let (loaded, _directory) = load(text, files);
    assert_eq!(loaded.report.warnings(), warnings, "{text}\n{}", loaded.report);
    loaded.settings.unwrap_or_else(|| panic!("{text}\n{}", loaded.report))
}

#[test]
fn the_parameters_that_debian_ships() {
    let settings = loads(
        "Syslog\t\t\tyes\nSyslogSuccess\t\tyes\n#LogWhy\t\t\tno\nCanonicalization\trelaxed/simple\n\
         #Mode\t\t\tsv\n#SubDomains\t\tno\nOversignHeaders\t\tFrom\nUserID\t\t\topendkim\nUMask\t\t\t007\n\
         Socket\t\t\tlocal:/run/opendkim/opendkim.sock\n#Socket\t\t\tinet:8891@localhost\n\
         PidFile\t\t\t/run/opendkim/opendkim.pid\n#InternalHosts\t\t192.168.0.0/16, 10.0.0.0/8, 172.16.0.0/12\n\
         TrustAnchorFile\t\tDIR/root.key\n#Nameservers\t\t127.0.0.1\n",
        &[("root.key", ". IN DS\n")],
        0,
    );
    assert_eq!(settings.signing.canonicalization.header, CanonicalizationKind::Relaxed);
    assert_eq!(settings.signing.canonicalization.body, CanonicalizationKind::Simple);
    assert_eq!(settings.signing.headers.oversign(), ["From"]);
    assert_eq!(settings.process.umask, Some(0o007));
    assert!(settings.log.syslog && settings.log.success && !settings.log.why);
}

#[test]
fn idioms_of_guides_and_roles() {
    let hosts =
        ("TrustedHosts", "127.0.0.1\n::1\nlocalhost\n192.168.0.0/16\n.example.com\nmail.example.net\n");
    for line in [
        "UMask 002",
        "UMask 007",
        "UMask 0002",
        "Socket inet:8891@localhost",
        "Socket inet:12301@localhost",
        "Socket local:/run/opendkim.sock",
        "Socket local:/var/spool/postfix/opendkim/opendkim.sock",
        "InternalHosts refile:DIR/TrustedHosts\nExternalIgnoreList refile:DIR/TrustedHosts",
        "InternalHosts 0.0.0.0/0, ::/0",
        "OmitHeaders a, b, c",
        "AutoRestart Yes\nAutoRestartRate 10/1h",
        "AutoRestart Yes\nAutoRestartRate 10/1M",
        "UserID opendkim:opendkim",
        "SignHeaders *,+Content-Type,+MIME-Version,+Content-Transfer-Encoding",
        "OverSignHeaders From",
        "SysLog Yes\nUserid opendkim",
    ] {
        loads(line, &[hosts], 0);
    }
}

#[test]
fn tables_as_guides_write_them() {
    let files = [
        (
            "KeyTable",
            "mail._domainkey.example.com example.com:mail:/etc/opendkim/keys/example.com/mail.private\n",
        ),
        ("SigningTable", "*@example.com mail._domainkey.example.com\n"),
        ("empty", ""),
    ];
    for key_table in ["refile:DIR/KeyTable", "file:DIR/KeyTable", "DIR/KeyTable"] {
        let settings =
            loads(&format!("KeyTable {key_table}\nSigningTable refile:DIR/SigningTable\n"), &files, 0);
        let KeysFor::Sign(choices) = settings.signing.policy.keys_for(&Sender::new("jo", "example.com"))
        else {
            panic!("{key_table}");
        };
        assert_eq!(
            (choices[0].key.domain.as_str(), choices[0].key.selector.as_str()),
            ("example.com", "mail")
        );
    }
    loads("KeyTable refile:DIR/empty\nSigningTable refile:DIR/empty\n", &files, 0);
}

#[test]
fn a_table_of_a_hundred_thousand_domains() {
    let mut keys = String::new();
    let mut senders = String::new();
    for number in 0..100_000 {
        keys.push_str(&format!("k{number} d{number}.example:s:/keys/{number}\n"));
        senders.push_str(&format!("*@d{number}.example k{number}\n"));
    }
    let text = "KeyTable file:DIR/KeyTable\nSigningTable refile:DIR/SigningTable\n";
    let settings = loads(text, &[("KeyTable", &keys), ("SigningTable", &senders)], 0);
    for number in [0, 7, 99_999] {
        let KeysFor::Sign(choices) =
            settings.signing.policy.keys_for(&Sender::new("jo", &format!("D{number}.example")))
        else {
            panic!("{number}");
        };
        assert_eq!(choices[0].key.name, format!("k{number}"));
    }
    assert!(matches!(
        settings.signing.policy.keys_for(&Sender::new("jo", "d100000.example")),
        KeysFor::NoMatch(_)
    ));
}
