//! A user with a home, a configuration, and postrider-lda run for that user; what is in the Maildir afterwards.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::scratch::Scratch;

/// Who owns mail here; nobody has to be called so.
pub const USER: u32 = 5000;

/// The user `joe` with a home of his own.
pub struct Lab {
    /// What is unmounted before the folder is removed.
    pub disk: Option<Box<dyn std::any::Any + Send + Sync>>,
    pub scratch: Scratch,
    home: PathBuf,
    pub conf: PathBuf,
}

impl Lab {
    /// With `more` at the top of the configuration.
    pub fn new(name: &str, more: &str) -> Self {
        let scratch = Scratch::new(name);
        let home = scratch.file("joe");
        fs::create_dir(&home).unwrap();
        Self::at(scratch, home, more)
    }

    /// With an existing home.
    pub fn at(scratch: Scratch, home: PathBuf, more: &str) -> Self {
        chown(&home, Some(USER), Some(USER)).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let users = scratch.write("users", format!("joe::{USER}:{USER}::{}\n", home.display()));
        let conf = scratch.write(
            "lda.toml",
            format!("{more}\n[[userdb]]\ndriver = \"passwd-file\"\npath = \"{}\"\n", users.display()),
        );
        Self { disk: None, scratch, home, conf }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.arg("-c").arg(&self.conf).args(["-d", "joe"]).env("POSTRIDER_LOG", "stderr");
        command
    }

    pub fn deliver(&self, arguments: &[&str], message: &[u8]) -> Output {
        run(self.command().args(arguments), message)
    }

    pub fn root(&self) -> PathBuf {
        self.home.join("Maildir")
    }

    /// The messages of the INBOX.
    pub fn messages(&self) -> Vec<PathBuf> {
        messages(&self.root())
    }

    /// What lies in `tmp`.
    pub fn left(&self) -> Vec<PathBuf> {
        files(&self.root().join("tmp"))
    }
}

/// The files in `new` and `cur`, sorted.
pub fn messages(folder: &Path) -> Vec<PathBuf> {
    let mut all = files(&folder.join("new"));
    all.extend(files(&folder.join("cur")));
    all.sort();
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

/// The program under test.
pub fn program() -> PathBuf {
    harness::milter::target_folder().join("postrider-lda")
}

/// Runs a command with this on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that ends early does not read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What it said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A message as Postfix hands it over, with a queue id of its own.
pub fn message(number: usize, body: &str) -> Vec<u8> {
    format!(
        "Received: from a.example (unknown [192.0.2.1])\n\tby mx.a.example (Postfix) with ESMTP id {number:05X}5A0B3\n\
         \tfor <joe@a.example>; Thu, 26 Nov 2026 09:53:13 +0000 (UTC)\nMessage-ID: <{number}@a.example>\n\
         From: anna@a.example\nSubject: number {number}\n\n{body}\n"
    )
    .into_bytes()
}

/// Whether the long forms are to be run.
pub fn long() -> bool {
    std::env::var_os("LONG").is_some()
}
