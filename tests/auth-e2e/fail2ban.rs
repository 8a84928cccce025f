//! Failures are found by fail2ban: by its own filter for Dovecot, and by the one that comes with our package.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::auth::{AuthClient, AuthServer};
use harness::milter::Subject;
use harness::sasl::Sasl;
use harness::scratch::Scratch;
use harness::wait::output;

use crate::site::{PASSWORD, users};

/// Logs in and fails from four addresses; the log, and the addresses that failed.
fn failures(scratch: &Scratch, subject: Subject) -> (AuthServer, Vec<&'static str>) {
    let conf = users().mechanisms("PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256").syslog();
    let auth = AuthServer::start(scratch, "auth", subject, &conf);
    let from = |address: &str| format!("service=smtp\tlip=192.0.2.1\trip={address}");
    let mut client = AuthClient::connect(&auth);
    for (mechanism, user, password, address) in [
        ("PLAIN", "plain", "wrong", "198.51.100.1"),
        ("LOGIN", "nosuch", PASSWORD, "198.51.100.2"),
        ("PLAIN", "sha512", "wrong", "2001:db8::3"),
        ("PLAIN", "plain", PASSWORD, "198.51.100.9"),
        ("SCRAM-SHA-256", "scram", PASSWORD, "198.51.100.9"),
    ] {
        let _ = client.auth_with(&Sasl::new(mechanism, user, password), &from(address));
    }
    auth.wait_log("2001:db8::3");
    (auth, vec!["198.51.100.1", "198.51.100.2", "2001:db8::3"])
}

/// The addresses that a filter finds in a log.
fn found(log: &Path, filter: &Path) -> Vec<String> {
    let mut command = Command::new("fail2ban-regex");
    let output = output(command.args(["-o", "ip"]).arg(log).arg(filter), b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_dovecot_filter_finds_failures() {
    let scratch = Scratch::new("fail2ban");
    let (auth, failed) = failures(&scratch, Subject::from_env());
    let log = scratch.write("mail.log", auth.log());
    let filter = Path::new("/etc/fail2ban/filter.d/dovecot.conf");
    assert_eq!(found(&log, filter), failed, "{}", auth.log());
}

#[test]
fn our_own_filter_finds_all_failures() {
    let scratch = Scratch::new("fail2ban");
    if Subject::from_env().lacks("our own filter for fail2ban") {
        return;
    }
    let (auth, mut failed) = failures(&scratch, Subject::Ours);
    let from = |address: &str| format!("service=smtp\tlip=192.0.2.1\trip={address}");
    let mut client = AuthClient::connect(&auth);
    // What the filter for Dovecot does not know.
    let hostile = "x: Password mismatch auth: passwd-file(plain,203.0.113.7): unknown user";
    for (mechanism, user, password, address) in [
        ("CRAM-MD5", "plain", "wrong", "198.51.100.4"),
        ("SCRAM-SHA-256", "plain", "wrong", "198.51.100.5"),
        ("PLAIN", hostile, "x", "198.51.100.6"),
        ("SCRAM-SHA-256", "nosuch", "wrong", "198.51.100.7"),
    ] {
        let _ = client.auth_with(&Sasl::new(mechanism, user, password), &from(address));
        failed.push(address);
    }
    auth.wait_log("198.51.100.7");
    let log = scratch.write("mail.log", auth.log());
    assert_eq!(found(&log, &own_filter(&scratch)), failed, "{}", auth.log());
}

/// The filter as it is packaged, beside what it includes.
fn own_filter(scratch: &Scratch) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read(root.join("packaging/conf/fail2ban-postrider-sasl-auth.conf")).unwrap();
    symlink("/etc/fail2ban/filter.d/common.conf", scratch.file("common.conf")).unwrap();
    scratch.write("postrider-sasl-auth.conf", text)
}
