//! A real Dovecot serves the Maildir over IMAP while we deliver into it, and delivers there itself.
//!
//! 5 s of both at the same time; 60 s with `LONG=1`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::lab::{Lab, USER, long, message, run, said};

/// An IMAP session of Dovecot, already logged in.
struct Imap {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: usize,
}

impl Imap {
    fn start(lab: &Lab) -> Self {
        let mut child = as_joe(lab, "/usr/lib/dovecot/imap")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut from = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        from.read_line(&mut greeting).unwrap();
        assert!(greeting.contains("PREAUTH"), "{greeting}\n{}", log(lab));
        Self { child, to, from, next: 0 }
    }

    /// Says a command, and gives all lines of the answer.
    fn say(&mut self, command: &str) -> String {
        self.next += 1;
        let tag = format!("t{}", self.next);
        write!(self.to, "{tag} {command}\r\n").unwrap();
        let mut all = String::new();
        loop {
            let mut line = Vec::new();
            assert_ne!(
                self.from.read_until(b'\n', &mut line).unwrap(),
                0,
                "{command}: the session ended\n{all}"
            );
            let line = String::from_utf8_lossy(&line).into_owned();
            all.push_str(&line);
            if line.starts_with(&format!("{tag} ")) {
                assert!(line.starts_with(&format!("{tag} OK")), "{command}: {all}");
                return all;
            }
        }
    }
}

impl Drop for Imap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of Dovecot's that runs as the user, with the user's home.
fn as_joe(lab: &Lab, program: &str) -> Command {
    let folder = lab.scratch.path().display();
    let conf = lab.scratch.file("dovecot.conf");
    if !conf.exists() {
        let text = format!(
            "base_dir = {folder}/dovecot\nlog_path = {folder}/joe/dovecot.log\nssl = no\nmail_location = maildir:~/Maildir\n\
             postmaster_address = p@a.example\nstats_writer_socket_path =\nprotocols =\nmail_plugins = quota\n\
             protocol imap {{\n mail_plugins = quota imap_quota\n}}\nplugin {{\n quota = maildir:User quota\n quota_rule = *:storage=1G\n}}\n\
             namespace inbox {{\n inbox = yes\n separator = /\n}}\n"
        );
        fs::write(&conf, text).unwrap();
    }
    let mut command = Command::new(program);
    command.arg("-c").arg(&conf).env_clear().env("USER", "joe").env("HOME", lab.root().parent().unwrap());
    command.uid(USER).gid(USER).current_dir("/").stderr(Stdio::null());
    command
}

fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.root().parent().unwrap().join("dovecot.log")).unwrap_or_default()
}

const CONF: &str = "namespace_separator = \"/\"\nlda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true\n[quota]\nquota_rule = \"*:storage=1G\"\n";

#[test]
fn what_we_deliver_is_read_over_imap() {
    let lab = Lab::new("imap", CONF);
    assert!(lab.deliver(&[], &message(1, "hello")).status.success());
    assert!(lab.deliver(&["-m", "B\u{fc}cher/Neu"], &message(2, "in a folder")).status.success());
    let mut imap = Imap::start(&lab);
    let listed = imap.say("LIST \"\" *");
    assert!(listed.contains("B&APw-cher/Neu"), "{listed}");
    assert!(imap.say("LSUB \"\" *").contains("B&APw-cher/Neu"));
    assert!(imap.say("SELECT INBOX").contains("* 1 EXISTS"));
    let fetched = imap.say("FETCH 1 (FLAGS RFC822.SIZE BODY.PEEK[])");
    let size = message(1, "hello").len() + message(1, "hello").iter().filter(|byte| **byte == b'\n').count();
    assert!(
        fetched.contains(&format!("RFC822.SIZE {size}")) && fetched.contains("\r\n\r\nhello\r\n"),
        "{fetched}"
    );
    imap.say("STORE 1 +FLAGS (\\Seen \\Flagged work)");
    // What has come meanwhile is there at the next look.
    assert!(lab.deliver(&[], &message(3, "later")).status.success());
    assert!(imap.say("NOOP").contains("* 2 EXISTS"));
    let used = imap.say("GETQUOTAROOT INBOX");
    let total: u64 = lab.messages().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let total = total + u64::try_from(message(2, "in a folder").len()).unwrap();
    assert!(used.contains(&format!("(STORAGE {} ", total.div_ceil(1024))), "{total}: {used}");
    imap.say("STORE 1 +FLAGS (\\Deleted)");
    assert!(imap.say("EXPUNGE").contains("* 1 EXPUNGE"));
    assert_eq!(lab.messages().len(), 1);
    assert!(imap.say("SELECT B&APw-cher/Neu").contains("* 1 EXISTS"));
    let said = log(&lab);
    assert!(!said.contains("Error") && !said.contains("Warning") && !said.contains("Panic"), "{said}");
}

#[test]
fn both_deliver_at_the_same_time() {
    let lab = Lab::new("beside", CONF);
    assert!(lab.deliver(&[], &message(0, "first")).status.success());
    let end = Instant::now() + Duration::from_secs(if long() { 60 } else { 5 });
    let (ours, theirs) = (AtomicUsize::new(1), AtomicUsize::new(0));
    let expunged = std::thread::scope(|scope| {
        for thread in 0..2 {
            let (lab, ours) = (&lab, &ours);
            scope.spawn(move || {
                let mut number = 1;
                while Instant::now() < end {
                    let output = lab.deliver(&[], &message(number * 2 + thread, "ours"));
                    assert!(output.status.success(), "{}", said(&output));
                    ours.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            });
        }
        scope.spawn(|| {
            let mut number = 0;
            while Instant::now() < end {
                number += 1;
                let output =
                    run(&mut as_joe(&lab, "/usr/lib/dovecot/dovecot-lda"), &message(number, "theirs"));
                assert!(output.status.success(), "{}\n{}", said(&output), log(&lab));
                theirs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let reader = scope.spawn(|| {
            let mut imap = Imap::start(&lab);
            imap.say("SELECT INBOX");
            let mut expunged = 0;
            while Instant::now() < end {
                imap.say("FETCH 1:* (FLAGS UID)");
                imap.say("STORE 1 +FLAGS (\\Deleted)");
                expunged += imap.say("EXPUNGE").matches(" EXPUNGE\r\n").count();
                // Until something is there again.
                while Instant::now() < end && !imap.say("STATUS INBOX (MESSAGES)").contains("MESSAGES ") {}
                std::thread::sleep(Duration::from_millis(100));
            }
            expunged
        });
        reader.join().unwrap()
    });
    let mut imap = Imap::start(&lab);
    let (ours, theirs) = (ours.into_inner(), theirs.into_inner());
    println!("{ours} by us, {theirs} by dovecot-lda, {expunged} expunged");
    assert!(ours > 10 && theirs > 5, "{ours} {theirs}");
    let left = ours + theirs - expunged;
    assert!(imap.say("SELECT INBOX").contains(&format!("* {left} EXISTS")));
    assert_eq!(lab.messages().len(), left);
    let said: String = log(&lab)
        .lines()
        .filter(|line| ["Error", "Warning", "Panic", "Fatal"].iter().any(|word| line.contains(word)))
        .collect();
    assert_eq!(said, "");
}
