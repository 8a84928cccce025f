//! Files of users (passwd-file, its app passwords, shadow), kept in memory and read again when changed.

mod path;
mod table;

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::passwd_file;
use base::secret::Secret;

use crate::passdb::Unavailable;
use crate::request::Request;
use crate::variables::Template;

use table::Table;

pub(crate) use path::{BadPath, fill};

/// Files of one path template that are kept; beyond, the one not used for longest goes.
const KEPT: usize = 256;
/// The largest file that is read.
const LARGEST_BYTES: u64 = 1 << 30;
/// Attempts to read a file that changes meanwhile, or has just changed and does not end with an end of line.
const ATTEMPTS: usize = 4;
/// The time between two attempts.
const SETTLE: Duration = Duration::from_millis(25);

/// What is in a file, and what to make of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Tells kinds apart.
    pub(crate) name: &'static str,
    /// A user may have many lines. Otherwise the first counts and others are complained about, as
    /// Dovecot does.
    pub(crate) several: bool,
    /// A missing file is an empty one.
    pub(crate) optional: bool,
    /// Everybody may read it.
    pub(crate) public: bool,
    /// Whether a line is a user's, or what is wrong with it.
    pub(crate) check: fn(&[u8]) -> Result<bool, &'static str>,
}

impl Kind {
    /// Dovecot's passwd-file, and shadow, which looks the same to here.
    pub(crate) const USERS: Self =
        Self { name: "users", several: false, optional: false, public: false, check: Self::user_line };

    /// Whether this is a line of a passwd-file.
    pub(crate) fn user_line(line: &[u8]) -> Result<bool, &'static str> {
        match passwd_file::line(line) {
            passwd_file::Line::Nothing => Ok(false),
            passwd_file::Line::User(_) => Ok(true),
            passwd_file::Line::Bad(reason) => Err(reason),
        }
    }
}

/// The files of one path, which may hold variables: one file a domain, say.
pub(crate) struct UserFiles {
    path: Template,
    kind: Kind,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    files: HashMap<PathBuf, (u64, Arc<UserFile>)>,
    uses: u64,
}

/// One file.
struct UserFile {
    path: PathBuf,
    kind: Kind,
    loaded: ArcSwapOption<Loaded>,
    reading: tokio::sync::Mutex<()>,
}

/// A file's content, of the moment when it had this stamp.
pub(crate) struct Loaded {
    path: PathBuf,
    stamp: Stamp,
    /// Read within the second of its last change: another change could have left the same stamp.
    fresh: bool,
    table: Table,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
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

/// Path as written, and the kind's name.
type Key = (String, &'static str);

/// All that are in use, so that a passdb and a userdb of one file read it once.
fn shared() -> &'static Mutex<HashMap<Key, Weak<UserFiles>>> {
    static SHARED: OnceLock<Mutex<HashMap<Key, Weak<UserFiles>>>> = OnceLock::new();
    SHARED.get_or_init(Mutex::default)
}

impl UserFiles {
    /// The files of a path, shared with everybody who has asked for the same path. Reads nothing.
    ///
    /// # Errors
    /// The path is no template.
    pub(crate) fn open(path: &str, kind: Kind) -> Result<Arc<Self>, String> {
        let template = Template::parse(path).map_err(|error| format!("path: {error}"))?;
        let mut shared = shared().lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, files| files.strong_count() > 0);
        let key = (path.to_owned(), kind.name);
        if let Some(files) = shared.get(&key).and_then(Weak::upgrade) {
            return Ok(files);
        }
        let files = Arc::new(Self { path: template, kind, kept: Mutex::default() });
        shared.insert(key, Arc::downgrade(&files));
        Ok(files)
    }

    /// Whether a missing file only means that nobody is known there.
    fn may_be_missing(&self) -> bool {
        self.kind.optional || self.path.has_variables()
    }

    /// Whether different requests may have different files.
    pub(crate) fn has_variables(&self) -> bool {
        self.path.has_variables()
    }

    /// The content of the request's file as it is now. `None` when there is no such file and it may
    /// be missing (it is optional, or the path has variables), or when a variable's value cannot be part of a path: nobody is known
    /// there. Waits for nothing unless the file has changed or was never read.
    ///
    /// # Errors
    /// The file is missing, and may not be, or cannot be read.
    pub(crate) async fn content(&self, request: &Request) -> Result<Option<Arc<Loaded>>, Unavailable> {
        let path = match fill(&self.path, request) {
            Ok(path) => path,
            Err(BadPath) => return Ok(None),
        };
        let kept = self.kept(&path);
        let stamp = match stamp(&path) {
            Ok(stamp) => stamp,
            Err(error) if self.may_be_missing() && is_missing(&error) => {
                self.forget(&path);
                return Ok(None);
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        if let Some(loaded) = kept.as_ref().and_then(|file| file.current(&stamp)) {
            return Ok(Some(loaded));
        }
        let file = kept.unwrap_or_else(|| self.keep(path));
        match file.read_again().await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) if self.may_be_missing() && is_missing(&error) => Ok(None),
            Err(error) => Err(unreadable(&file.path, &error)),
        }
    }

    fn kept(&self, path: &Path) -> Option<Arc<UserFile>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let (used, file) = kept.files.get_mut(path)?;
        *used = now;
        Some(Arc::clone(file))
    }

    fn keep(&self, path: PathBuf) -> Arc<UserFile> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.files.contains_key(&path) && kept.files.len() >= KEPT {
            let oldest = kept.files.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| kept.files.remove(&path));
        }
        let now = kept.uses;
        let (_, file) = kept.files.entry(path.clone()).or_insert_with(|| {
            let file = UserFile {
                path,
                kind: self.kind,
                loaded: ArcSwapOption::empty(),
                reading: tokio::sync::Mutex::default(),
            };
            (now, Arc::new(file))
        });
        Arc::clone(file)
    }

    fn forget(&self, path: &Path) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).files.remove(path);
    }
}

impl UserFile {
    /// What is in memory, if it is what the file holds.
    fn current(&self, stamp: &Stamp) -> Option<Arc<Loaded>> {
        self.loaded.load_full().filter(|loaded| loaded.stamp == *stamp && (!loaded.fresh || stamp.is_fresh()))
    }

    /// Reads the file, unless somebody else has just done so; one at a time.
    async fn read_again(self: &Arc<Self>) -> io::Result<Arc<Loaded>> {
        let _reading = self.reading.lock().await;
        if let Some(loaded) = self.current(&stamp(&self.path)?) {
            return Ok(loaded);
        }
        let file = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || Loaded::read(&file.path, &file.kind))
            .await
            .map_err(io::Error::other)??;
        let loaded = Arc::new(loaded);
        self.loaded.store(Some(Arc::clone(&loaded)));
        Ok(loaded)
    }
}

impl Loaded {
    fn read(path: &Path, kind: &Kind) -> io::Result<Self> {
        let mut attempt = 1;
        let (bytes, stamp, mode) = loop {
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
                break (bytes, stamp, metadata.mode());
            }
            attempt += 1;
            std::thread::sleep(SETTLE);
        };
        let fresh = stamp.is_fresh();
        let (table, complaints) = Table::new(bytes, kind);
        let shown = path.display();
        if mode & 0o004 != 0 && !kind.public {
            log::warn!("{shown} holds passwords and can be read by everybody (mode {:o})", mode & 0o7777);
        }
        for complaint in &complaints.first {
            log::warn!("{shown}:{}: {}", complaint.line, complaint.text);
        }
        if complaints.more > 0 {
            log::warn!("{shown}: {} more lines like these", complaints.more);
        }
        Ok(Self { path: path.to_owned(), stamp, fresh, table })
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

fn stamp(path: &Path) -> io::Result<Stamp> {
    std::fs::metadata(path).map(|metadata| Stamp::of(&metadata))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, error: &io::Error) -> Unavailable {
    Unavailable::new(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
