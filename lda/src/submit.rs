//! Hands a message to sendmail(1): an argument vector and no shell, a clean environment, a bounded time.
//!
//! The message is complete in a file without a name before sendmail starts. Were it written into a pipe, sendmail would
//! take the end of a killed delivery for the end of the message, and send half of it.
//!
//! Holds one `unsafe` block: what the child does before it becomes sendmail.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base::clock::monotonic_now;
use base::log::escaped;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

/// How long sendmail may take for one message.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// A message up to this size waits in memory, a larger one on disk.
const IN_MEMORY: usize = 1 << 20;
/// What is kept of what sendmail says when it fails.
const LAST_WORDS: usize = 300;

/// Sends a message to recipients; `sender` is empty for `<>`.
///
/// # Errors
/// A sentence for the log: sendmail is not there, is too slow, or ended with another status than 0.
pub fn submit(
    sendmail: &Path,
    sender: &str,
    recipients: &[String],
    content: &mut dyn Read,
    timeout: Duration,
) -> Result<(), String> {
    let failed = |what: String| format!("sendmail {}: {what}", sendmail.display());
    let file = complete(content).map_err(|error| failed(format!("cannot hold the message: {error}")))?;
    let deadline = monotonic_now() + timeout;
    let mut command = Command::new(sendmail);
    command
        .args(["-i", "-f", if sender.is_empty() { "<>" } else { sender }, "--"])
        .args(recipients)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(file))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    #[allow(unsafe_code, reason = "the child has to give up root between fork and exec")]
    // SAFETY: the functions make system calls only, as what runs between fork and exec must.
    unsafe {
        command.pre_exec(|| {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
            crate::credentials::give_up_root()
        });
    }
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let stderr = child.stderr.take();
    match wait(&mut child, deadline) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("{}{}", ended(status), words(stderr)))),
        Err(error) => {
            end(&mut child);
            if error.kind() == io::ErrorKind::TimedOut {
                Err(failed(format!("not done within {timeout:?}{}", words(stderr))))
            } else {
                Err(failed(format!("{error}{}", words(stderr))))
            }
        }
    }
}

/// All of the message in a file that nobody else sees.
fn complete(content: &mut dyn Read) -> io::Result<File> {
    let mut beginning = Vec::new();
    let limit = u64::try_from(IN_MEMORY).unwrap_or(u64::MAX);
    content.take(limit).read_to_end(&mut beginning)?;
    let mut file =
        if beginning.len() < IN_MEMORY { in_memory()? } else { on_disk().or_else(|_none| in_memory())? };
    file.write_all(&beginning)?;
    io::copy(content, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn in_memory() -> io::Result<File> {
    memfd_create(c"message", MFdFlags::MFD_CLOEXEC).map(File::from).map_err(Into::into)
}

fn on_disk() -> io::Result<File> {
    File::options().read(true).write(true).mode(0o600).custom_flags(nix::libc::O_TMPFILE).open("/var/tmp")
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("no process id"))?;
    let watched = pidfd_open(pid, PidfdFlags::empty())?;
    ready(watched.as_fd(), PollFlags::POLLIN, deadline)?;
    child.wait()
}

fn ready(fd: BorrowedFd<'_>, events: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(monotonic_now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, events)], timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(|_old| ()).map_err(Into::into)
}

/// Kills the program and what it started.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    drop(child.wait());
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// What it said on standard error, as far as that is there already.
fn words(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut said = vec![0; LAST_WORDS];
    let length = nonblocking(stderr.as_fd()).and_then(|()| stderr.read(&mut said)).unwrap_or(0);
    said.truncate(length);
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.is_empty() { String::new() } else { format!(": {}", escaped(line, LAST_WORDS)) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(directory: &Path, script: &str) -> std::path::PathBuf {
        let path = directory.join("sendmail");
        fs::write(&path, format!("#!/bin/sh\ncd {}\n{script}\n", directory.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn sent(path: &Path, content: &[u8], timeout: Duration) -> Result<(), String> {
        let recipients = ["-x@b.example".to_owned(), "$(id)@b.example".to_owned()];
        submit(path, "", &recipients, &mut &*content, timeout)
    }

    #[test]
    fn arguments_environment_and_content_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let path = program(directory.path(), "printf '%s\\n' \"$@\" > args; env | sort > env; cat > mail");
        let mail = b"x".repeat(3 << 20);
        sent(&path, &mail, Duration::from_secs(20)).unwrap();
        let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
        assert_eq!(read("mail"), mail);
        assert_eq!(read("args"), b"-i\n-f\n<>\n--\n-x@b.example\n$(id)@b.example\n");
        assert!(!String::from_utf8(read("env")).unwrap().contains("CARGO"));
    }

    #[test]
    fn failures_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let big = b"x".repeat((1 << 20) + 1);
        let within = Duration::from_millis(400);
        for (script, says) in [
            ("cat > /dev/null; echo 'no room' >&2; exit 75", "exited with status 75: no room"),
            ("exit 67", "exited with status 67"),
            ("cat > /dev/null; kill -9 $$", "signal 9"),
            ("sleep 100", "not done within"),
            ("cat > /dev/null; exec sleep 100", "not done within"),
        ] {
            let path = program(directory.path(), script);
            let error = sent(&path, &big, within).unwrap_err();
            assert!(error.contains(says), "{script}: {error}");
        }
        let none = sent(&directory.path().join("none"), &big, within).unwrap_err();
        assert!(none.contains("No such file"), "{none}");
    }

    #[test]
    fn a_message_that_cannot_be_read_is_not_sent() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("EIO"));
                }
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = program(directory.path(), "cat > mail");
        let recipients = ["a@b.example".to_owned()];
        let error = submit(&path, "", &recipients, &mut Broken(false), TIMEOUT).unwrap_err();
        assert!(error.contains("cannot hold the message: EIO"), "{error}");
        assert!(!directory.path().join("mail").exists());
    }
}
