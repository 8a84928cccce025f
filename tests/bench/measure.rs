//! One run of milterload against one freshly started server, and its figures.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::subject::{Bench, Key, Subject};

/// What is done to each message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// The client is internal.
    Sign,
    /// The client is a stranger, and the message carries a good signature made by opendkim.
    Verify,
}

/// One row of the table.
pub struct Case {
    /// Sign or verify.
    pub work: Work,
    /// The algorithm.
    pub key: Key,
    /// The message's size before signing.
    pub bytes: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Messages on each; 0: no limit.
    pub per_connection: u64,
    /// The largest ratio of ours to opendkim's CPU time that is good enough.
    pub bar: Option<f64>,
}

/// A program beside this one in the target folder.
pub struct MilterLoad {
    program: PathBuf,
}

impl Case {
    /// What the row is called.
    pub fn title(&self) -> String {
        let work = match self.work {
            Work::Sign => "sign",
            Work::Verify => "verify",
        };
        let key = match self.key {
            Key::Rsa => "RSA-2048",
            Key::Ed25519 => "Ed25519",
        };
        let renewed = match self.per_connection {
            0 => String::new(),
            n => format!(", {n} a connection"),
        };
        format!("{work} {key}, {}, {} conn{renewed}", size(self.bytes), self.connections)
    }
}

/// 4096 → "4 KiB".
pub fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

impl MilterLoad {
    /// Finds it beside the running program.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find() -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?.with_file_name("milterload");
        if !program.exists() {
            return Err(format!("{} is missing: build it as well", program.display()).into());
        }
        Ok(Self { program })
    }

    /// Runs it; the answer is what it prints with `--json`.
    fn run(&self, arguments: &[String]) -> Result<Value, Box<dyn Error>> {
        let output = Command::new(&self.program).args(arguments).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().into());
        }
        Ok(if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout)? })
    }

    /// Signs a made-up message with opendkim, for the verifiers.
    ///
    /// # Errors
    /// When opendkim does not start or does not sign.
    pub fn signed_message(&self, bench: &Bench, key: Key, bytes: usize) -> Result<(), Box<dyn Error>> {
        let server = bench.start(Subject::OpenDkim, key)?;
        let out = signed(&bench.folder, key);
        self.run(&words(&[
            "--connect",
            &format!("unix:{}", server.socket.display()),
            "--size",
            &bytes.to_string(),
            "--expect",
            "DKIM-Signature",
            "--out",
            &out.display().to_string(),
        ]))?;
        Ok(())
    }

    /// One run of a case: until the server used `cpu_secs` of CPU time.
    ///
    /// # Errors
    /// When the server does not start, or a single message is not signed or verified as it must be.
    pub fn measure(
        &self,
        bench: &Bench,
        case: &Case,
        subject: Subject,
        cpu_secs: f64,
    ) -> Result<Value, Box<dyn Error>> {
        let server = bench.start(subject, case.key)?;
        let mut arguments = words(&[
            "--json",
            "--connect",
            &format!("unix:{}", server.socket.display()),
            "--pid",
            &server.pid().to_string(),
            "--cpu-secs",
            &cpu_secs.to_string(),
            "--messages",
            "10000000",
            "--connections",
            &case.connections.to_string(),
            "--per-connection",
            &case.per_connection.to_string(),
        ]);
        match case.work {
            Work::Sign => arguments.extend(words(&[
                "--size",
                &case.bytes.to_string(),
                "--expect",
                &format!("DKIM-Signature=s={};", case.key.selector()),
            ])),
            Work::Verify => arguments.extend(words(&[
                "--message",
                &signed(&bench.folder, case.key).display().to_string(),
                "--client",
                "192.0.2.5",
                "--expect",
                "Authentication-Results=dkim=pass",
            ])),
        }
        self.run(&arguments)
    }

    /// The memory of a signing server with `sessions` connections, each `bytes` into its message.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn hold(
        &self,
        bench: &Bench,
        subject: Subject,
        sessions: usize,
        bytes: usize,
    ) -> Result<Value, Box<dyn Error>> {
        let server = bench.start(subject, Key::Rsa)?;
        self.run(&words(&[
            "--json",
            "--connect",
            &format!("unix:{}", server.socket.display()),
            "--pid",
            &server.pid().to_string(),
            "--size",
            &bytes.to_string(),
            "--stop-in-middle",
            &sessions.to_string(),
        ]))
    }
}

fn signed(folder: &Path, key: Key) -> PathBuf {
    folder.join(format!("signed-{}.eml", key.selector()))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
