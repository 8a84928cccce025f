//! dovecot-lda, maildrop, procmail and ours side by side: what one delivery by a process of its own costs.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::scratch::Scratch;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::{Value, json};

use crate::report::{Spread, against};

/// Who owns the mail; maildrop wants a user that exists.
const NOBODY: u32 = 65534;

/// The programs, ours last.
const AGENTS: [&str; 4] = ["dovecot-lda", "maildrop", "procmail", "postrider-lda"];

/// Title, size of the message, bars: the parts of dovecot-lda's and of maildrop's CPU time that ours may take.
const CASES: [(&str, usize, f64, Option<f64>); 2] = [
    ("CPU for a delivery of 4 KiB, ms", 4 << 10, 0.25, Some(1.0)),
    ("CPU for a delivery of 1 MiB, ms", 1 << 20, 0.3, None),
];

/// Runs all cases whose title contains `only`, all programs in turn, and prints the table.
///
/// # Errors
/// When a program is missing, or a delivery fails.
pub fn run(rounds: usize, quick: bool, only: &str) -> Result<Value, Box<dyn Error>> {
    let cases: Vec<_> = CASES.iter().filter(|(title, ..)| title.contains(only)).collect();
    if cases.is_empty() {
        return Ok(Value::Null);
    }
    let scratch = Scratch::new("bench");
    let site = Site::new(&scratch)?;
    let mut all = Vec::new();
    println!("\nDelivery by process: median (least–most)");
    println!("{:<36} {:>22} {:>22} {:>22} {:>22}  ratios", "", AGENTS[0], AGENTS[1], AGENTS[2], AGENTS[3]);
    for (title, bytes, bar, maildrop_bar) in cases {
        let deliveries = if quick { 20 } else { 200 };
        let mut runs: [Vec<Value>; 4] = Default::default();
        for _ in 0..rounds {
            for (agent, runs) in AGENTS.iter().zip(&mut runs) {
                runs.push(site.measure(agent, *bytes, deliveries)?);
            }
        }
        let cpu = |at: usize| Spread::of(&runs[at], "cpu_ms");
        let text = |at: usize| cpu(at).map_or_else(|| "-".into(), |spread| spread.text(2));
        let median = |at: usize| cpu(at).map(|spread| spread.median);
        let (dovecot, verdict) = against(median(3), median(0), Some(*bar));
        let (maildrop, second) = against(median(3), median(1), *maildrop_bar);
        println!(
            "{title:<36} {:>22} {:>22} {:>22} {:>22}  {dovecot} of dovecot-lda {verdict}, {maildrop} of maildrop {second}",
            text(0),
            text(1),
            text(2),
            text(3)
        );
        let wall: Vec<String> = (0..4)
            .map(|at| Spread::of(&runs[at], "wall_ms").map_or_else(|| "-".into(), |spread| spread.text(2)))
            .collect();
        println!("{:<36} {:>22} {:>22} {:>22} {:>22}", "  time, ms", wall[0], wall[1], wall[2], wall[3]);
        all.push(json!({ "case": title, "bytes": bytes, "runs": AGENTS.iter().zip(&runs).map(|(name, runs)| json!({ "agent": name, "runs": runs })).collect::<Vec<_>>() }));
    }
    Ok(Value::Array(all))
}

struct Site {
    home: PathBuf,
    ours: PathBuf,
    folder: PathBuf,
}

impl Site {
    fn new(scratch: &Scratch) -> Result<Self, Box<dyn Error>> {
        let home = scratch.file("home");
        fs::create_dir(&home)?;
        chown(&home, Some(NOBODY), Some(NOBODY))?;
        let ours = match std::env::var_os("POSTRIDER_LDA_BIN") {
            Some(path) => path.into(),
            None => std::env::current_exe()?.with_file_name("postrider-lda"),
        };
        // Where the user may run it.
        let copy = scratch.file("postrider-lda");
        fs::copy(&ours, &copy).map_err(|error| format!("{}: {error}", ours.display()))?;
        scratch.write("lda.toml", "mail_location = \"maildir:~/Maildir\"\n");
        scratch.write(
            "dovecot.conf",
            format!(
                "base_dir = {0}/dovecot\nlog_path = {1}/log\nprotocols =\nssl = no\nmail_location = maildir:~/Maildir\n\
                 postmaster_address = p@a.example\nstats_writer_socket_path =\n",
                scratch.path().display(),
                home.display()
            ),
        );
        for (name, text) in [
            ("maildroprc", format!("to \"{}/Maildir\"\n", home.display())),
            ("procmailrc", format!(":0\n{}/Maildir/\n", home.display())),
        ] {
            let path = scratch.write(name, text);
            chown(&path, Some(NOBODY), Some(NOBODY))?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        }
        Ok(Self { home, ours: copy, folder: scratch.path().to_owned() })
    }

    /// As local(8) would start it: the user's rights, home and name.
    fn command(&self, agent: &str) -> Command {
        let file = |name: &str| self.folder.join(name);
        let (program, arguments): (PathBuf, Vec<PathBuf>) = match agent {
            "dovecot-lda" => ("/usr/lib/dovecot/dovecot-lda".into(), vec!["-c".into(), file("dovecot.conf")]),
            "maildrop" => ("/usr/bin/maildrop".into(), vec![file("maildroprc")]),
            "procmail" => ("/usr/bin/procmail".into(), vec!["-m".into(), file("procmailrc")]),
            _ => (self.ours.clone(), vec!["-c".into(), file("lda.toml")]),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("USER", "nobody")
            .env("LOGNAME", "nobody");
        command.env("PATH", "/usr/bin:/bin").uid(NOBODY).gid(NOBODY).current_dir("/");
        command
    }

    /// CPU time and time of a delivery, in ms, over a number of them.
    fn measure(&self, agent: &str, bytes: usize, deliveries: usize) -> Result<Value, Box<dyn Error>> {
        let root = self.home.join("Maildir");
        drop(fs::remove_dir_all(&root));
        for name in ["", "tmp", "new", "cur"] {
            let path = root.join(name);
            fs::create_dir(&path)?;
            chown(&path, Some(NOBODY), Some(NOBODY))?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        let file = self.folder.join("message");
        let (before, started) = (children()?, Instant::now());
        let mut writing = Duration::ZERO;
        for number in 0..deliveries {
            let begun = Instant::now();
            write_message(&file, bytes, number)?;
            writing += begun.elapsed();
            let output = self
                .command(agent)
                .stdin(fs::File::open(&file)?)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .output()?;
            if !output.status.success() {
                return Err(format!(
                    "{agent}: {}: {}",
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                )
                .into());
            }
        }
        let wall = started.elapsed().saturating_sub(writing);
        let used = children()?.saturating_sub(before);
        let found = fs::read_dir(root.join("new"))?.count();
        if found != deliveries {
            return Err(format!("{agent}: {found} of {deliveries} messages are there").into());
        }
        let each =
            |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(u32::try_from(deliveries).unwrap_or(1));
        Ok(json!({ "cpu_ms": each(used), "wall_ms": each(wall) }))
    }
}

/// A message as Postfix hands it over.
fn write_message(file: &Path, bytes: usize, number: usize) -> std::io::Result<()> {
    let head = format!(
        "Return-Path: <anna@b.example>\nDelivered-To: nobody@a.example\nReceived: from b.example (b.example [192.0.2.1])\n\
         \tby a.example (Postfix) with ESMTP id {number:05X}5A0B3\n\tfor <nobody@a.example>; Thu, 26 Nov 2026 09:53:13 +0000 (UTC)\n\
         Message-ID: <{number}@b.example>\nFrom: anna@b.example\nTo: nobody@a.example\nSubject: number {number}\n\n"
    );
    let line = b"The quick brown fox jumps over the lazy dog, again and again, line by line.\n";
    let mut text = head.into_bytes();
    while text.len() < bytes {
        text.extend_from_slice(&line[..line.len().min(bytes - text.len())]);
    }
    fs::File::create(file)?.write_all(&text)
}

/// CPU time of all children that have ended.
fn children() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}
