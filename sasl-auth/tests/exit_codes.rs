//! The program as it is called: what it says on standard error, and the status that it ends with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str], input: &str) -> Output {
    // Not for ever: status 124 after a minute.
    let mut child = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_postrider-sasl-auth")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends before it has read everything breaks the pipe.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

#[test]
fn import_refuses_what_is_not_dovecots() {
    for input in ["", "hello\n", "myhostname = mail.example.com\n"] {
        let output = run(&["import", "--doveconf", "-"], input);
        assert_eq!(output.status.code(), Some(65), "{input:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("no setting of Dovecot"), "{said}");
    }
    let output = run(&["import", "--doveconf", "-"], "passdb {\n  driver = pam\n}\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_check_refuses_what_the_start_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sasl-auth.toml");
    let socket = folder.path().join("auth");
    fs::write(
        &config,
        format!(
            "[[listen]]\naddress = \"unix:{}\"\n[[passdb]]\nname = \"mine\"\ndriver = \"sql\"\n\
             url = \"postgres://mail:opensesame@localhost/mail?ssl=on\"\nquery = \"SELECT 1\"\n",
            socket.display()
        ),
    )
    .unwrap();
    let config = config.display().to_string();
    for (arguments, wanted) in [
        (&["-n", "-c", &config][..], ":3:1: error: url 1 has the unknown parameter ssl"),
        (&["-c", &config], "[[passdb]] mine: url 1 has the unknown parameter ssl"),
    ] {
        let output = run(arguments, "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(wanted) && !said.contains("opensesame"), "{said}");
    }
}
