//! Private keys: load, check permissions, hold, load again when the file changes.

pub mod safety;

use std::{
    collections::HashMap,
    fmt,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use base::config::report::printable;
use zeroize::Zeroizing;

pub use self::safety::{Accounts, RunUser, SystemAccounts};
use crate::table::{KeyEntry, KeySource};

/// The largest key file that is read, in bytes. An RSA key of 16384 bits has 13 KiB in PEM.
pub const MAX_BYTES: u64 = 64 << 10;
/// How many keys are held; beyond that one is dropped for each that comes.
pub const MAX_HELD: usize = 16_384;

/// Makes a key of the bytes of a key file or of an inline key, in any encoding.
pub trait DecodeKey {
    /// The key.
    type Key;

    /// Decodes a key.
    ///
    /// # Errors
    /// What is wrong with the bytes, in a few words that hold nothing of the key.
    fn decode(bytes: &[u8]) -> Result<Self::Key, String>;
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyErrorKind {
    /// The file is not there.
    Missing,
    /// The file is there but cannot be read, or is no regular file, or is too large.
    Unreadable,
    /// Others may read or change the file (`RequireSafeKeys`).
    Unsafe,
    /// The bytes are no key.
    Undecodable,
}

/// A key that cannot be used: the message that needs it must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// What kind of thing is wrong.
    pub kind: KeyErrorKind,
    /// One line for the log, in OpenDKIM's words where it has some.
    pub text: String,
    /// A command or step that helps, when there is one.
    pub help: Option<String>,
    /// Whether it is to be logged: not so when the same was said about this key last time.
    pub news: bool,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A key to use.
#[derive(Debug)]
pub struct HeldKey<K> {
    /// The key.
    pub key: Arc<K>,
    /// With `RequireSafeKeys no`: a line for the log when the key was loaded just now and others
    /// may read or change its file.
    pub warning: Option<String>,
}

/// Holds the keys that were used, and looks at each use whether the file is still the same.
pub struct KeyStore<D: DecodeKey> {
    require_safe: bool,
    user: RunUser,
    accounts: Box<dyn Accounts + Send + Sync>,
    held: Mutex<HashMap<KeySource, Held<D::Key>>>,
}

enum Held<K> {
    Key { key: Arc<K>, stamp: Option<Stamp> },
    Error { text: String },
}

/// What changes when a file is replaced, rewritten, or given other permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl<D: DecodeKey> KeyStore<D> {
    /// An empty store. Make a new one at a reload: directories above a key file are looked at only
    /// when the file itself is loaded.
    ///
    /// `require_safe` is `RequireSafeKeys`; `user` is who runs the service.
    #[must_use]
    pub fn new(require_safe: bool, user: RunUser) -> Self {
        Self::with_accounts(require_safe, user, Box::new(SystemAccounts))
    }

    /// The same with another source of users and groups.
    #[must_use]
    pub fn with_accounts(
        require_safe: bool,
        user: RunUser,
        accounts: Box<dyn Accounts + Send + Sync>,
    ) -> Self {
        Self { require_safe, user, accounts, held: Mutex::new(HashMap::new()) }
    }

    /// The key of a table's entry. Costs one `stat` when it is held and its file is unchanged; a
    /// replaced file is in force at once, and a file that is gone is an error at once.
    ///
    /// # Errors
    /// [`KeyError`], whose `news` says whether it is to be logged.
    pub fn load(&self, entry: &KeyEntry) -> Result<HeldKey<D::Key>, KeyError> {
        let stamp = match &entry.key {
            KeySource::File(path) => std::fs::metadata(path).ok().as_ref().map(Stamp::of),
            KeySource::Inline(_) => None,
        };
        let current = matches!(entry.key, KeySource::Inline(_)) || stamp.is_some();
        if let Some(Held::Key { key, stamp: held }) = self.lock().get(&entry.key) {
            if current && *held == stamp {
                return Ok(HeldKey { key: Arc::clone(key), warning: None });
            }
        }
        // Not under the lock: a slow disk must not stop other senders' mail.
        match self.fetch(entry) {
            Ok((key, stamp, warning)) => {
                let key = Arc::new(key);
                self.hold(entry, Held::Key { key: Arc::clone(&key), stamp });
                Ok(HeldKey { key, warning })
            }
            Err(mut error) => {
                let said = match self.lock().get(&entry.key) {
                    Some(Held::Error { text }) => *text == error.text,
                    _ => false,
                };
                error.news = !said;
                self.hold(entry, Held::Error { text: error.text.clone() });
                Err(error)
            }
        }
    }

    fn fetch(&self, entry: &KeyEntry) -> Result<(D::Key, Option<Stamp>, Option<String>), KeyError> {
        let name = printable(&entry.name);
        let path = match &entry.key {
            KeySource::File(path) => path,
            KeySource::Inline(bytes) => {
                let text = |why| format!("{name}: the key cannot be used: {why}");
                let key = D::decode(bytes)
                    .map_err(|why| KeyError::new(KeyErrorKind::Undecodable, text(why), None))?;
                return Ok((key, None, None));
            }
        };
        let shown = printable(&path.to_string_lossy());
        let (bytes, stamp) = read(path).map_err(|(kind, why)| {
            KeyError::new(kind, format!("can't load key from {shown}: {why}"), None)
        })?;
        let warning = match safety::check(path, &self.user, &*self.accounts) {
            Ok(()) => None,
            Err(found) => {
                let text = format!("{name}: key data is not secure: {}", found.why);
                if self.require_safe {
                    return Err(KeyError::new(KeyErrorKind::Unsafe, text, found.help));
                }
                Some(text)
            }
        };
        let key = D::decode(&bytes).map_err(|why| {
            let text = format!("{name}: the key in {shown} cannot be used: {why}");
            KeyError::new(KeyErrorKind::Undecodable, text, None)
        })?;
        Ok((key, Some(stamp), warning))
    }

    fn hold(&self, entry: &KeyEntry, held: Held<D::Key>) {
        let mut all = self.lock();
        if all.len() >= MAX_HELD && !all.contains_key(&entry.key) {
            if let Some(any) = all.keys().next().cloned() {
                all.remove(&any);
            }
        }
        all.insert(entry.key.clone(), held);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<KeySource, Held<D::Key>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: DecodeKey> fmt::Debug for KeyStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore").field("user", &self.user).field("held", &self.lock().len()).finish()
    }
}

impl KeyError {
    fn new(kind: KeyErrorKind, text: String, help: Option<String>) -> Self {
        Self { kind, text, help, news: true }
    }
}

/// Reads a key file of at most [`MAX_BYTES`]; the bytes are wiped when they are dropped.
///
/// # Errors
/// Why it cannot be read, in a few words.
pub fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    read(path).map(|(bytes, _)| bytes).map_err(|(_, why)| why)
}

fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Stamp), (KeyErrorKind, String)> {
    let failed = |error: std::io::Error| {
        let missing =
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory);
        let kind = if missing { KeyErrorKind::Missing } else { KeyErrorKind::Unreadable };
        (kind, error.to_string())
    };
    let unreadable = |why: &str| (KeyErrorKind::Unreadable, why.to_owned());
    // Before opening: to open a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unreadable("is not a regular file"));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > MAX_BYTES {
        return Err(unreadable("is too large for a key"));
    }
    // All at once, so that no copy of the key stays behind in memory that was given back.
    let capacity = usize::try_from(MAX_BYTES + 1).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() >= capacity {
        return Err(unreadable("is too large for a key"));
    }
    Ok((bytes, Stamp::of(&metadata)))
}
