//! Private keys: formats, RequireSafeKeys, changes of files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use harness::milter::Subject;
use harness::wait::output;

use crate::case::{Setup, subjects};

#[test]
fn formats() {
    let convert = |arguments: &[&str], setup: Setup, name: &str| {
        setup.with(|scratch| {
            let mut command = Command::new("/usr/bin/openssl");
            command.args(arguments).arg("-in").arg(scratch.file("rsa")).arg("-out").arg(scratch.file(name));
            assert!(output(&mut command, b"").status.success());
            fs::set_permissions(scratch.file(name), fs::Permissions::from_mode(0o600)).unwrap();
        })
    };
    for (why, arguments) in [
        ("PKCS#1 in PEM", &["rsa", "-traditional"] as &[&str]),
        ("PKCS#8 in PEM", &["pkcs8", "-topk8", "-nocrypt"]),
    ] {
        let setup = Setup::new("Domain a.example\nSelector s\nKeyFile {dir}/key");
        let mut pair = convert(arguments, setup, "key").start();
        pair.case(why).want("sign a.example/s");
    }
    let setup = Setup::new("Domain a.example\nSelector s\nKeyFile {dir}/key");
    let mut pair = convert(&["rsa", "-traditional", "-outform", "DER"], setup, "key").start();
    pair.case("PKCS#1 in DER").differs("D17", "451 4.7.0 resource unavailable", "sign a.example/s");
}

#[test]
fn small_keys_sign() {
    let (pem, _) = crate::signer::rsa_key(1024);
    let mut pair =
        Setup::new("Domain a.example\nSelector s\nKeyFile {dir}/small").secret("small", &pem).start();
    pair.case("keys of 1024 bits are still in use").want("sign a.example/s");
}

#[test]
fn unsafe_keys_when_that_is_allowed() {
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders\nRequireSafeKeys no";
    let setup =
        Setup::new(conf).file("keys", "one a.example:s:{dir}/wide\n").file("senders", "*@a.example one\n");
    let mut pair = setup.file("wide", harness::keys::RSA.pem).start();
    pair.case("RequireSafeKeys no warns and signs").want("sign a.example/s");
    pair.case("and signs again").want("sign a.example/s");
    pair.both_log("key data is not secure");
    // Difference D30: a warning for the key, not for each message.
    for subject in subjects() {
        let warnings = pair.milter(subject).unwrap().log().matches("key data is not secure").count();
        assert_eq!(warnings, if subject == Subject::Ours { 1 } else { 2 }, "{subject:?}");
    }
}

#[test]
fn a_group_of_nobody_else_may_read() {
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders";
    let setup =
        Setup::new(conf).file("keys", "one a.example:s:{dir}/rsa\n").file("senders", "*@a.example one\n");
    let setup = setup
        .with(|scratch| fs::set_permissions(scratch.file("rsa"), fs::Permissions::from_mode(0o640)).unwrap());
    setup.start().case("mode 0640 when nobody else is in the group").want("sign a.example/s");
}

#[test]
fn a_key_file_that_is_replaced() {
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders";
    let setup =
        Setup::new(conf).file("keys", "one a.example:s:{dir}/rsa\n").file("senders", "*@a.example one\n");
    let mut pair = setup.start();
    pair.case("at first").want("sign a.example/s");
    fs::rename(pair.scratch.file("rsa"), pair.scratch.file("away")).unwrap();
    pair.case("gone: no signature is made with it any more").differs(
        "D25",
        "tempfail @N",
        "451 4.7.5 DKIM signing is not possible at the moment, try again later @N",
    );
    fs::rename(pair.scratch.file("away"), pair.scratch.file("rsa")).unwrap();
    pair.case("back: used at once, without a reload").want("sign a.example/s");
    pair.both_log("error loading key 'one'");
}
