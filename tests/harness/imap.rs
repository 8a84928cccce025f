//! An IMAP session with a real Dovecot over a Maildir that others deliver into, one command at a time.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::scratch::Scratch;
use crate::wait::PATIENCE;

/// Dovecot for one user: its configuration, its log, its programs.
#[derive(Debug)]
pub struct Dovecot {
    conf: PathBuf,
    log: PathBuf,
    user: String,
    home: PathBuf,
    uid: u32,
}

impl Dovecot {
    /// For a user with a Maildir in `home`, whose files belong to `uid`; the quota plugin counts by `maildirsize`.
    #[must_use]
    pub fn of(scratch: &Scratch, user: &str, home: &Path, uid: u32) -> Self {
        let folder = scratch.path().display();
        let log = home.join("dovecot.log");
        let text = format!(
            "base_dir = {folder}/dovecot-{user}\nlog_path = {}\nssl = no\nmail_location = maildir:~/Maildir\n\
             first_valid_uid = 1\npostmaster_address = p@a.example\nstats_writer_socket_path =\nprotocols =\n\
             mail_plugins = quota\nprotocol imap {{\n mail_plugins = quota imap_quota\n}}\n\
             plugin {{\n quota = maildir:User quota\n quota_rule = *:storage=1G\n}}\n\
             namespace inbox {{\n inbox = yes\n separator = /\n}}\n",
            log.display()
        );
        let conf = scratch.write(&format!("dovecot-{user}.conf"), text);
        Self { conf, log, user: user.to_owned(), home: home.to_owned(), uid }
    }

    /// A program of Dovecot's that runs as the user: `imap`, `dovecot-lda`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new("/usr/lib/dovecot").join(program));
        command.arg("-c").arg(&self.conf).env_clear().env("USER", &self.user).env("HOME", &self.home);
        command.uid(self.uid).gid(self.uid).current_dir("/").stderr(Stdio::null());
        command
    }

    /// What its programs have logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The lines of its log that say that something is wrong.
    #[must_use]
    pub fn complaints(&self) -> String {
        let is_complaint =
            |line: &&str| ["Error", "Warning", "Panic", "Fatal"].iter().any(|word| line.contains(word));
        self.log().lines().filter(is_complaint).map(|line| format!("{line}\n")).collect()
    }

    /// Begins a session, already logged in.
    #[must_use]
    pub fn imap(&self) -> Imap {
        let mut child = self.command("imap").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = child.stdin.take().unwrap();
        let from = lines(child.stdout.take().unwrap());
        let session = Imap { child, to, from, next: 0 };
        let greeting = session.line();
        assert!(greeting.contains("PREAUTH"), "{greeting}\n{}", self.log());
        session
    }
}

/// An IMAP session; its process ends when it is dropped.
#[derive(Debug)]
pub struct Imap {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
    next: usize,
}

impl Imap {
    /// Says a command, and gives all lines of the answer, which has to be OK.
    #[track_caller]
    pub fn say(&mut self, command: &str) -> String {
        self.next += 1;
        let tag = format!("t{}", self.next);
        write!(self.to, "{tag} {command}\r\n").unwrap();
        let mut all = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "{command}: the session ended or says nothing\n{all}");
            all.push_str(&line);
            if line.starts_with(&format!("{tag} ")) {
                assert!(line.starts_with(&format!("{tag} OK")), "{command}: {all}");
                return all;
            }
        }
    }

    /// The next line; empty at the end, and when there is none in [`PATIENCE`].
    fn line(&self) -> String {
        self.from.recv_timeout(PATIENCE).unwrap_or_default()
    }
}

impl Drop for Imap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe's lines as they come; the thread ends with the process.
fn lines(from: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}
