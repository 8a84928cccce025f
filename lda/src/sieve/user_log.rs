//! The log beside a user's script, in which its mistakes stand: bounded, the old one is kept once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::log::escaped;

use super::compose;
use super::evaluate::Failed;

/// At this size a new one is begun (Pigeonhole: 10 KiB); the old one becomes `.log.0`.
const MAX_SIZE: u64 = 10 * 1024;
/// Lines of one failure.
const MAX_LINES: usize = 50;

/// Where the log of a script is: beside it, with `.log`.
#[must_use]
pub fn beside(script: &Path) -> PathBuf {
    let mut path = script.as_os_str().to_owned();
    path.push(".log");
    PathBuf::from(path)
}

/// Appends what is wrong.
///
/// # Errors
/// The file cannot be written; the delivery goes on without it.
pub fn append(path: &Path, failed: &Failed, seconds: u64) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.size() >= MAX_SIZE) {
        let mut old = path.as_os_str().to_owned();
        old.push(".0");
        fs::rename(path, PathBuf::from(old))?;
    }
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW)
        .open(path)?;
    let mut text = format!("sieve: info: started log at {}.\n", compose::date(seconds));
    for line in lines(failed).take(MAX_LINES) {
        text.push_str(&line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}

/// The lines of a failure, as Pigeonhole writes them: `name: line 3: error: …`.
pub fn lines(failed: &Failed) -> impl Iterator<Item = String> {
    let name = failed.script.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    failed.complaints.iter().map(move |complaint| {
        let text = escaped(complaint.text.as_bytes(), 500);
        if complaint.line == 0 {
            format!("{name}: error: {text}")
        } else {
            format!("{name}: line {}: error: {text}", complaint.line)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::Owner;
    use super::super::syntax::Mistake;
    use super::*;

    #[test]
    fn it_grows_no_further_than_its_bound() {
        let home = tempfile::tempdir().unwrap();
        let log = beside(&home.path().join(".dovecot.sieve"));
        let complaints = vec![Mistake::new(3, "x\ny".repeat(30)), Mistake::new(0, "z")];
        let failed = Failed { script: "/home/x/filter.sieve".into(), owner: Owner::User, complaints };
        for _ in 0..200 {
            append(&log, &failed, 0).unwrap();
        }
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("filter: line 3: error: x"), "{text}");
        assert!(text.contains("filter: error: z\n"));
        let sizes: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size < MAX_SIZE + 4096), "{sizes:?}");
    }

    #[test]
    fn it_follows_no_link_and_waits_for_no_pipe() {
        let home = tempfile::tempdir().unwrap();
        let (link, pipe) = (home.path().join("link"), home.path().join("pipe"));
        std::os::unix::fs::symlink(home.path().join("elsewhere"), &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let failed = Failed { script: "x".into(), owner: Owner::User, complaints: Vec::new() };
        assert!(append(&link, &failed, 0).is_err());
        assert!(append(&pipe, &failed, 0).is_err());
        assert!(!home.path().join("elsewhere").exists());
    }
}
