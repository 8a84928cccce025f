//! A folder of its own for each test, in a place where key files pass the safety checks of milters.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::watchdog::Watch;

/// A scratch folder, removed when dropped unless the environment has `KEEP=1`.
///
/// No parent of it is writable by others, as OpenDKIM's `RequireSafeKeys` wants it for key files (a folder under
/// /tmp would fail), every user may enter it, as Postfix's own user must, and its path is short enough for sockets.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _watch: Watch,
}

impl Scratch {
    /// Makes `ROOT/NAME-PID-N`, where ROOT is `$POSTRIDER_TEST_DIR` or /var/lib/postrider-tests.
    ///
    /// What killed test runs left in ROOT, their daemons included, is cleared away first, once a process.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let root = root();
        fs::create_dir_all(&root).unwrap();
        SWEPT.call_once(|| sweep(&root));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { path, _watch: Watch::new() }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path that a file called `name` has here, whether it exists or not.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that everybody may read, and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a file that only its owner may read (mode 0600), and returns its path.
    pub fn write_secret(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if keep() {
            fs::write(self.path.join(KEPT), "").unwrap();
            eprintln!("kept: {}", self.path.display());
        } else if let Err(err) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: {err}", self.path.display());
        }
    }
}

/// The folder that all scratch folders are made in.
fn root() -> PathBuf {
    std::env::var_os("POSTRIDER_TEST_DIR")
        .map_or_else(|| PathBuf::from("/var/lib/postrider-tests"), PathBuf::from)
}

fn keep() -> bool {
    std::env::var("KEEP").is_ok_and(|value| value == "1")
}

/// Removes the folders of test processes that are gone, after ending the daemons that still run in them.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.rsplit('-').nth(1).and_then(|pid| pid.parse::<i32>().ok());
        let Some(owner) = owner else { continue };
        if Path::new("/proc").join(owner.to_string()).exists() || path.join(KEPT).exists() {
            continue;
        }
        for pid in daemons_in(&path, &path, 3) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(50));
        let _ = fs::remove_dir_all(&path);
    }
}

/// The daemons whose pid files lie in `folder`, at most `depth` levels deep, and that still work in `scratch`.
fn daemons_in(scratch: &Path, folder: &Path, depth: u8) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.path();
        if file.is_dir() && depth > 0 {
            found.extend(daemons_in(scratch, &file, depth - 1));
        } else if file.extension().is_some_and(|extension| extension == "pid") {
            let text = fs::read_to_string(&file).unwrap_or_default();
            found.extend(text.trim().parse::<i32>().ok().filter(|&pid| works_in(pid, scratch)));
        }
    }
    found
}

/// Whether process `pid` has its working folder in `path` or a file of `path` in its command line: a number from
/// an old pid file may belong to somebody else by now.
fn works_in(pid: i32, path: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let command = fs::read(process.join("cmdline")).unwrap_or_default();
    fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(path))
        || String::from_utf8_lossy(&command).contains(&format!("{}/", path.display()))
}

/// Marks a folder that was kept on purpose.
const KEPT: &str = ".kept";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_is_safe_for_keys_and_goes_away() {
        let scratch = Scratch::new("scratch");
        let key = scratch.write_secret("k.private", "x");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        for folder in key.ancestors().skip(1) {
            let mode = fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o022, 0, "{} is writable by others", folder.display());
        }
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(keep() || !path.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_cleared_away() {
        // A folder named after a process that has ended, with a process that still works in it.
        let mut ended = std::process::Command::new("/bin/true").spawn().unwrap();
        ended.wait().unwrap();
        let root = Scratch::new("sweep");
        let left = root.path().join(format!("old-{}-1", ended.id()));
        let folder = left.join("postfix/spool/pid");
        fs::create_dir_all(&folder).unwrap();
        let mut daemon =
            std::process::Command::new("/bin/sleep").arg("60").current_dir(&left).spawn().unwrap();
        fs::write(folder.join("master.pid"), format!("{:>8}\n", daemon.id())).unwrap();
        sweep(root.path());
        assert!(!daemon.wait().unwrap().success());
        assert!(!left.exists());
    }
}
