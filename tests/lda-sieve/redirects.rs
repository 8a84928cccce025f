//! Redirects: what is sent, to whom, how often, and not in circles.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::lab::{Lab, message};

#[test]
fn a_redirect_arrives_with_its_marks() {
    let lab = Lab::new("redirect", "");
    lab.script("redirect \"x+`id`$IFS@y.example\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 0, "{said}");
    assert_eq!(lab.sent()[0].arguments[4], "x+`id`$IFS@y.example", "no shell sees it");

    lab.script("redirect \"x@y.example\";");
    let (code, said) = lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("forwarded to <x@y.example>"), "{said}");
    let sent = lab.sent();
    assert_eq!(sent[1].arguments, ["-i", "-f", "anna@a.example", "--", "x@y.example"]);
    let text = &sent[1].message;
    assert!(text.contains("\nX-Sieve-Redirected-From: joe@b.example\n"), "{text}");
    assert!(!text.contains("Return-Path"), "{text}");
    assert!(text.ends_with("Subject: number 2\n\nbody 2\n"), "{text}");
    assert_eq!(lab.messages("").len(), 0, "nothing is kept");
}

#[test]
fn a_retry_sends_nothing_twice() {
    let lab = Lab::new("retry", "");
    lab.script("require \"copy\"; redirect :copy \"one@y.example\"; redirect :copy \"two@y.example\";");
    lab.sendmail("case \"$all\" in *two@*) echo 'queue is full' >&2; exit 75;; esac\nexit 0");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("status 75: queue is full"), "{said}");
    assert!(lab.messages("").is_empty(), "nothing is stored while the delivery fails");
    lab.sendmail("exit 0");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 0, "{said}");
    let to: Vec<_> = lab.sent().iter().map(|sent| sent.arguments.last().unwrap().clone()).collect();
    assert_eq!(to, ["one@y.example", "two@y.example"]);
    assert_eq!(lab.messages("").len(), 1);

    // Another message with the same Message-ID is another message.
    let (code, _) = lab.deliver("anna@a.example", &message(1, "X-Other: yes\n"));
    assert_eq!((code, lab.sent().len()), (0, 4));
}

#[test]
fn a_folder_that_fails_after_a_redirect() {
    let lab = Lab::new("folder-fails", "");
    lab.script("require [\"copy\",\"fileinto\",\"mailbox\"]; redirect :copy \"one@y.example\"; fileinto :create \"A\";");
    assert_eq!(lab.deliver("anna@a.example", &message(1, "")).0, 0);
    let folder = lab.home.join("Maildir/.A/new");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    let (code, said) = lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!(code, 75, "{said}");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let (code, said) = lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!(code, 0, "{said}");
    assert_eq!(lab.sent().len(), 2, "each message once: {said}");
    assert_eq!(lab.messages("A").len(), 2);
}

#[test]
fn what_would_come_back_is_kept() {
    let lab = Lab::new("loops", "");
    for (script, more) in [
        ("redirect \"JOE@b.example\";", ""),
        ("redirect \"x@y.example\";", "X-Sieve-Redirected-From: joe@b.example\n"),
        ("redirect \"x@y.example\";", "Delivered-To: x@y.example\n"),
    ] {
        lab.script(script);
        let before = lab.messages("").len();
        let (code, said) = lab.deliver("anna@a.example", &message(before + 1, more));
        assert_eq!((code, lab.sent().len(), lab.messages("").len()), (0, 0, before + 1), "{script}: {said}");
        assert!(said.contains("it would come back"), "{said}");
    }
}

#[test]
fn the_sender_of_redirects() {
    let lab = Lab::new("sender", "redirect_envelope_from = \"<forward@b.example>\"");
    lab.script("redirect \"x@y.example\";");
    assert_eq!(lab.deliver("anna@a.example", &message(1, "")).0, 0);
    assert_eq!(lab.deliver("", &message(2, "")).0, 0);
    let senders: Vec<_> = lab.sent().iter().map(|sent| sent.arguments[2].clone()).collect();
    assert_eq!(senders, ["forward@b.example", "<>"], "bounces stay bounces");
}

/// Deliveries that are killed at some moment and tried again: 40 of them, with `LONG=1` 400.
#[test]
fn kills_lose_nothing_and_cut_nothing() {
    let lab = Lab::new("kills", "");
    lab.script("require [\"copy\",\"fileinto\",\"mailbox\"]; redirect :copy \"one@y.example\"; fileinto :create \"A\"; keep;");
    lab.sendmail("sleep 0.01\nexit 0");
    let count = if std::env::var_os("LONG").is_some() { 400 } else { 40 };
    let long = "x".repeat(70) + "\n";
    for number in 0..count {
        let text = format!("{}{}the end\n", message(number, ""), long.repeat(2000));
        let mut child = lab
            .command()
            .args(["-f", "anna@a.example", "-r", "joe@b.example"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = {
            let text = text.clone();
            thread::spawn(move || drop(stdin.write_all(text.as_bytes())))
        };
        thread::sleep(Duration::from_millis(u64::try_from(number * 7 % 61).unwrap()));
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        writer.join().unwrap();
        // What the killed one held is let go a moment later; Postfix would come again too.
        let delivered = (0..10).any(|_| {
            let (code, said) = lab.deliver("anna@a.example", &text);
            assert!(code == 0 || said.contains("in progress"), "{said}");
            thread::sleep(Duration::from_millis(if code == 0 { 0 } else { 50 }));
            code == 0
        });
        assert!(delivered);
    }
    thread::sleep(Duration::from_millis(300));
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for one in lab.sent() {
        assert!(one.message.ends_with("\nthe end\n"), "a message was cut");
        let id = one.message.lines().find(|line| line.starts_with("Message-ID")).unwrap();
        *sent.entry(id.to_owned()).or_default() += 1;
    }
    assert_eq!(sent.len(), count, "each was redirected");
    let twice = sent.values().filter(|times| **times > 1).count();
    println!("{count} kills: {twice} redirected twice");
    assert_eq!(twice, 0, "what sends outlives the kill, and notes it");
    for folder in ["", "A"] {
        assert_eq!(lab.messages(folder).len(), count, "each is in {folder:?} once");
    }
}
