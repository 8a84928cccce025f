//! The folders of one user: whether they exist, creating them, subscriptions, permissions.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Folder, StoreError, dotlock, folder, sync_directory};
use crate::location::{Layout, Place};

/// A user's mailbox.
#[derive(Debug)]
pub struct Mailboxes {
    place: Place,
    separator: char,
    prefix: String,
    permissions: Permissions,
    sync: bool,
    hostname: String,
}

/// What new files and directories get, which is what the root has (as Dovecot does it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// The mode of files.
    pub file: u32,
    /// The mode of directories.
    pub directory: u32,
    /// Their group, where the system does not give it by itself.
    pub group: Option<u32>,
}

impl Permissions {
    /// For a root that does not exist yet.
    const PRIVATE: Self = Self { file: 0o600, directory: 0o700, group: None };

    /// Those of a directory, for a process with this group.
    fn of(mode: u32, group: u32, own_group: u32) -> Self {
        let inherits = mode & 0o2000 != 0;
        let same_as_others = (mode & 0o070) >> 3 == mode & 0o007;
        Self {
            file: mode & 0o666 | 0o600,
            directory: mode & 0o777 | 0o700,
            group: (!inherits && !same_as_others && group != own_group).then_some(group),
        }
    }
}

impl Mailboxes {
    /// A mailbox; nothing needs to exist yet. `sync` is off for `mail_fsync = never` only.
    ///
    /// # Errors
    /// The root cannot be looked at.
    pub fn open(
        place: Place,
        separator: Option<char>,
        prefix: &str,
        sync: bool,
        hostname: &str,
    ) -> Result<Self, StoreError> {
        let permissions = match fs::metadata(&place.root) {
            Ok(found) => Permissions::of(found.mode(), found.gid(), rustix::process::getegid().as_raw()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Permissions::PRIVATE,
            Err(error) => return Err(StoreError::io("stat", &place.root)(error)),
        };
        let separator = separator.unwrap_or(match place.layout {
            Layout::MaildirPlusPlus => '.',
            Layout::Fs => '/',
        });
        Ok(Self {
            place,
            separator,
            prefix: prefix.to_owned(),
            permissions,
            sync,
            hostname: hostname.to_owned(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What new files get.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// Whether files and directories are synced.
    #[must_use]
    pub fn syncs(&self) -> bool {
        self.sync
    }

    /// This host, for names of files.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// The character between the parts of a folder's name.
    #[must_use]
    pub fn separator(&self) -> char {
        self.separator
    }

    /// The folder of this name, which need not exist.
    ///
    /// # Errors
    /// [`StoreError::BadName`].
    pub fn folder(&self, name: &str) -> Result<Folder, StoreError> {
        folder::folder(&self.place, self.separator, &self.prefix, name).map_err(StoreError::BadName)
    }

    /// The INBOX.
    ///
    /// # Errors
    /// None, but the type of [`Self::folder`].
    pub fn inbox(&self) -> Result<Folder, StoreError> {
        self.folder(super::INBOX)
    }

    /// Whether a folder exists. The INBOX always does: it is created when a message comes.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn exists(&self, folder: &Folder) -> Result<bool, StoreError> {
        if folder.is_inbox() {
            return Ok(true);
        }
        let path = folder.path.join("cur");
        match fs::metadata(&path) {
            Ok(found) => Ok(found.is_dir()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(error) => Err(StoreError::io("stat", &path)(error)),
        }
    }

    /// The permissions of a folder's files where they are others than the root's.
    pub(super) fn permissions_of(&self, folder: &Folder) -> Result<Option<Permissions>, StoreError> {
        let found = match fs::metadata(&folder.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("stat", &folder.path)(error)),
        };
        let own = Permissions::of(found.mode(), found.gid(), rustix::process::getegid().as_raw());
        Ok((own != self.permissions).then_some(own))
    }

    /// Creates what is missing of a folder: `cur`, `new`, `tmp`, and in subfolders `maildirfolder`.
    /// True when it was not there before.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn create(&self, folder: &Folder) -> Result<bool, StoreError> {
        let mut made = self.directory(&folder.path)?;
        // cur comes last: by it others see that the folder is there.
        for name in ["tmp", "new", "cur"] {
            made |= self.directory(&folder.path.join(name))?;
        }
        if !folder.is_inbox() && self.place.layout == Layout::MaildirPlusPlus {
            self.empty_file(&folder.path.join("maildirfolder"))?;
        }
        if made && self.sync {
            sync_directory(&folder.path)?;
            match folder.path.parent().map_or(Ok(()), sync_directory) {
                // A directory that may be passed through but not read cannot be synced.
                Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        Ok(made)
    }

    /// Creates what is missing of the INBOX.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn create_inbox(&self) -> io::Result<()> {
        let created = self.inbox().and_then(|inbox| self.create(&inbox));
        created.map(drop).map_err(|error| match error {
            StoreError::Io { error, .. } => error,
            other => io::Error::other(other.to_string()),
        })
    }

    /// Creates a directory of the mailbox, and what is missing above it.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn create_directory(&self, path: &Path) -> Result<(), StoreError> {
        self.directory(path).map(drop)
    }

    /// Adds a folder to the subscriptions, unless it stands there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn subscribe(&self, folder: &Folder) -> Result<(), StoreError> {
        let directory = self.place.control.as_deref().unwrap_or(&self.place.root);
        let path = directory.join(&self.place.subscriptions);
        // Others (Dovecot, another thread) may add a folder at the same time.
        let lock_path = directory.join(format!("{}.lock", self.place.subscriptions));
        let _lock = dotlock::lock(self, &lock_path)?;
        let old = match fs::read(&path) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"V\t2\n\n".to_vec(),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        // The old form is one name a line, with the separator as it is and in modified UTF-7.
        let new_form = old.starts_with(b"V\t2");
        let line = if new_form {
            folder.subscription.clone()
        } else {
            folder::to_utf7(&folder.subscription.replace('\t', &self.separator.to_string()))
        };
        if old.split(|byte| *byte == b'\n').any(|known| known == line.as_bytes()) {
            return Ok(());
        }
        let mut text = old;
        if !text.ends_with(b"\n") && !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        self.replace(&path, &text)
    }

    /// Writes a small file aside and renames it, with the mailbox's permissions.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        // Threads of one process write the same file at the same time, too.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}.{}.{number}", self.hostname.replace('/', "_"), std::process::id()));
        let aside = PathBuf::from(aside);
        let write = || -> Result<(), StoreError> {
            let mut file = File::create(&aside).map_err(StoreError::io("open", &aside))?;
            self.own(&file, &aside)?;
            file.write_all(content).map_err(StoreError::io("write", &aside))?;
            if self.sync {
                file.sync_all().map_err(StoreError::io("fsync", &aside))?;
            }
            fs::rename(&aside, path).map_err(StoreError::io("rename", path))
        };
        let written = write();
        if written.is_err() {
            // What could not be written is of no use; it may not even be there.
            drop(fs::remove_file(&aside));
        }
        written
    }

    /// Opens a new file; the mode does not depend on the umask.
    ///
    /// # Errors
    /// The operating system refuses; the file may exist already.
    pub(super) fn new_file(&self, path: &Path) -> io::Result<File> {
        let file =
            File::options().read(true).write(true).create_new(true).mode(self.permissions.file).open(path)?;
        if self.permissions != Permissions::PRIVATE {
            self.own(&file, path).map_err(|error| match error {
                StoreError::Io { error, .. } => error,
                other => io::Error::other(other.to_string()),
            })?;
        }
        Ok(file)
    }

    fn own(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        file.set_permissions(fs::Permissions::from_mode(self.permissions.file))
            .map_err(StoreError::io("fchmod", path))?;
        if let Some(group) = self.permissions.group {
            std::os::unix::fs::fchown(file, None, Some(group)).map_err(StoreError::io("fchown", path))?;
        }
        Ok(())
    }

    /// Creates a directory and what is missing above it. True when it was not there.
    fn directory(&self, path: &Path) -> Result<bool, StoreError> {
        let create = || fs::DirBuilder::new().mode(self.permissions.directory).create(path);
        match create() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(parent) = path.parent() else { return Err(StoreError::io("mkdir", path)(error)) };
                self.directory(parent)?;
                match create() {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                    Err(error) => return Err(StoreError::io("mkdir", path)(error)),
                }
            }
            Err(error) => return Err(StoreError::io("mkdir", path)(error)),
        }
        if self.permissions != Permissions::PRIVATE {
            // mkdir obeys the umask, and setgid of the directory above must stay.
            let found = fs::metadata(path).map_err(StoreError::io("stat", path))?;
            let mode = self.permissions.directory | found.mode() & 0o2000;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(StoreError::io("chmod", path))?;
            if let Some(group) = self.permissions.group {
                std::os::unix::fs::chown(path, None, Some(group)).map_err(StoreError::io("chown", path))?;
            }
        }
        Ok(true)
    }

    fn empty_file(&self, path: &Path) -> Result<(), StoreError> {
        match self.new_file(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StoreError::io("open", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::variables::Values;

    fn mailboxes(home: &Path) -> Mailboxes {
        let place = Location::home_maildir()
            .expand(&Values { home: home.to_str().unwrap(), ..Values::default() })
            .unwrap();
        Mailboxes::open(place, Some('/'), "", true, "host").unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn folders_are_created_once() {
        let home = tempfile::tempdir().unwrap();
        let boxes = mailboxes(home.path());
        let inbox = boxes.inbox().unwrap();
        assert!(boxes.exists(&inbox).unwrap());
        assert!(boxes.create(&inbox).unwrap());
        assert!(!boxes.create(&inbox).unwrap());
        let sub = boxes.folder("A/B").unwrap();
        assert!(!boxes.exists(&sub).unwrap());
        assert!(boxes.create(&sub).unwrap());
        assert!(boxes.exists(&sub).unwrap());
        assert!(sub.path.join("maildirfolder").exists());
        assert_eq!(mode(&sub.path), 0o700);
    }

    #[test]
    fn permissions_come_from_the_root() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("Maildir");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o770)).unwrap();
        let boxes = mailboxes(home.path());
        let sub = boxes.folder("x").unwrap();
        boxes.create(&sub).unwrap();
        assert_eq!(mode(&sub.path), 0o770);
        assert_eq!(mode(&sub.path.join("new")), 0o770);
        assert_eq!(mode(&sub.path.join("maildirfolder")), 0o660);
        assert_eq!(Permissions::of(0o2770, 5, 6).group, None);
        assert_eq!(Permissions::of(0o770, 5, 6).group, Some(5));
        assert_eq!(Permissions::of(0o755, 5, 6).group, None);
        assert_eq!(Permissions::of(0o770, 6, 6).group, None);
    }

    /// As threads of the LMTP server do it.
    #[test]
    fn a_file_is_replaced_by_many_at_once() {
        let home = tempfile::tempdir().unwrap();
        let boxes = mailboxes(home.path());
        boxes.create(&boxes.inbox().unwrap()).unwrap();
        let file = home.path().join("Maildir/maildirsize");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (boxes, file) = (&boxes, &file);
                scope.spawn(move || {
                    for _ in 0..50 {
                        boxes.replace(file, format!("{thread}\n").repeat(50).as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.len() == 100 && text.lines().all(|line| text.starts_with(line)), "{text}");
        let left = fs::read_dir(home.path().join("Maildir")).unwrap().count();
        assert_eq!(left, 4, "cur, new, tmp and the file");
    }

    #[test]
    fn subscriptions_in_both_forms() {
        let home = tempfile::tempdir().unwrap();
        let boxes = mailboxes(home.path());
        boxes.create(&boxes.inbox().unwrap()).unwrap();
        let file = home.path().join("Maildir/subscriptions");
        for name in ["A/B", "ü", "A/B"] {
            boxes.subscribe(&boxes.folder(name).unwrap()).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "V\t2\n\nA\tB\nü\n");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let boxes = &boxes;
                scope.spawn(move || boxes.subscribe(&boxes.folder(&format!("n{number}")).unwrap()).unwrap());
            }
        });
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 12, "none is lost");
        fs::write(&file, "Old").unwrap();
        boxes.subscribe(&boxes.folder("ü").unwrap()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "Old\n&APw-\n");
    }
}
