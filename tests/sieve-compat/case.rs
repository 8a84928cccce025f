//! One case: a script, a message, and both programs' view of it in one form.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::scratch::Scratch;

/// A script to be run.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What the report calls it.
    pub name: &'static str,
    /// The script.
    pub script: &'static str,
    /// The message.
    pub message: &'static str,
    /// The envelope sender.
    pub sender: &'static str,
    /// The envelope recipient.
    pub recipient: &'static str,
    /// Scripts beside it, for include.
    pub beside: &'static [(&'static str, &'static str)],
    /// The number of the difference that this case shows.
    pub difference: Option<&'static str>,
}

impl Case {
    /// A case with the usual message and envelope.
    pub const fn new(name: &'static str, script: &'static str) -> Self {
        Self {
            name,
            script,
            message: MESSAGE,
            sender: "alice@a.example",
            recipient: "bob+lists@b.example",
            beside: &[],
            difference: None,
        }
    }

    /// With another message.
    pub const fn over(mut self, message: &'static str) -> Self {
        self.message = message;
        self
    }

    /// With another envelope.
    pub const fn envelope(mut self, sender: &'static str, recipient: &'static str) -> Self {
        self.sender = sender;
        self.recipient = recipient;
        self
    }

    /// With scripts beside it.
    pub const fn beside(mut self, scripts: &'static [(&'static str, &'static str)]) -> Self {
        self.beside = scripts;
        self
    }

    /// With a difference.
    pub const fn differs(mut self, number: &'static str) -> Self {
        self.difference = Some(number);
        self
    }
}

/// The usual message.
pub const MESSAGE: &str = "Return-Path: <alice@a.example>
Received: from mx.a.example (mx.a.example [192.0.2.1]) by mx.b.example; Thu, 26 Nov 2026 09:00:01 +0000
From: \"Alice A\" <alice@a.example>
To: Bob <bob@b.example>, \"Carol\" <carol+x@c.example>
Cc: dave@d.example
Subject: [list] hello World
Message-ID: <m1@a.example>
Date: Thu, 26 Nov 2026 23:30:00 -0500
X-Spam-Score: 7
X-Multi: one
X-Multi: two
X-Multi: three
X-Empty:
List-Id: The list <list.a.example>
Content-Type: text/plain; charset=utf-8

The body has a needle,
and 100 lines less.
";

/// What came of a case.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// The script was refused.
    Refused,
    /// It failed while it ran; the message is kept.
    Failed,
    /// What it would do, line by line.
    Actions(Vec<String>),
}

/// Runs all cases and holds the two against each other, all disagreements at once.
pub fn agree(cases: &[Case]) {
    if !Path::new(SIEVE_TEST).exists() {
        panic!("{SIEVE_TEST} is missing: make install-needs");
    }
    let site = Site::new();
    let mut wrong = Vec::new();
    for case in cases {
        let (reference, ours) = site.both(case);
        let differ = reference.0 != ours.0;
        if differ != case.difference.is_some() {
            let expected = if differ { "are to agree" } else { "are to differ, but agree" };
            wrong.push(format!(
                "{} ({expected}):\nPigeonhole: {:#?}\n{}\nours: {:#?}\n{}",
                case.name, reference.0, reference.1, ours.0, ours.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

struct Site {
    scratch: Scratch,
    config: PathBuf,
}

impl Site {
    fn new() -> Self {
        let scratch = Scratch::new("sieve");
        let root = scratch.path().display();
        let config = scratch.write(
            "dovecot.conf",
            format!(
                "mail_location = maildir:{root}/Maildir\nmail_uid = 65534\nmail_gid = 65534\nfirst_valid_uid = 1\n\
                 mail_home = {root}/home\npostmaster_address = postmaster@b.example\nhostname = mx.b.example\nssl = no\n\
                 log_path = /dev/stderr\nplugin {{\n  recipient_delimiter = +\n  sieve_extensions = +editheader +vacation-seconds\n  \
                 sieve = file:{root}/home/sieve;active={root}/home/.dovecot.sieve\n}}\n"
            ),
        );
        for folder in ["home/sieve", "Maildir/cur", "Maildir/new", "Maildir/tmp"] {
            fs::create_dir_all(scratch.file(folder)).unwrap();
        }
        let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(scratch.path()).status().unwrap();
        assert!(owned.success());
        Self { scratch, config }
    }

    fn both(&self, case: &Case) -> ((Seen, String), (Seen, String)) {
        let directory = self.scratch.file("home/sieve");
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        let script = directory.join("case.sieve");
        fs::write(&script, case.script).unwrap();
        for (name, text) in case.beside {
            fs::write(directory.join(format!("{name}.sieve")), text).unwrap();
        }
        let message = self.scratch.write("message.eml", case.message);
        let location = format!("maildir:{}/Maildir", self.scratch.path().display());
        let envelope = ["-f", case.sender, "-r", case.recipient, "-a", case.recipient];
        let reference = Command::new(SIEVE_TEST)
            .arg("-c")
            .arg(&self.config)
            .args(envelope)
            .arg(&script)
            .arg(&message)
            .output()
            .unwrap();
        let ours = Command::new(program())
            .args(["sieve-test", "-x", "+editheader +vacation-seconds", "-l", &location])
            .args(envelope)
            .arg(&script)
            .arg(&message)
            .output()
            .unwrap();
        (seen(&reference), seen(&ours))
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("postrider-lda");
    assert!(program.exists(), "{} is missing: cargo build --workspace --bins", program.display());
    program
}

/// Both programs' output in one form: lines without blanks around them, system flags in lower case.
fn seen(output: &Output) -> (Seen, String) {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    let said = format!("{out}{err}");
    if err.contains("failed to compile") {
        return (Seen::Refused, said);
    }
    if err.contains("final result: failed") {
        return (Seen::Failed, said);
    }
    let lines = out
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            for flag in ["\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft"] {
                line = line.replace(flag, &flag.to_lowercase());
            }
            if let Some(flags) = line.strip_prefix("+ add IMAP flags: ") {
                let mut flags: Vec<_> = flags.split(' ').collect();
                flags.sort_unstable();
                line = format!("+ add IMAP flags: {}", flags.join(" "));
            }
            line
        })
        .collect();
    (Seen::Actions(lines), said)
}

const SIEVE_TEST: &str = "/usr/bin/sieve-test";
