//! Files of users (passwd-file, its app passwords, shadow), kept in memory and read again when changed.

mod content;
mod path;
mod table;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use base::passwd_file;

use crate::passdb::Unavailable;
use crate::request::Request;
use crate::variables::{Piece, Template};

use content::Stamp;

pub(crate) use content::Loaded;
pub(crate) use path::{BadPath, fill};

/// Files of one path template that are kept; beyond, the one not used for longest goes.
const KEPT: usize = 256;

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
    /// What a path with variables begins with: all files lie below it. `None` where they need not be.
    folder: Option<PathBuf>,
    kind: Kind,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By the path as text: hashing a `Path` means taking it apart.
    files: HashMap<String, (u64, Arc<UserFile>)>,
    uses: u64,
}

/// One file.
struct UserFile {
    path: PathBuf,
    kind: Kind,
    loaded: ArcSwapOption<Loaded>,
    reading: tokio::sync::Mutex<()>,
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
        let folder = match template.pieces().first() {
            Some(Piece::Literal(text)) if template.has_variables() && !kind.optional => {
                text.rsplit_once('/').map(|(folder, _)| PathBuf::from(folder))
            }
            _ => None,
        };
        let files = Arc::new(Self { path: template, folder, kind, kept: Mutex::default() });
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
    /// The file is missing, and may not be, or cannot be read; or the folder before the path's first variable is
    /// missing.
    pub(crate) async fn content(&self, request: &Request) -> Result<Option<Arc<Loaded>>, Unavailable> {
        let path = match fill(&self.path, request) {
            Ok(path) => path,
            Err(BadPath) => return Ok(None),
        };
        let kept = self.kept(&path);
        let stamp = match Stamp::now(Path::new(&path)) {
            Ok(stamp) => stamp,
            Err(error) if self.may_be_missing() && is_missing(&error) => {
                // Without the folder nothing is known of anybody: it may be a disk that is not mounted.
                if let Some(folder) = &self.folder {
                    std::fs::metadata(folder).map_err(|error| unreadable(folder, &error))?;
                }
                self.forget(&path);
                return Ok(None);
            }
            Err(error) => return Err(unreadable(Path::new(&path), &error)),
        };
        if let Some(loaded) = kept.as_ref().and_then(|file| file.current(&stamp)) {
            return Ok(Some(loaded));
        }
        let file = kept.unwrap_or_else(|| self.keep(path));
        match Box::pin(file.read_again()).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) if self.may_be_missing() && is_missing(&error) => Ok(None),
            Err(error) => Err(unreadable(&file.path, &error)),
        }
    }

    fn kept(&self, path: &str) -> Option<Arc<UserFile>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let (used, file) = kept.files.get_mut(path)?;
        *used = now;
        Some(Arc::clone(file))
    }

    fn keep(&self, path: String) -> Arc<UserFile> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.files.contains_key(&path) && kept.files.len() >= KEPT {
            let oldest = kept.files.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| kept.files.remove(&path));
        }
        let now = kept.uses;
        let (_, file) = kept.files.entry(path.clone()).or_insert_with(|| {
            let file = UserFile {
                path: PathBuf::from(path),
                kind: self.kind,
                loaded: ArcSwapOption::empty(),
                reading: tokio::sync::Mutex::default(),
            };
            (now, Arc::new(file))
        });
        Arc::clone(file)
    }

    fn forget(&self, path: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).files.remove(path);
    }
}

impl UserFile {
    /// What is in memory, if it is what the file holds.
    fn current(&self, stamp: &Stamp) -> Option<Arc<Loaded>> {
        self.loaded.load_full().filter(|loaded| loaded.is_of(stamp))
    }

    /// Reads the file, unless somebody else has just done so; one at a time.
    async fn read_again(self: &Arc<Self>) -> io::Result<Arc<Loaded>> {
        let _reading = self.reading.lock().await;
        if let Some(loaded) = self.current(&Stamp::now(&self.path)?) {
            return Ok(loaded);
        }
        let file = Arc::clone(self);
        let before = self.loaded.load_full();
        let loaded =
            tokio::task::spawn_blocking(move || Loaded::read(&file.path, &file.kind, before.as_deref()))
                .await
                .map_err(io::Error::other)??;
        let loaded = Arc::new(loaded);
        self.loaded.store(Some(Arc::clone(&loaded)));
        Ok(loaded)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, error: &io::Error) -> Unavailable {
    Unavailable::new(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
