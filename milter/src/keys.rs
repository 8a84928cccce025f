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
use crate::table::{Algorithm, KeyEntry, KeySource};

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

    /// The algorithm that a key signs with.
    fn algorithm(key: &Self::Key) -> Algorithm;
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

/// A key as it was loaded just now.
struct Fetched<K> {
    key: K,
    stamp: Option<Stamp>,
    warning: Option<String>,
}

type FileError = (KeyErrorKind, String);

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

    /// Who runs the service.
    #[must_use]
    pub fn user(&self) -> &RunUser {
        &self.user
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
        if let Some(Held::Key { key, stamp: held }) = self.lock().get(&entry.key)
            && current
            && *held == stamp
        {
            return Ok(HeldKey { key: Arc::clone(key), warning: None });
        }
        // Not under the lock: a slow disk must not stop other senders' mail.
        match self.fetch(entry) {
            Ok(Fetched { key, stamp, warning }) => {
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

    fn fetch(&self, entry: &KeyEntry) -> Result<Fetched<D::Key>, KeyError> {
        let name = printable(&entry.name);
        let path = match &entry.key {
            KeySource::File(path) => path,
            KeySource::Inline(bytes) => {
                let text = |why| format!("{name}: the key cannot be used: {why}");
                let key = D::decode(bytes)
                    .map_err(|why| KeyError::new(KeyErrorKind::Undecodable, text(why), None))?;
                return Ok(Fetched { key, stamp: None, warning: None });
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
        Ok(Fetched { key, stamp: Some(stamp), warning })
    }

    fn hold(&self, entry: &KeyEntry, held: Held<D::Key>) {
        let mut all = self.lock();
        if all.len() >= MAX_HELD
            && !all.contains_key(&entry.key)
            && let Some(any) = all.keys().next().cloned()
        {
            all.remove(&any);
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

fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Stamp), FileError> {
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

#[cfg(test)]
pub(crate) mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// Takes `key NAME` for a key.
    pub(crate) struct Plain;

    impl DecodeKey for Plain {
        type Key = String;

        fn decode(bytes: &[u8]) -> Result<String, String> {
            let text = String::from_utf8_lossy(bytes);
            text.strip_prefix("key ").map(str::to_owned).ok_or_else(|| "it is no key".to_owned())
        }

        fn algorithm(_: &String) -> Algorithm {
            Algorithm::RsaSha256
        }
    }

    fn entry(key: KeySource) -> KeyEntry {
        KeyEntry {
            name: "k".to_owned(),
            domain: "example.com".to_owned(),
            selector: "s".to_owned(),
            key,
            algorithm: None,
        }
    }

    fn file(path: &Path) -> KeyEntry {
        entry(KeySource::File(PathBuf::from(path)))
    }

    fn store(require_safe: bool) -> KeyStore<Plain> {
        KeyStore::new(require_safe, RunUser::effective())
    }

    /// Files below a directory that anybody may write to, so that they are never safe.
    fn open_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(directory.path(), mode).unwrap();
        directory
    }

    #[test]
    fn a_key_is_held_until_its_file_changes() {
        let directory = open_directory();
        let path = directory.path().join("key");
        fs::write(&path, "key one").unwrap();
        let store = store(false);
        let first = store.load(&file(&path)).unwrap();
        assert!(first.warning.unwrap().starts_with("k: key data is not secure: "));
        let second = store.load(&file(&path)).unwrap();
        assert!(Arc::ptr_eq(&first.key, &second.key));
        assert_eq!(second.warning, None);

        // Replaced by renaming, as certificate tools do it, with the same size.
        let new = directory.path().join("new");
        fs::write(&new, "key two").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(*store.load(&file(&path)).unwrap().key, "two");

        fs::write(&path, "key three").unwrap();
        assert_eq!(*store.load(&file(&path)).unwrap().key, "three");
    }

    #[test]
    fn a_key_whose_file_is_gone_is_not_used_and_that_is_said_once() {
        let directory = open_directory();
        let path = directory.path().join("key");
        fs::write(&path, "key one").unwrap();
        let store = store(false);
        store.load(&file(&path)).unwrap();

        fs::remove_file(&path).unwrap();
        let error = store.load(&file(&path)).unwrap_err();
        assert_eq!((error.kind, error.news), (KeyErrorKind::Missing, true));
        assert!(error.text.starts_with(&format!("can't load key from {}: ", path.display())), "{error}");
        assert!(!store.load(&file(&path)).unwrap_err().news);

        fs::write(&path, "nothing").unwrap();
        let error = store.load(&file(&path)).unwrap_err();
        assert_eq!((error.kind, error.news), (KeyErrorKind::Undecodable, true));
        assert!(!store.load(&file(&path)).unwrap_err().news);

        fs::write(&path, "key two").unwrap();
        assert_eq!(*store.load(&file(&path)).unwrap().key, "two");
        fs::remove_file(&path).unwrap();
        assert!(store.load(&file(&path)).unwrap_err().news);
    }

    #[test]
    fn an_unsafe_key_is_refused_with_a_remedy() {
        let directory = open_directory();
        let path = directory.path().join("key");
        fs::write(&path, "key one").unwrap();
        let error = store(true).load(&file(&path)).unwrap_err();
        assert_eq!(error.kind, KeyErrorKind::Unsafe);
        assert!(error.text.starts_with("k: key data is not secure: /"), "{error}");
        assert!(error.help.is_some());
    }

    #[test]
    fn what_is_no_regular_file_or_too_large_is_not_read() {
        let directory = open_directory();
        assert_eq!(store(false).load(&file(directory.path())).unwrap_err().kind, KeyErrorKind::Unreadable);
        let path = directory.path().join("key");
        fs::write(&path, vec![b'k'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        let error = store(false).load(&file(&path)).unwrap_err();
        assert_eq!(error.kind, KeyErrorKind::Unreadable);
        assert!(error.text.ends_with("is too large for a key"));
    }

    #[test]
    fn inline_keys_need_no_file() {
        let store = store(true);
        let inline = |text: &str| entry(KeySource::Inline(Zeroizing::new(text.as_bytes().to_vec())));
        let first = store.load(&inline("key one")).unwrap();
        assert!(Arc::ptr_eq(&first.key, &store.load(&inline("key one")).unwrap().key));
        assert_eq!(*store.load(&inline("key two")).unwrap().key, "two");
        let error = store.load(&inline("SECRET")).unwrap_err();
        assert_eq!(error.text, "k: the key cannot be used: it is no key");
    }

    #[test]
    fn no_more_keys_are_held_than_allowed() {
        let store = store(true);
        for number in 0..MAX_HELD + 10 {
            let text = format!("key {number}");
            store.load(&entry(KeySource::Inline(Zeroizing::new(text.into_bytes())))).unwrap();
        }
        assert_eq!(store.lock().len(), MAX_HELD);
    }
}
