//! What an attempt keeps in `tmp` so that another one, after a kill, knows how far it had come: names, locks, leftovers.
//!
//! Each recipient has a link in its own `tmp` from before the message is placed until whoever sent it has been told. Its
//! name is made of the topmost `Received` field and the recipient, so the next attempt comes upon it. A file that serves
//! several recipients has another name than one that serves one alone, because its links say nothing about one of them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::StoreError;
use super::name::Base;

/// A file that an earlier attempt left in `tmp`, of which there are further links. It stays when this is dropped.
#[derive(Debug)]
pub(super) struct Earlier {
    file: File,
    /// Where it is.
    pub(super) path: PathBuf,
    /// It served several recipients.
    several: bool,
}

impl Earlier {
    /// Whether its last `length` bytes are those of `file`: the message without the fields that are ours.
    pub(super) fn is_same(&mut self, file: &mut File, length: u64) -> Result<bool, StoreError> {
        same_end(&mut self.file, file, length).map_err(StoreError::io("read", &self.path))
    }

    /// Whether it is in `new` or `cur` of a folder, under whatever name.
    pub(super) fn is_in(&self, folder: &Path) -> Result<bool, StoreError> {
        let own = self.metadata()?;
        for name in ["new", "cur"] {
            let path = folder.join(name);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("readdir", &path)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(StoreError::io("readdir", &path))?;
                // Numbers are unique within one file system only.
                if entry.ino() == own.ino()
                    && entry
                        .metadata()
                        .is_ok_and(|found| found.ino() == own.ino() && found.dev() == own.dev())
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether it is in some folder of the recipient, wherever that may be.
    pub(super) fn is_anywhere(&self) -> Result<bool, StoreError> {
        Ok(!self.several && self.metadata()?.nlink() >= 2)
    }

    fn metadata(&self) -> Result<fs::Metadata, StoreError> {
        self.file.metadata().map_err(StoreError::io("fstat", &self.path))
    }
}

/// What [`stake`] finds and makes.
#[derive(Debug)]
pub(super) struct Stake<T> {
    /// The new name in `tmp`, and what was made there; `None` when earlier attempts hold all names.
    pub(super) made: Option<(PathBuf, T)>,
    /// What earlier attempts left.
    pub(super) earlier: Vec<Earlier>,
}

/// Makes a name in `tmp` that the next attempt will come upon, by `make`, which must not take the place of a file.
///
/// # Errors
/// What `make` says; another process is delivering the message; or what is there cannot be looked at.
pub(super) fn stake<T>(
    tmp: &Path,
    base: &Base,
    several: bool,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> Result<Stake<T>, StoreError> {
    let mut earlier = Vec::new();
    for again in [false, true] {
        earlier.extend(inspect(&path(tmp, base, !several, again), !several)?);
    }
    // The second name is for when the first is held by an earlier attempt: that of a third has to find it.
    for again in [false, true] {
        let path = path(tmp, base, several, again);
        match claim(&path, several, &mut make)? {
            Claim::Ours(made) => return Ok(Stake { made: Some((path, made)), earlier }),
            Claim::Earlier(found) => earlier.push(found),
        }
    }
    Ok(Stake { made: None, earlier })
}

fn path(tmp: &Path, base: &Base, several: bool, again: bool) -> PathBuf {
    let (shared, again) = (if several { ".shared" } else { "" }, if again { ".again" } else { "" });
    tmp.join(format!("{}{shared}{again}", base.as_str()))
}

/// What is behind a name in `tmp` that each attempt uses.
enum Claim<T> {
    /// It is ours.
    Ours(T),
    /// A message that an earlier attempt has put into a folder.
    Earlier(Earlier),
}

fn claim<T>(
    path: &Path,
    several: bool,
    make: &mut impl FnMut(&Path) -> io::Result<T>,
) -> Result<Claim<T>, StoreError> {
    // Once more when the earlier file was of no use, or is gone meanwhile.
    for _ in 0..3 {
        match make(path) {
            Ok(made) => return Ok(Claim::Ours(made)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Some(earlier) = inspect(path, several)? {
                    return Ok(Claim::Earlier(earlier));
                }
            }
            Err(error) => return Err(StoreError::io("open", path)(error)),
        }
    }
    Err(StoreError::Busy(path.to_owned()))
}

/// Holds a new file, so that others see that its delivery goes on.
pub(super) fn hold(file: &File) {
    // Nobody else can have a lock on it; where there are no locks, names are enough.
    let _best_effort = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
}

/// What an earlier attempt left at `path`: nothing of use (and then it is removed), or a message that is in a
/// folder already.
fn inspect(path: &Path, several: bool) -> Result<Option<Earlier>, StoreError> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        == Err(rustix::io::Errno::WOULDBLOCK)
    {
        return Err(StoreError::Busy(path.to_owned()));
    }
    let found = file.metadata().map_err(StoreError::io("fstat", path))?;
    if found.nlink() >= 2 {
        return Ok(Some(Earlier { file, path: path.to_owned(), several }));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("unlink", path)(error)),
        _ => Ok(None),
    }
}

/// Whether the last `length` bytes of two files are the same.
pub(super) fn same_end(a: &mut File, b: &mut File, length: u64) -> io::Result<bool> {
    let start = |file: &mut File| -> io::Result<bool> {
        let size = file.metadata()?.len();
        if size < length {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(size - length))?;
        Ok(true)
    };
    if !start(a)? || !start(b)? {
        return Ok(false);
    }
    let mut left = length;
    let (mut one, mut two) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(one.len());
        let (Some(one), Some(two)) = (one.get_mut(..part), two.get_mut(..part)) else { return Ok(false) };
        a.read_exact(one)?;
        b.read_exact(two)?;
        if one != two {
            return Ok(false);
        }
        left -= u64::try_from(part).unwrap_or(left);
    }
    Ok(true)
}
