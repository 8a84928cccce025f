//! What has been done already, on disk: vacation answers, redirects, and what `duplicate` tests saw, each until a time.
//!
//! A file of lines, `<second> <identifier>`. A line is added by one write under a lock; a kill leaves the old state or
//! the new one, and a line that a full disk cut short is passed over. When the file grows it is written anew without
//! what has expired, beside itself, and renamed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::own_file;

/// The file's name in a user's home.
pub const FILE_NAME: &str = ".postrider.lda-dupes";
/// The file is written anew when it is larger than this; nothing beyond it is read.
const MAX_SIZE: u64 = 1 << 20;
/// Entries that remain when it is written anew; those that expire soonest go first.
const MAX_ENTRIES: usize = 4000;
/// The longest identifier that is written as it is.
const MAX_ID: usize = 200;
/// How long a lock is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The identifiers of one user.
#[derive(Debug, Clone)]
pub struct Duplicates {
    path: PathBuf,
}

/// What was known when it was read.
#[derive(Debug, Default)]
pub struct Known(HashSet<String>);

impl Known {
    /// Whether an identifier is remembered.
    #[must_use]
    pub fn contains(&self, id: &[u8]) -> bool {
        self.0.contains(&written(id))
    }
}

/// The lock on the file; nobody else adds to it while it is held.
#[derive(Debug)]
pub struct Held<'a> {
    duplicates: &'a Duplicates,
    file: File,
}

impl Duplicates {
    /// Those in a user's home.
    #[must_use]
    pub fn in_home(home: &Path) -> Self {
        Self { path: home.join(FILE_NAME) }
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has not expired. No file is nothing known.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn read(&self, now: Duration) -> io::Result<Known> {
        match own_file::open(&self.path) {
            Ok(file) => {
                let lines = lines(&file)?;
                let fresh = lines.into_iter().filter(|(until, _)| *until > now.as_secs());
                Ok(Known(fresh.map(|(_, id)| id).collect()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known::default()),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// The file cannot be made or opened, or somebody holds the lock for longer than a minute.
    pub fn hold(&self) -> io::Result<Held<'_>> {
        let mut waited = Duration::ZERO;
        loop {
            let file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(nix::libc::O_NONBLOCK)
                .open(&self.path)?;
            let file = own_file::check(file)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Whoever held it may have put a new file in its place.
                    let there = fs::metadata(&self.path);
                    let ours = file.metadata()?;
                    if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                        return Ok(Held { duplicates: self, file });
                    }
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) if waited < LOCK_WAIT => {
                    let pause = Duration::from_millis(20);
                    std::thread::sleep(pause);
                    waited += pause;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "another delivery holds its lock"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Held<'_> {
    /// Whether an identifier is remembered, as of now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn contains(&self, id: &[u8], now: Duration) -> io::Result<bool> {
        Ok(self.duplicates.read(now)?.contains(id))
    }

    /// Remembers an identifier until a second.
    ///
    /// # Errors
    /// It could not be written; it is not remembered then.
    pub fn remember(&mut self, id: &[u8], until: u64, now: Duration) -> io::Result<()> {
        let id = written(id);
        let length = self.file.metadata()?.len();
        let mut line = format!("{until} {id}\n");
        if length > 0 && !ends_in_newline(&self.file, length)? {
            line.insert(0, '\n');
        }
        if length.saturating_add(u64::try_from(line.len()).unwrap_or(0)) > MAX_SIZE {
            return self.rewrite(&id, until, now);
        }
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }

    fn rewrite(&mut self, id: &str, until: u64, now: Duration) -> io::Result<()> {
        let mut entries = lines(&own_file::open(&self.duplicates.path)?)?;
        entries.retain(|(until, _)| *until > now.as_secs());
        entries.push((until, id.to_owned()));
        entries.sort_by_key(|(until, _)| std::cmp::Reverse(*until));
        entries.truncate(MAX_ENTRIES);
        let mut aside = self.duplicates.path.clone().into_os_string();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let write = || {
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            let mut text = String::new();
            for (until, id) in &entries {
                text.push_str(&format!("{until} {id}\n"));
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // The next that comes sees the new file, locked as this one.
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            fs::rename(&aside, &self.duplicates.path)?;
            File::options().read(true).append(true).open(&self.duplicates.path).map(|append| (append, file))
        };
        match write() {
            Ok((append, _locked)) => {
                self.file = append;
                Ok(())
            }
            Err(error) => {
                drop(fs::remove_file(&aside));
                Err(error)
            }
        }
    }
}

fn ends_in_newline(file: &File, length: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, length.saturating_sub(1))?;
    Ok(last == [b'\n'])
}

/// All lines that are whole and well formed.
fn lines(mut file: &File) -> io::Result<Vec<(u64, String)>> {
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MAX_SIZE * 2).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default());
    Ok(text
        .lines()
        .filter_map(|line| {
            let (until, id) = line.split_once(' ')?;
            Some((until.parse().ok()?, id.to_owned()))
        })
        .collect())
}

/// An identifier as it stands in the file: printable, and of bounded length.
fn written(id: &[u8]) -> String {
    let mut out = String::with_capacity(id.len());
    for &byte in id {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    if out.len() > MAX_ID {
        out.truncate(MAX_ID - 33);
        out.push_str(&format!("#{:032x}", fnv(id)));
    }
    out
}

/// FNV-1a with 128 bits: the same in every version, which the standard library's hash is not.
fn fnv(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn known(duplicates: &Duplicates, id: &[u8], at: u64) -> bool {
        duplicates.read(Duration::from_secs(at)).unwrap().contains(id)
    }

    #[test]
    fn identifiers_are_remembered_until_they_expire() {
        let home = tempfile::tempdir().unwrap();
        let duplicates = Duplicates::in_home(home.path());
        assert!(!known(&duplicates, b"a", 1000));
        duplicates.hold().unwrap().remember(b"a\0b\n%", 2000, NOW).unwrap();
        duplicates.hold().unwrap().remember(&b"x".repeat(5000), 2000, NOW).unwrap();
        assert!(known(&duplicates, b"a\0b\n%", 1999));
        assert!(!known(&duplicates, b"a\0b\n%", 2000));
        assert!(!known(&duplicates, b"a", 1000));
        assert!(known(&duplicates, &b"x".repeat(5000), 1000));
        assert!(!known(&duplicates, &b"x".repeat(5001), 1000));
        let mode = fs::metadata(duplicates.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_file_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        let duplicates = Duplicates::in_home(home.path());
        let line = format!("5000 {}\n", "y".repeat(190));
        let mut full = line.repeat(usize::try_from(MAX_SIZE).unwrap() / line.len());
        full.insert_str(0, "900 old\n");
        fs::write(duplicates.path(), full).unwrap();
        let mut held = duplicates.hold().unwrap();
        held.remember(b"new", 6000, NOW).unwrap();
        held.remember(b"newer", 6000, NOW).unwrap();
        drop(held);
        assert!(fs::metadata(duplicates.path()).unwrap().len() < MAX_SIZE);
        assert!(known(&duplicates, b"new", 1000) && known(&duplicates, b"newer", 1000));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        duplicates.hold().unwrap().remember(b"newest", 6000, NOW).unwrap();
        assert!(known(&duplicates, b"newest", 1000));
    }

    #[test]
    fn what_is_cut_off_or_broken_does_no_harm() {
        let home = tempfile::tempdir().unwrap();
        let duplicates = Duplicates::in_home(home.path());
        fs::write(duplicates.path(), b"5000 a\n\xff\xfe\nx y\n\n5000").unwrap();
        assert!(known(&duplicates, b"a", 1000));
        duplicates.hold().unwrap().remember(b"b", 5000, NOW).unwrap();
        assert!(known(&duplicates, b"a", 1000) && known(&duplicates, b"b", 1000));
        fs::remove_file(duplicates.path()).unwrap();
        fs::create_dir(duplicates.path()).unwrap();
        assert!(duplicates.read(NOW).is_err());
        assert!(duplicates.hold().is_err());
    }

    #[test]
    fn only_one_holds_the_lock() {
        let home = tempfile::tempdir().unwrap();
        let duplicates = Duplicates::in_home(home.path());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let duplicates = duplicates.clone();
                std::thread::spawn(move || {
                    let mut held = duplicates.hold().unwrap();
                    let first = !held.contains(b"one", NOW).unwrap();
                    if first {
                        held.remember(b"one", 5000, NOW).unwrap();
                    }
                    usize::from(first)
                })
            })
            .collect();
        let firsts: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(firsts, 1);
    }
}
