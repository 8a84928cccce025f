//! A user with scripts, postrider-lda run for that user, and a sendmail that records.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::scratch::Scratch;

/// Who owns mail here; nobody has to be called so.
pub const USER: u32 = 5000;

/// The user `joe@b.example`.
pub struct Lab {
    pub scratch: Scratch,
    pub home: PathBuf,
}

/// What was handed to sendmail.
#[derive(Debug)]
pub struct Sent {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The message.
    pub message: String,
}

impl Lab {
    /// With lines for the section `[sieve]`.
    pub fn new(name: &str, more: &str) -> Self {
        let scratch = Scratch::new(name);
        let home = scratch.file("joe");
        fs::create_dir_all(home.join("sieve")).unwrap();
        for folder in [&home, &home.join("sieve")] {
            chown(folder, Some(USER), Some(USER)).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let outbox = scratch.file("outbox");
        fs::create_dir(&outbox).unwrap();
        fs::set_permissions(&outbox, fs::Permissions::from_mode(0o777)).unwrap();
        let users = scratch.write("users", format!("joe@b.example::{USER}:{USER}::{}\n", home.display()));
        let sendmail = scratch.file("sendmail");
        scratch.write(
            "lda.toml",
            format!(
                "sendmail_path = \"{}\"\nhostname = \"mx.b.example\"\n[[userdb]]\ndriver = \"passwd-file\"\npath = \"{}\"\n[sieve]\n{more}\n",
                sendmail.display(),
                users.display()
            ),
        );
        let lab = Self { scratch, home };
        lab.sendmail("exit 0");
        lab
    }

    /// What sendmail does once it has recorded its arguments and the message; `$all` are the arguments.
    pub fn sendmail(&self, then: &str) {
        let outbox = self.scratch.file("outbox");
        let path = self.scratch.write(
            "sendmail",
            format!(
                "#!/bin/sh\nall=\"$*\"\none=$(mktemp {0}/tmp.XXXXXX)\n{{ for a in \"$@\"; do echo \"$a\"; done; echo ==; cat; }} > $one\n\
                 to=$(echo \"$one\" | sed 's/tmp\\./sent./')\ntaken() {{ mv $one $to; exit 0; }}\n{then}\n",
                outbox.display()
            )
            .replace("\nexit 0\n", "\ntaken\n"),
        );
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What sendmail took, that is: ended with 0 for.
    pub fn sent(&self) -> Vec<Sent> {
        let mut all: Vec<PathBuf> = fs::read_dir(self.scratch.file("outbox"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("sent."))
            .collect();
        all.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        all.iter()
            .map(|path| {
                let text = fs::read_to_string(path).unwrap();
                let (arguments, message) = text.split_once("==\n").unwrap();
                Sent {
                    arguments: arguments.lines().map(str::to_owned).collect(),
                    message: message.to_owned(),
                }
            })
            .collect()
    }

    /// The user's active script.
    pub fn script(&self, text: &str) {
        self.own(&self.home.join(".dovecot.sieve"), text);
    }

    /// Writes a file of the user's.
    pub fn own(&self, path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        chown(path, Some(USER), Some(USER)).unwrap();
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(program("postrider-lda"));
        command.arg("-c").arg(self.scratch.file("lda.toml")).args(["-d", "joe@b.example", "-L"]);
        command
    }

    /// Delivers, and gives exit code and what was said.
    pub fn deliver(&self, sender: &str, message: &str) -> (i32, String) {
        let mut command = self.command();
        ended(run(command.args(["-f", sender, "-r", "joe@b.example"]), message))
    }

    /// The messages of a folder, `""` for INBOX.
    pub fn messages(&self, folder: &str) -> Vec<PathBuf> {
        let root = self.home.join("Maildir");
        let folder = if folder.is_empty() { root } else { root.join(format!(".{folder}")) };
        let mut all: Vec<PathBuf> = ["new", "cur"]
            .iter()
            .filter_map(|part| fs::read_dir(folder.join(part)).ok())
            .flat_map(|entries| entries.map(|entry| entry.unwrap().path()))
            .collect();
        all.sort();
        all
    }
}

/// Runs a command with this on its standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that ends early does not read all.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit code, and all that was said.
pub fn ended(output: Output) -> (i32, String) {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

/// A program under test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join(name);
    assert!(program.exists(), "{} is missing: cargo build --workspace --bins", program.display());
    program
}

/// A message with a number, as Postfix hands it over.
pub fn message(number: usize, more: &str) -> String {
    format!(
        "Return-Path: <anna@a.example>\nReceived: from a.example (unknown [192.0.2.1])\n\tby mx.b.example (Postfix) with ESMTP id {number:05X}5A0B3\n\
         \tfor <joe@b.example>; Thu, 26 Nov 2026 09:53:13 +0000 (UTC)\nMessage-ID: <{number}@a.example>\n\
         From: anna@a.example\nTo: joe@b.example\nSubject: number {number}\n{more}\nbody {number}\n"
    )
}
