//! A message that is on disk in `tmp`: placed into folders by hard links, or taken out of them again.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attempt::{self, Earlier, same_end};
use super::incoming::Open;
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
    placed: Vec<PathBuf>,
    /// What earlier attempts to deliver this message to this recipient left in `tmp`.
    earlier: Vec<Earlier>,
    /// This recipient's own link in `tmp`, where the file is another recipient's.
    stake: Option<PathBuf>,
    /// Edited copies that were placed beside it.
    copies: Vec<Self>,
    /// All has been done for this recipient.
    delivered: bool,
    /// What is in `tmp` is for another attempt.
    keep: bool,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.leave();
    }
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
        head: Vec<u8>,
        key: Vec<u8>,
        now: Duration,
        (size, virtual_size, trace_size): (u64, u64, u64),
    ) -> Result<Self, StoreError> {
        let earlier = std::mem::take(&mut open.earlier);
        let mut message = Self {
            open,
            head,
            key,
            now,
            size,
            virtual_size,
            trace_size,
            placed: Vec::new(),
            earlier: Vec::new(),
            stake: None,
            copies: Vec::new(),
            delivered: false,
            keep: false,
        };
        message.earlier = message.same(earlier)?;
        Ok(message)
    }

    /// Those of the leftovers that hold this message.
    fn same(&mut self, earlier: Vec<Earlier>) -> Result<Vec<Earlier>, StoreError> {
        let length = self.own_size();
        let mut same = Vec::new();
        for mut left in earlier {
            if left.is_same(&mut self.open.file, length)? {
                same.push(left);
            }
        }
        Ok(same)
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

    /// Another file with the same message, for the mailboxes of another owner.
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
        let mut copy = Incoming::begin(boxes, trace, key, crlf, self.now).for_several();
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

    /// Goes on to a recipient who is described by `key` (see [`Incoming::begin`]) and has the same owner: what was
    /// placed for the one before stays. In the `tmp` of each there is a link, as long as the message is not dropped or
    /// on its way to the next one.
    ///
    /// # Errors
    /// The link cannot be made, or another process is delivering the message to this recipient.
    pub fn next_recipient(&mut self, boxes: &Mailboxes, key: &[&[u8]]) -> Result<(), StoreError> {
        let key = key.join(&0);
        if key == self.key {
            return Ok(());
        }
        self.leave();
        self.placed.clear();
        (self.delivered, self.keep) = (false, false);
        self.key = key;
        let Some(origin) = self.open.origin else { return Ok(()) };
        let base = origin.base(&[&self.key], boxes.hostname());
        let tmp = boxes.place().inbox.join("tmp");
        let own = &self.open.path;
        let stake = attempt::stake(&tmp, &base, true, |path| match link_below(boxes, own, path) {
            // Where there are no links each folder gets a copy, and there is nothing to tell the next attempt by.
            Err(error) if no_links(&error) => Ok(false),
            other => other.map(|()| true),
        })?;
        self.stake = stake.made.and_then(|(path, linked)| linked.then_some(path));
        self.earlier = self.same(stake.earlier)?;
        Ok(())
    }

    /// All has been done for this recipient: nothing needs to be left for another attempt, once the sender knows.
    pub fn delivered(&mut self) {
        self.delivered = true;
        self.copies.iter_mut().for_each(Self::delivered);
    }

    /// The sender could not be told what came of it for this recipient and will try again: what is in `tmp` stays for that
    /// attempt.
    pub fn keep_for_another_attempt(&mut self) {
        if self.open.origin.is_some() {
            self.keep = true;
            self.open.keep |= self.stake.is_none();
            for copy in &mut self.copies {
                copy.keep_for_another_attempt();
            }
        }
    }

    /// Removes from `tmp` what this recipient had there.
    fn leave(&mut self) {
        // What cannot be removed is removed when it is old.
        if let Some(path) = self.stake.take().filter(|_| !self.keep) {
            drop(fs::remove_file(path));
        }
        for left in self.earlier.drain(..).filter(|_| self.delivered && !self.keep) {
            drop(fs::remove_file(left.path));
        }
        self.copies.clear();
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
        if self.is_known(folder, only)? {
            if boxes.syncs() {
                // The earlier attempt may have been killed before it did so.
                for name in ["new", "cur"] {
                    sync_directory(&folder.path.join(name))?;
                }
            }
            return Ok(Placed::Already);
        }
        self.fit_permissions(boxes, folder)?;
        let mut base = self.base(boxes);
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

    /// Whether an earlier attempt has put the message into this folder.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn is_there(
        &mut self,
        boxes: &Mailboxes,
        folder: &Folder,
        marks: &Marks,
        only: bool,
    ) -> Result<bool, StoreError> {
        if self.is_known(folder, only)? {
            return Ok(true);
        }
        if self.open.origin.is_none() {
            return Ok(false);
        }
        let info = marks.info(boxes, folder)?;
        let directory = folder.path.join(if info.is_some() { "cur" } else { "new" });
        let name = self.base(boxes).delivered(self.size, self.virtual_size, info.as_deref());
        self.is_same(&directory.join(name))
    }

    /// Whether what an earlier attempt left in `tmp` says that the message is in this folder.
    fn is_known(&self, folder: &Folder, only: bool) -> Result<bool, StoreError> {
        for earlier in &self.earlier {
            if earlier.is_in(&folder.path)? || (only && self.placed.is_empty() && earlier.is_anywhere()?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The name for this recipient.
    fn base(&self, boxes: &Mailboxes) -> Base {
        match self.open.origin {
            Some(origin) => origin.base(&[&self.key], boxes.hostname()),
            None => Base::unique(self.now, std::process::id(), boxes.hostname()),
        }
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

    /// Makes this one's duty what another one has placed: it is taken back together with this, and leaves `tmp` with
    /// it.
    pub fn adopt(&mut self, mut other: Self) {
        self.placed.append(&mut other.placed);
        self.copies.push(other);
    }

    fn take_back_last(&mut self) {
        let Some(path) = self.placed.pop() else { return };
        if fs::remove_file(&path).is_err() {
            // Somebody has moved it, or it cannot be removed: the file in tmp tells the next attempt.
            self.keep_for_another_attempt();
            log::warn!("{}: cannot be taken back", path.display());
        }
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

/// A hard link in `tmp` of the INBOX, which is created when it is not there.
fn link_below(boxes: &Mailboxes, from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            boxes.create_inbox()?;
            fs::hard_link(from, to)
        }
        other => other,
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
