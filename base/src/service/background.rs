//! Going into the background and leaving a pid file, for init scripts that want it so.
//!
//! Holds one `unsafe` call: fork(2), made before any thread exists.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// Which of the two processes goes on after [`detach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that was started; it should end with exit code 0.
    Parent,
    /// The daemon, in a session of its own with standard streams on /dev/null.
    Daemon,
}

/// Forks a daemon. The working directory stays as it is (OpenDKIM 2.11 observed).
///
/// Must be called before any thread or runtime exists.
///
/// # Errors
/// When fork, setsid or opening /dev/null fails.
#[allow(unsafe_code, reason = "fork(2) has no safe form")]
pub fn detach() -> io::Result<Side> {
    // SAFETY: the contract above: the process has one thread, so the child may do anything.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(Side::Parent),
        ForkResult::Child => {
            setsid()?;
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
            dup2_stdin(null.as_fd())?;
            dup2_stdout(null.as_fd())?;
            dup2_stderr(null.as_fd())?;
            Ok(Side::Daemon)
        }
    }
}

/// A pid file that is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the process id, decimal with a newline, to `path`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(path: &Path) -> io::Result<Self> {
        fs::write(path, format!("{}\n", std::process::id()))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            // Usual after giving up root: the folder belongs to another user.
            log::debug!("cannot remove the pid file {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
    }
}
