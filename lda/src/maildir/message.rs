//! A message that is on disk in `tmp`: placed into folders by hard links, or taken out of them again.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirEntryExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::incoming::{Open, same_end};
use super::name::Base;
use super::{Folder, Incoming, Mailboxes, StoreError, keywords, sync_directory};

/// A message in `tmp`. Dropped, it goes from there; what has been placed stays.
#[derive(Debug)]
pub struct Message {
    open: Open,
    head: Vec<u8>,
    key: Vec<u8>,
    now: Duration,
    size: u64,
    virtual_size: u64,
    trace_size: u64,
    /// The file is one that an earlier attempt has already put into a folder.
    seen: bool,
    /// The file serves several recipients: links to it say nothing about one of them.
    shared: bool,
    placed: Vec<PathBuf>,
}

/// Flags and keywords for a message that is placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Of `D F R S T`: draft, flagged, answered, seen, deleted.
    pub flags: String,
    /// Keywords (IMAP), which stand in `dovecot-keywords`.
    pub keywords: Vec<String>,
}

/// How a message came to be in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was put there.
    New,
    /// An earlier attempt had put it there.
    Already,
}

impl Message {
    /// What [`Incoming::finish`] makes.
    pub(super) fn finished(
        mut open: Open,
        boxes: &Mailboxes,
        head: Vec<u8>,
        key: Vec<u8>,
        now: Duration,
        (size, virtual_size, trace_size): (u64, u64, u64),
    ) -> Result<Self, StoreError> {
        let mut seen = false;
        if let Some(mut earlier) = open.earlier.take() {
            let same = same_end(&mut earlier.file, &mut open.file, size.saturating_sub(trace_size))
                .map_err(StoreError::io("read", &earlier.path))?;
            // Whichever is not needed goes from tmp.
            let theirs = Open {
                file: earlier.file,
                path: earlier.path,
                origin: open.origin,
                earlier: None,
                keep: false,
            };
            if same && theirs.file.metadata().is_ok_and(|found| found.len() == size) {
                open = theirs;
                seen = true;
            }
        }
        let _ = boxes;
        Ok(Self {
            open,
            head,
            key,
            now,
            size,
            virtual_size,
            trace_size,
            seen,
            shared: false,
            placed: Vec::new(),
        })
    }

    /// The header as it came, without our own fields, at most [`crate::message::LONGEST_HEADER`] bytes.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Its size on disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its size with CR LF.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// Its size on disk without our own fields in front.
    #[must_use]
    pub fn own_size(&self) -> u64 {
        self.size.saturating_sub(self.trace_size)
    }

    /// Its file, to be read by place: where it stands does not matter to us.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.open.file
    }

    /// Another file with the same message, for a mailbox of another owner or on another file system.
    /// `trace` stands in place of this one's own fields; see [`Incoming::begin`].
    ///
    /// # Errors
    /// Reading or writing fails.
    pub fn copy_to(
        &mut self,
        boxes: &Mailboxes,
        trace: &[u8],
        key: &[&[u8]],
        crlf: bool,
    ) -> Result<Self, StoreError> {
        let mut copy = Incoming::begin(boxes, trace, key, crlf, self.now);
        let path = &self.open.path;
        self.open.file.seek(SeekFrom::Start(self.trace_size)).map_err(StoreError::io("lseek", path))?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            match self.open.file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => copy.write(boxes, piece.get(..length).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", path)(error)),
            }
        }
        copy.finish(boxes)
    }

    /// The file is to serve several recipients.
    pub fn share(&mut self) {
        self.shared = true;
    }

    /// Goes on to another recipient, described by `key` (see [`Incoming::begin`]): what was placed for the one before
    /// stays.
    pub fn next_recipient(&mut self, key: &[&[u8]]) {
        self.key = key.join(&0);
        self.placed.clear();
    }

    /// Puts the message into a folder, and makes sure that it stays there: the directory is synced.
    ///
    /// `only` says that this is the only folder it goes to for this recipient: then one that an earlier
    /// attempt has delivered, and the user moved since, is not delivered again.
    ///
    /// # Errors
    /// The folder does not exist, or the operating system refuses; then nothing has been put there.
    pub fn place(
        &mut self,
        boxes: &Mailboxes,
        folder: &Folder,
        marks: &Marks,
        only: bool,
    ) -> Result<Placed, StoreError> {
        let info = marks.info(boxes, folder)?;
        let directory = folder.path.join(if info.is_some() { "cur" } else { "new" });
        if self.seen
            && (self.is_in(&folder.path)?
                || (only && !self.shared && self.placed.is_empty() && self.links()? >= 2))
        {
            if boxes.syncs() {
                // The earlier attempt may have been killed before it did so.
                for name in ["new", "cur"] {
                    sync_directory(&folder.path.join(name))?;
                }
            }
            return Ok(Placed::Already);
        }
        self.fit_permissions(boxes, folder)?;
        let mut base = match self.open.origin {
            Some(origin) => origin.base(&[&self.key], boxes.hostname()),
            None => Base::unique(self.now, std::process::id(), boxes.hostname()),
        };
        for _ in 0..100 {
            let path = directory.join(base.delivered(self.size, self.virtual_size, info.as_deref()));
            match self.link(boxes, &path) {
                Ok(()) => {
                    self.placed.push(path);
                    if boxes.syncs()
                        && let Err(error) = sync_directory(&directory)
                    {
                        self.take_back_last();
                        return Err(error);
                    }
                    return Ok(Placed::New);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.is_same(&path)? {
                        if boxes.syncs() {
                            sync_directory(&directory)?;
                        }
                        return Ok(Placed::Already);
                    }
                    base = Base::unique(self.now, std::process::id(), boxes.hostname());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !folder.is_inbox() && !boxes.exists(folder)? {
                        return Err(StoreError::NoSuchFolder(folder.name.clone()));
                    }
                    // A folder without new, or an INBOX that somebody removed.
                    if !boxes.create(folder)? {
                        return Err(StoreError::io("link", &path)(error));
                    }
                }
                Err(error) => return Err(StoreError::io("link", &path)(error)),
            }
        }
        Err(StoreError::io("link", &directory)(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Takes everything back that [`Self::place`] has newly put anywhere: the delivery has failed.
    pub fn take_back(&mut self) {
        while !self.placed.is_empty() {
            self.take_back_last();
        }
    }

    /// The files that were put into folders.
    #[must_use]
    pub fn placed(&self) -> &[PathBuf] {
        &self.placed
    }

    /// Makes this one's duty what another one has placed: it is taken back together with this.
    pub fn adopt(&mut self, mut other: Self) {
        self.placed.append(&mut other.placed);
    }

    fn take_back_last(&mut self) {
        let Some(path) = self.placed.pop() else { return };
        if fs::remove_file(&path).is_err() {
            // Somebody has moved it, or it cannot be removed: the file in tmp tells the next attempt.
            self.open.keep = true;
            log::warn!("{}: cannot be taken back", path.display());
        }
    }

    fn links(&self) -> Result<u64, StoreError> {
        let found = self.open.file.metadata().map_err(StoreError::io("fstat", &self.open.path))?;
        Ok(found.nlink())
    }

    /// Whether this very file is in `new` or `cur`, by its number.
    fn is_in(&self, folder: &Path) -> Result<bool, StoreError> {
        let own = self.open.file.metadata().map_err(StoreError::io("fstat", &self.open.path))?.ino();
        for name in ["new", "cur"] {
            let path = folder.join(name);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("readdir", &path)(error)),
            };
            for entry in entries {
                if entry.map_err(StoreError::io("readdir", &path))?.ino() == own {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether the file at `path` is this message.
    fn is_same(&mut self, path: &Path) -> Result<bool, StoreError> {
        let mut other = match File::open(path) {
            Ok(file) => file,
            // It went to cur meanwhile, or was removed: a new name will do.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        let length = self.size.saturating_sub(self.trace_size);
        same_end(&mut other, &mut self.open.file, length).map_err(StoreError::io("read", path))
    }

    /// A folder that others may read as well gets a file that they may read.
    fn fit_permissions(&self, boxes: &Mailboxes, folder: &Folder) -> Result<(), StoreError> {
        if folder.is_inbox() || !self.placed.is_empty() {
            return Ok(());
        }
        let Some(wanted) = boxes.permissions_of(folder)? else { return Ok(()) };
        let path = &self.open.path;
        self.open
            .file
            .set_permissions(fs::Permissions::from_mode(wanted.file))
            .map_err(StoreError::io("fchmod", path))?;
        if let Some(group) = wanted.group {
            std::os::unix::fs::fchown(&self.open.file, None, Some(group))
                .map_err(StoreError::io("fchown", path))?;
        }
        Ok(())
    }

    /// A hard link; where there are none, a copy.
    fn link(&mut self, boxes: &Mailboxes, path: &Path) -> io::Result<()> {
        match fs::hard_link(&self.open.path, path) {
            Err(error) if no_links(&error) => {}
            other => return other,
        }
        // Written beside it first, so that nobody sees half of it.
        let aside = path.parent().and_then(Path::parent).map(|folder| folder.join("tmp"));
        let aside = aside
            .unwrap_or_default()
            .join(Base::unique(self.now, std::process::id(), boxes.hostname()).as_str());
        let mut copy = || -> io::Result<()> {
            let mut to = boxes.new_file(&aside)?;
            self.open.file.seek(SeekFrom::Start(0))?;
            io::copy(&mut self.open.file, &mut to)?;
            if boxes.syncs() {
                to.sync_all()?;
            }
            match fs::hard_link(&aside, path) {
                Err(error) if no_links(&error) => rename_to_new(&aside, path),
                other => other,
            }
        };
        let copied = copy();
        drop(fs::remove_file(&aside));
        copied
    }
}

/// Whether an error says that this cannot be linked there, rather than that something is wrong.
fn no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
    ) && error.raw_os_error() != Some(rustix::io::Errno::ACCESS.raw_os_error())
}

/// Renames, but not over another file.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

impl Marks {
    /// What stands behind `:2,`; `None` when there is nothing.
    fn info(&self, boxes: &Mailboxes, folder: &Folder) -> Result<Option<String>, StoreError> {
        if self.flags.is_empty() && self.keywords.is_empty() {
            return Ok(None);
        }
        let mut letters: Vec<char> = self.flags.chars().filter(|flag| "DFRST".contains(*flag)).collect();
        letters.extend(keywords::letters(boxes, folder, &self.keywords)?);
        letters.sort_unstable();
        letters.dedup();
        Ok((!letters.is_empty()).then(|| letters.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests;
