//! Waiting for something to become true, with a limit and a reason that a failed test can show.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that normally takes a fraction of a second may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `ready` until it gives a value, and returns that.
///
/// Panics after [`PATIENCE`], naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    match wait_up_to(PATIENCE, ready) {
        Some(value) => value,
        None => panic!("waited {} s in vain for {what}", PATIENCE.as_secs()),
    }
}

/// Calls `ready` until it gives a value or `limit` has passed.
pub fn wait_up_to<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// A log once nothing has been added to it for a moment: our services gather their lines for 10 ms. What is still
/// written to after a second is read as it is then.
pub(crate) fn settled(log: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(1);
    let mut text = std::fs::read(log).unwrap_or_default();
    loop {
        thread::sleep(Duration::from_millis(40));
        let now = std::fs::read(log).unwrap_or_default();
        if now.len() == text.len() || Instant::now() >= end {
            return String::from_utf8_lossy(&now).into_owned();
        }
        text = now;
    }
}

/// How long a program that a test runs to its end may take.
pub const LONGEST: Duration = Duration::from_secs(120);

/// Runs a program to its end with `input`, as [`Command::output`] does, but not for ever: after [`LONGEST`] it is
/// killed, and the test fails.
#[track_caller]
pub fn output(command: &mut Command, input: &[u8]) -> Output {
    output_within(LONGEST, command, input)
}

/// The same with another limit.
#[track_caller]
pub fn output_within(limit: Duration, command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A program that ends before it has read everything breaks the pipe.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let (stdout, stderr) = (reader(child.stdout.take().unwrap()), reader(child.stderr.take().unwrap()));
    let end = Instant::now() + limit;
    let status = ended_within(limit, &mut child, command);
    let [stdout, stderr] = [stdout, stderr].map(|bytes| {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(5));
        bytes.recv_timeout(left).unwrap_or_else(|_| panic!("{command:?}: others hold its output open"))
    });
    Output { status, stdout, stderr }
}

/// How a child ends, which must be within [`LONGEST`]; `command` is how it was started.
#[track_caller]
pub fn ended(child: &mut Child, command: &Command) -> ExitStatus {
    ended_within(LONGEST, child, command)
}

#[track_caller]
fn ended_within(limit: Duration, child: &mut Child, command: &Command) -> ExitStatus {
    wait_up_to(limit, || child.try_wait().unwrap()).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} had not ended after {} s", limit.as_secs())
    })
}

/// All that comes out of a pipe, once it is closed.
fn reader(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (told, bytes) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        let _ = told.send(all);
    });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn programs_are_run_to_their_end() {
        let output = output(&mut shell("cat; echo oh >&2; exit 3"), &vec![b'x'; 1 << 20]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 1 << 20));
        assert_eq!(output.stderr, b"oh\n");
        assert_eq!(
            super::output(&mut shell("exec <&-; exit 0"), &vec![b'x'; 1 << 20]).status.code(),
            Some(0)
        );
    }

    #[test]
    fn and_not_for_ever() {
        let began = Instant::now();
        for script in ["exec sleep 600", "exec sleep 600 >&- 2>&-"] {
            let limit = Duration::from_millis(200);
            let run = std::panic::catch_unwind(|| output_within(limit, &mut shell(script), b""));
            assert!(run.is_err(), "{script}");
        }
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
