//! System calls that fail: what strace is told, how often each call occurs, and strace at a running process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::PATIENCE;

/// How system calls of a delivery fail: the calls as strace names them, and the errors that they may give.
pub const FAULTS: [(&str, &[&str]); 9] = [
    ("write", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("linkat", &["EIO", "ENOSPC", "EDQUOT", "EMLINK", "EXDEV", "EPERM"]),
    ("openat", &["EIO", "ENOSPC", "EMFILE", "EINTR", "EACCES"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("unlink", &["EIO", "EROFS"]),
    ("mkdir", &["EIO", "ENOSPC", "EDQUOT"]),
    ("read", &["EIO", "EINTR"]),
    ("statx", &["EIO", "EACCES"]),
];

/// How often each call stands in a trace that strace has written; the calls of one thread if `thread` names a call that
/// only this one makes.
#[must_use]
pub fn occurrences(trace: &Path, thread: Option<&str>) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let parts = |line: &'_ str| -> (String, String) {
        let call = line.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ');
        let task = line[..line.len() - call.len()].trim().to_owned();
        (task, call.split('(').next().unwrap_or_default().to_owned())
    };
    let task = thread.map(|wanted| {
        let found = text.lines().map(parts).find(|(_, call)| call == wanted);
        found.unwrap_or_else(|| panic!("no {wanted} in the trace:\n{text}")).0
    });
    let mut counted = BTreeMap::new();
    for (of, call) in text.lines().map(parts) {
        if task.as_ref().is_none_or(|task| *task == of) {
            *counted.entry(call).or_insert(0) += 1;
        }
    }
    counted
}

/// The calls of one kind each in the order in which they stand in a trace, of the thread that made `thread`: those of
/// `wanted` only.
#[must_use]
pub fn order(trace: &Path, thread: &str, wanted: &[&str]) -> Vec<String> {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let task = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let call = |line: &str| line.split_once(' ').map_or("", |(_, call)| call.trim_start()).to_owned();
    let is = |line: &str, name: &str| call(line).starts_with(&format!("{name}("));
    let own = text.lines().find(|line| is(line, thread)).map(task).unwrap_or_default();
    text.lines()
        .filter(|line| task(line) == own)
        .filter_map(|line| wanted.iter().find(|name| is(line, name)).map(|name| (*name).to_owned()))
        .collect()
}

/// strace at a running process; it lets go when this is dropped.
///
/// Calls are counted for each thread: one that begins later has its first call of a kind failed by `when=1`.
#[derive(Debug)]
pub struct Strace(Child);

impl Strace {
    /// Attaches to all threads of `pid` and waits until that is done; `options` like `-e inject=…`, `-o FILE`.
    #[must_use]
    pub fn attach(pid: Pid, options: &[&str]) -> Self {
        let mut command = Command::new("strace");
        command.arg("-f").args(options).args(["-p", &pid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("install strace");
        let errors = child.stderr.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        // It goes on reading, so that strace never waits.
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let first = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(first.contains("attached"), "strace: {first}");
        Self(child)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT);
        if crate::wait::wait_up_to(PATIENCE, || self.0.try_wait().unwrap()).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
