//! Scripts that are wrong or too much, files that cannot be used, large messages: the mail is kept all the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Instant;

use crate::lab::{Lab, USER, message};

#[test]
fn a_broken_script_means_keep_and_a_log_beside_it() {
    let lab = Lab::new("broken", "");
    for (number, script, says) in [
        (1, "require \"nonsense\";\nkeep", "line 2: error: expected end of command ';'"),
        (2, "discard;\nnonsense;", "line 2: error: unknown command 'nonsense'"),
        (3, "require \"ihave\"; discard; error \"I give up\";", "error: I give up"),
        (4, "require \"include\"; include \"none\";", "included personal script 'none' does not exist"),
        (
            5,
            "redirect \"a@y.example\"; redirect \"b@y.example\"; redirect \"c@y.example\"; redirect \"d@y.example\"; redirect \"e@y.example\";",
            "(5 > 4)",
        ),
    ] {
        lab.script(script);
        let (code, said) = lab.deliver("anna@a.example", &message(number, ""));
        assert_eq!((code, lab.messages("").len(), lab.sent().len()), (0, number, 0), "{script}: {said}");
        let log = fs::read_to_string(lab.home.join(".dovecot.sieve.log")).unwrap();
        assert!(log.contains(says), "{script}: {log}");
        assert!(said.contains(".dovecot.sieve.log"), "{said}");
    }
}

#[test]
fn a_script_that_takes_too_long_is_stopped() {
    let lab = Lab::new("endless", "max_cpu_time = \"1s\"");
    let tests: Vec<_> =
        (0..3000).map(|n| format!("if body :raw :contains \"zz{n}\" {{ discard; }}")).collect();
    lab.script(&format!("require \"body\";\n{}", tests.join("\n")));
    let began = Instant::now();
    let body = "a".repeat(4 << 20);
    let (code, said) = lab.deliver("anna@a.example", &format!("{}{body}\n", message(1, "")));
    assert_eq!((code, lab.messages("").len()), (0, 1), "{said}");
    let log = fs::read_to_string(lab.home.join(".dovecot.sieve.log")).unwrap_or_default();
    assert!(log.contains("exceeded CPU time limit of 1 s"), "{log}{said}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_memory_that_cannot_be_used() {
    let lab = Lab::new("no-memory", "");
    fs::create_dir(lab.home.join(".postrider.lda-dupes")).unwrap();
    lab.script("require [\"vacation\",\"copy\"]; vacation \"away\"; redirect :copy \"x@y.example\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!((code, lab.messages("").len()), (0, 1), "{said}");
    let to: Vec<_> = lab.sent().iter().map(|sent| sent.arguments.last().unwrap().clone()).collect();
    assert_eq!(to, ["x@y.example"], "redirects go, answers that cannot be remembered do not: {said}");
}

#[test]
fn a_script_that_cannot_be_read_defers_the_mail() {
    let lab = Lab::new("unreadable", "");
    lab.script("discard;");
    let script = lab.home.join(".dovecot.sieve");
    chown(&script, Some(0), Some(0)).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 75, "{said}");
    assert!(said.contains(".dovecot.sieve: Permission denied"), "{said}");
    chown(&script, Some(USER), Some(USER)).unwrap();
    assert_eq!(lab.deliver("anna@a.example", &message(1, "")).0, 0);
}

#[test]
fn sendmail_that_is_not_there_defers_redirects_only() {
    let lab = Lab::new("no-sendmail", "");
    fs::remove_file(lab.scratch.file("sendmail")).unwrap();
    lab.script("redirect \"x@y.example\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("No such file"), "{said}");
    lab.script("require \"vacation\"; vacation \"away\";");
    let (code, said) = lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!((code, lab.messages("").len()), (0, 1), "{said}");
}

#[test]
fn large_messages_are_seen_in_part_and_treated_as_a_whole() {
    let lab = Lab::new("large", "extensions = [\"+editheader\"]");
    lab.script("require [\"editheader\",\"fileinto\",\"mailbox\",\"copy\",\"body\"]; if size :over 35M { fileinto :create \"Big\"; } if body :raw :contains \"at the end\" { discard; } redirect :copy \"x@y.example\"; addheader \"X-New\" \"1\"; fileinto :create \"New\";");
    let line = format!("{}\n", "x".repeat(75));
    let text = format!("{}{}at the end\n", message(1, ""), line.repeat((40 << 20) / line.len()));
    let (code, said) = lab.deliver("anna@a.example", &text);
    assert_eq!(code, 0, "{said}");
    let stored = lab.messages("Big");
    assert_eq!(stored.len(), 1, "{said}");
    assert_eq!(fs::metadata(&stored[0]).unwrap().len(), u64::try_from(text.len()).unwrap());
    let new = fs::read(&lab.messages("New")[0]).unwrap();
    assert!(new.starts_with(b"X-New: 1\n") && new.ends_with(text.as_bytes()), "the edited one is as whole");
    let sent = &lab.sent()[0].message;
    assert!(sent.ends_with("at the end\n") && sent.contains("Redirected-From"), "{said}");
}

/// A mount point that is unmounted again.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_home_without_room() {
    let lab = Lab::new("full-home", "");
    let conf = lab.scratch.file("lda.toml");
    let mail = lab.scratch.file("mail");
    fs::create_dir(&mail).unwrap();
    chown(&mail, Some(USER), Some(USER)).unwrap();
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("mail_location = \"maildir:{}\"\n{text}", mail.display())).unwrap();
    let size = format!("size=16k,uid={USER},gid={USER},mode=700");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
        .arg(&lab.home)
        .status();
    assert!(mounted.unwrap().success(), "tmpfs cannot be mounted");
    let _mounted = Mounted(lab.home.clone());
    lab.script("require [\"vacation\",\"copy\"]; vacation \"away\"; redirect :copy \"x@y.example\";");
    lab.own(&lab.home.join("rest"), &"x".repeat(12 << 10));
    let stored = || fs::read_dir(mail.join("new")).map_or(0, Iterator::count);
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!((code, stored()), (0, 1), "{said}");
    assert!(said.contains("No space left"), "{said}");
    let to: Vec<_> = lab.sent().iter().map(|sent| sent.arguments.last().unwrap().clone()).collect();
    assert!(to.contains(&"x@y.example".to_owned()), "redirects go: {said}");
    lab.script("broken");
    let (code, said) = lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!((code, stored()), (0, 2), "{said}");
    assert!(said.contains("line 1: error") || said.contains("No space left"), "{said}");
}
