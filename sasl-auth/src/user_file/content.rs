//! The content of one file at one moment, and how to tell whether it is still the file's.

use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::secret::Secret;

use super::Kind;
use super::table::{Complaints, Table};

/// The largest file that is read.
const LARGEST_BYTES: u64 = 1 << 30;
/// Attempts to read a file that changes meanwhile, or has just changed and does not end with an end of line.
const ATTEMPTS: usize = 4;
/// The time between two attempts.
const SETTLE: Duration = Duration::from_millis(25);

/// A file's content, of the moment when it had this stamp.
pub(crate) struct Loaded {
    path: PathBuf,
    pub(super) stamp: Stamp,
    /// Read within the second of its last change: another change could have left the same stamp.
    pub(super) fresh: bool,
    mode: u32,
    pub(super) table: Arc<Table>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file that the path leads to now.
    pub(super) fn now(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the last change is in this second or the one before (or in the future).
    fn is_fresh(&self) -> bool {
        let now = i64::try_from(base::clock::unix_now()).unwrap_or(i64::MAX);
        self.changed.0.saturating_add(1) >= now
    }
}

impl Loaded {
    /// Reads a file, and warns of what an admin should look at. A file that holds the same bytes as
    /// `before` shares their memory, and is warned of no second time.
    ///
    /// Waits up to 75 ms for somebody who is writing in place.
    ///
    /// # Errors
    /// The file cannot be read, is none, or is larger than 1 GiB.
    pub(super) fn read(path: &Path, kind: &Kind, before: Option<&Self>) -> io::Result<Self> {
        let (bytes, stamp, mode) = settled(path)?;
        let fresh = stamp.is_fresh();
        let path = path.to_owned();
        if let Some(before) = before.filter(|before| before.table.holds(&bytes)) {
            if before.mode != mode {
                warn(&path, mode, kind, &Complaints::default());
            }
            return Ok(Self { path, stamp, fresh, mode, table: Arc::clone(&before.table) });
        }
        let (table, complaints) = Table::new(bytes, kind);
        warn(&path, mode, kind, &complaints);
        Ok(Self { path, stamp, fresh, mode, table: Arc::new(table) })
    }

    /// Reads a file as [`Self::read`] does, and gives what would be warned of.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn examined(path: &Path, kind: &Kind) -> io::Result<(Self, Vec<String>)> {
        let (bytes, stamp, mode) = settled(path)?;
        let (table, complaints) = Table::new(bytes, kind);
        let warnings = warnings(path, mode, kind, &complaints);
        let fresh = stamp.is_fresh();
        Ok((Self { path: path.to_owned(), stamp, fresh, mode, table: Arc::new(table) }, warnings))
    }

    /// Whether this is what a file with this stamp holds. A file that was read within a second of its
    /// change is read once more after that second.
    pub(super) fn is_of(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && (!self.fresh || stamp.is_fresh())
    }

    /// The lines of a user, in the file's order.
    pub(crate) fn lines<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.table.lines(user)
    }

    /// The lines of all users, in the file's order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.table.all()
    }

    /// `file:line` of a line that [`Self::lines`] gave, for the log.
    pub(crate) fn place(&self, line: &[u8]) -> String {
        format!("{}:{}", self.path.display(), self.table.number(line))
    }
}

/// The bytes of a file that nobody is writing, as far as can be told; its stamp and its mode.
fn settled(path: &Path) -> io::Result<(Secret, Stamp, u32)> {
    let mut attempt = 1;
    loop {
        // Without O_NONBLOCK a FIFO would wait for its writer.
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let mut file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if metadata.size() > LARGEST_BYTES {
            return Err(io::Error::other("larger than 1 GiB"));
        }
        let size = usize::try_from(metadata.size()).unwrap_or(0);
        // One byte more, so that reading to the end needs no larger buffer, whose copies nobody wipes.
        let mut bytes = Vec::with_capacity(size + 1);
        (&mut file).take(LARGEST_BYTES).read_to_end(&mut bytes)?;
        let bytes = Secret::new(bytes);
        let stamp = Stamp::of(&metadata);
        let quiet = Stamp::of(&file.metadata()?) == stamp;
        // Somebody who writes in place is not done before the last end of line.
        let whole = bytes.expose().ends_with(b"\n") || !stamp.is_fresh();
        if (quiet && whole) || attempt == ATTEMPTS {
            return Ok((bytes, stamp, metadata.mode()));
        }
        attempt += 1;
        std::thread::sleep(SETTLE);
    }
}

fn warn(path: &Path, mode: u32, kind: &Kind, complaints: &Complaints) {
    for warning in warnings(path, mode, kind, complaints) {
        log::warn!("{warning}");
    }
}

/// What an admin should look at, without any secrets.
fn warnings(path: &Path, mode: u32, kind: &Kind, complaints: &Complaints) -> Vec<String> {
    let shown = path.display();
    let mut warnings = Vec::new();
    if mode & 0o004 != 0 && !kind.public {
        warnings.push(format!(
            "{shown} holds passwords and can be read by everybody (mode {:04o})",
            mode & 0o7777
        ));
    }
    let lines =
        complaints.first.iter().map(|complaint| format!("{shown}:{}: {}", complaint.line, complaint.text));
    warnings.extend(lines);
    if complaints.more > 0 {
        warnings.push(format!("{shown}: {} more lines like these", complaints.more));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_name_file_and_line_and_no_password() {
        let text = format!("a:opensesame\n:opensesame\na:opensesame\n{}", "b:x\n".repeat(20));
        let (_, complaints) = Table::new(Secret::from(text), &Kind::USERS);
        let warnings = warnings(Path::new("/x"), 0o100_644, &Kind::USERS, &complaints);
        assert!(
            warnings[0].contains("/x holds passwords") && warnings[0].contains("mode 0644"),
            "{warnings:?}"
        );
        assert_eq!(warnings[1], "/x:2: no user name before the first colon");
        assert_eq!(warnings[2], "/x:3: user \"a\" exists more than once; the first line counts");
        assert_eq!(warnings.last().unwrap(), "/x: 11 more lines like these");
        assert!(!warnings.concat().contains("opensesame"));
        assert!(super::warnings(Path::new("/x"), 0o100_640, &Kind::USERS, &Complaints::default()).is_empty());
        let public = Kind { public: true, ..Kind::USERS };
        assert!(super::warnings(Path::new("/x"), 0o100_644, &public, &Complaints::default()).is_empty());
    }

    #[test]
    fn the_same_bytes_are_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, "a:1\n").unwrap();
        let one = Loaded::read(&path, &Kind::USERS, None).unwrap();
        std::fs::write(&path, "a:1\n").unwrap();
        let two = Loaded::read(&path, &Kind::USERS, Some(&one)).unwrap();
        assert!(Arc::ptr_eq(&one.table, &two.table) && two.stamp == Stamp::now(&path).unwrap());
        std::fs::write(&path, "a:2\n").unwrap();
        let three = Loaded::read(&path, &Kind::USERS, Some(&two)).unwrap();
        assert!(three.lines("a").eq([b"a:2"]));
    }

    impl Loaded {
        /// The same file, of the same stamp, with another content.
        pub(crate) fn with_content(&self, text: &str) -> Self {
            let table = Arc::new(Table::new(Secret::from(text), &Kind::USERS).0);
            Self { path: self.path.clone(), stamp: self.stamp, fresh: self.fresh, mode: self.mode, table }
        }
    }
}
