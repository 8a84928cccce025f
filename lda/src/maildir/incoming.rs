//! A message that is arriving: bytes go to a file in `tmp` as they come, line ends as configured.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attempt::{self, Earlier};
use super::message::Message;
use super::name::{Base, Origin};
use super::{Mailboxes, StoreError};
use crate::message::{LONGEST_HEADER, header_end};

/// Bytes that are written at a time.
const PIECE: usize = 64 * 1024;
/// Pieces of this size are written without being copied first.
const DIRECT: usize = 8 * 1024;

/// A message that is not complete yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    trace: Vec<u8>,
    key: Vec<u8>,
    several: bool,
    now: Duration,
    crlf: bool,
    tmp: PathBuf,
    /// Converted bytes that are not written yet.
    pending: Vec<u8>,
    /// The beginning of the message as it came.
    head: Vec<u8>,
    /// Whether the header has ended, or is too long to wait for its end.
    head_done: bool,
    /// The last byte was a CR that is not decided yet.
    held_cr: bool,
    /// The last byte that was put.
    last: u8,
    file: Option<Open>,
    size: u64,
    virtual_size: u64,
    /// All of it is on disk.
    settled: bool,
}

/// The file in `tmp`.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) origin: Option<Origin>,
    /// What attempts that were killed left behind, which is already in a folder.
    pub(super) earlier: Vec<Earlier>,
    pub(super) keep: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.keep {
            // Another file of this name does not exist: it is ours while it is there.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Incoming {
    /// Begins a message for this mailbox.
    ///
    /// `trace` are header fields of our own that come first; their length must not change from attempt to
    /// attempt. `key` describes the recipient (user, addresses): with the message's `Received` field it
    /// names the file, so that another attempt for the same recipient finds this one. `crlf` is
    /// `mail_save_crlf`. Nothing is opened before the header is complete.
    #[must_use]
    pub fn begin(boxes: &Mailboxes, trace: &[u8], key: &[&[u8]], crlf: bool, now: Duration) -> Self {
        Self {
            trace: trace.to_vec(),
            key: key.join(&0),
            several: false,
            now,
            crlf,
            tmp: boxes.place().inbox.join("tmp"),
            pending: Vec::new(),
            head: Vec::new(),
            head_done: false,
            held_cr: false,
            last: 0,
            file: None,
            size: 0,
            virtual_size: 0,
            settled: false,
        }
    }

    /// The file is to serve several recipients: see [`Message::next_recipient`].
    #[must_use]
    pub fn for_several(mut self) -> Self {
        self.several = true;
        self
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The file cannot be opened or written; the message is to be given up.
    pub fn write(&mut self, boxes: &Mailboxes, bytes: &[u8]) -> Result<(), StoreError> {
        if !self.head_done {
            let room = LONGEST_HEADER.saturating_sub(self.head.len());
            // Lines that have been looked at are not looked at again.
            let line = memchr::memrchr(b'\n', &self.head).map_or(0, |end| end + 1);
            self.head.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            let ended = header_end(self.head.get(line..).unwrap_or_default()).is_some();
            self.head_done = self.head.len() >= LONGEST_HEADER || ended;
            if self.pending.is_empty() && self.size == 0 && !self.trace.is_empty() {
                let trace = std::mem::take(&mut self.trace);
                self.convert(&trace);
                self.trace = trace;
            }
        }
        let mut pieces = bytes.chunks(PIECE);
        while let Some(piece) = pieces.next() {
            if let Err(error) = self.take(boxes, piece) {
                // All of it can still go elsewhere.
                pieces.for_each(|rest| self.convert(rest));
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&mut self, boxes: &Mailboxes, piece: &[u8]) -> Result<(), StoreError> {
        if piece.len() >= DIRECT && !self.crlf && !self.held_cr && memchr::memchr(b'\r', piece).is_none() {
            if let Err(error) = self.flush(boxes) {
                self.put(piece);
                return Err(error);
            }
            self.count(piece);
            if let Err(error) = self.write_out(piece) {
                self.pending.extend_from_slice(piece);
                return Err(error);
            }
            return Ok(());
        }
        self.convert(piece);
        if self.pending.len() >= PIECE { self.flush(boxes) } else { Ok(()) }
    }

    /// The header as it came, without our own fields; at most [`LONGEST_HEADER`] bytes of it.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Ends the message: all of it is on disk, in `tmp`.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn finish(mut self, boxes: &Mailboxes) -> Result<Message, StoreError> {
        self.settle(boxes)?;
        let Some(open) = self.file.take() else {
            return Err(StoreError::io("open", &self.tmp)(io::Error::other("no file")));
        };
        let end = header_end(&self.head).unwrap_or(self.head.len());
        self.head.truncate(end);
        let end = header_end(&self.head).unwrap_or(self.head.len());
        self.head.truncate(end);
        let trace_size = self.trace_size();
        Message::finished(
            open,
            std::mem::take(&mut self.head),
            self.key.clone(),
            self.now,
            (self.size, self.virtual_size, trace_size),
        )
    }

    /// The first half of [`Self::finish`]: all that has been written is on disk. After it fails the message can still
    /// [move](Self::move_to) to another mailbox.
    ///
    /// # Errors
    /// The file cannot be opened, written or synced.
    pub fn settle(&mut self, boxes: &Mailboxes) -> Result<(), StoreError> {
        if self.settled {
            return Ok(());
        }
        self.head_done = true;
        if self.held_cr {
            self.held_cr = false;
            self.put(b"\r");
        }
        if self.size == 0 && self.pending.is_empty() && !self.trace.is_empty() {
            let trace = std::mem::take(&mut self.trace);
            self.convert(&trace);
        }
        self.flush(boxes)?;
        if boxes.syncs()
            && let Some(open) = &self.file
        {
            open.file.sync_all().map_err(StoreError::io("fsync", &open.path))?;
        }
        self.settled = true;
        Ok(())
    }

    /// Goes on in another mailbox with all that has come so far, because this one's cannot take it. `self` is to be
    /// dropped with the credentials that it was written with.
    ///
    /// # Errors
    /// What was written cannot be read, or not be written there either.
    pub fn move_to(&mut self, boxes: &Mailboxes, trace: &[u8], key: &[&[u8]]) -> Result<Self, StoreError> {
        let mut there = Self::begin(boxes, trace, key, self.crlf, self.now);
        there.several = self.several;
        there.head.clone_from(&self.head);
        there.head_done = self.head_done;
        there.convert(trace);
        // Our own fields are at the beginning of the file, or of what is still in memory.
        let mut skip = self.trace_size();
        if let Some(open) = &mut self.file {
            let written = self.size - u64::try_from(self.pending.len()).unwrap_or(0);
            open.file.seek(SeekFrom::Start(skip)).map_err(StoreError::io("lseek", &open.path))?;
            let mut left = written.saturating_sub(skip);
            skip = skip.saturating_sub(written);
            let mut piece = vec![0; PIECE];
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
                let part = piece.get_mut(..part).unwrap_or_default();
                open.file.read_exact(part).map_err(StoreError::io("read", &open.path))?;
                left -= u64::try_from(part.len()).unwrap_or(left);
                there.put(part);
                there.flush(boxes)?;
            }
        }
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        there.put(self.pending.get(skip..).unwrap_or_default());
        there.held_cr = self.held_cr;
        Ok(there)
    }

    /// What our own fields take on disk.
    fn trace_size(&self) -> u64 {
        if self.size == 0 {
            return 0;
        }
        let removed = if self.crlf { 0 } else { memchr::memmem::find_iter(&self.trace, b"\r\n").count() };
        u64::try_from(self.trace.len() - removed).unwrap_or(0)
    }

    /// Line ends as configured, into the buffer.
    fn convert(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.held_cr {
                self.held_cr = false;
                if rest.first() != Some(&b'\n') {
                    self.put(b"\r");
                } else if self.crlf {
                    self.put(b"\r\n");
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                } else {
                    self.put(b"\n");
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
            }
            let end =
                if self.crlf { memchr::memchr2(b'\r', b'\n', rest) } else { memchr::memchr(b'\r', rest) };
            let (text, after) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, b""));
            self.put(text);
            match after.first() {
                Some(b'\r') => self.held_cr = true,
                Some(_) => self.put(b"\r\n"),
                None => {}
            }
            rest = after.get(1..).unwrap_or_default();
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.count(bytes);
        self.pending.extend_from_slice(bytes);
    }

    fn count(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        self.size += length;
        self.virtual_size += length;
        if !self.crlf {
            let alone = memchr::memchr_iter(b'\n', bytes).count();
            // CR CR LF becomes CR LF, to which nothing is added.
            let joined = usize::from(self.last == b'\r' && bytes.first() == Some(&b'\n'));
            self.virtual_size += u64::try_from(alone - joined).unwrap_or(0);
        }
        self.last = *last;
    }

    fn flush(&mut self, boxes: &Mailboxes) -> Result<(), StoreError> {
        if self.file.is_none() {
            self.file = Some(self.open(boxes)?);
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let written = self.write_out(&pending);
        self.pending = pending;
        // What could not be written can still go elsewhere.
        if written.is_ok() {
            self.pending.clear();
        }
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(open) = &mut self.file else { return Ok(()) };
        open.file.write_all(bytes).map_err(StoreError::io("write", &open.path))
    }

    fn open(&self, boxes: &Mailboxes) -> Result<Open, StoreError> {
        let origin = Origin::of(&self.head);
        let mut earlier = Vec::new();
        if let Some(origin) = origin {
            let base = origin.base(&[&self.key], boxes.hostname());
            let stake = attempt::stake(&self.tmp, &base, self.several, |path| {
                let file = create(boxes, path)?;
                attempt::hold(&file);
                Ok(file)
            })?;
            earlier = stake.earlier;
            if let Some((path, file)) = stake.made {
                return Ok(Open { file, path, origin: Some(origin), earlier, keep: false });
            }
        }
        for _ in 0..100 {
            let base = Base::unique(self.now, std::process::id(), boxes.hostname());
            let path = self.tmp.join(base.as_str());
            match create(boxes, &path) {
                Ok(file) => return Ok(Open { file, path, origin, earlier, keep: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("open", &path)(error)),
            }
        }
        Err(StoreError::io("open", &self.tmp)(io::Error::from(io::ErrorKind::AlreadyExists)))
    }
}

/// Creates a file in `tmp`, and the INBOX when it is not there.
fn create(boxes: &Mailboxes, path: &Path) -> io::Result<File> {
    match boxes.new_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            boxes.create_inbox()?;
            boxes.new_file(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::location::Location;
    use crate::variables::Values;

    /// CR LF becomes LF, or LF CR LF, looked at byte by byte.
    fn wanted(bytes: &[u8], crlf: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
                b'\n' if crlf => out.extend_from_slice(b"\r\n"),
                byte => out.push(*byte),
            }
        }
        out
    }

    /// The size with CR LF of what is on disk.
    fn with_crlf(bytes: &[u8]) -> usize {
        let before = |at: usize| at.checked_sub(1).and_then(|at| bytes.get(at));
        bytes.len()
            + (0..bytes.len())
                .filter(|at| bytes.get(*at) == Some(&b'\n') && before(*at) != Some(&b'\r'))
                .count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn pieces_do_not_matter(
            pieces in proptest::collection::vec("[ab:\r\n]{0,6}", 0..12), crlf: bool, trace in "(X: y\n)?"
        ) {
            let home = tempfile::tempdir().unwrap();
            let values = Values { home: home.path().to_str().unwrap(), ..Values::default() };
            let boxes = Mailboxes::open(Location::home_maildir().expand(&values).unwrap(), None, "", false, "h").unwrap();
            let mut incoming = Incoming::begin(&boxes, trace.as_bytes(), &[b"k"], crlf, Duration::from_secs(9));
            for piece in &pieces {
                incoming.write(&boxes, piece.as_bytes()).unwrap();
            }
            let message = incoming.finish(&boxes).unwrap();
            let whole = pieces.concat();
            let want = [wanted(trace.as_bytes(), crlf), wanted(whole.as_bytes(), crlf)].concat();
            let mut found = Vec::new();
            let mut file = message.file();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut found).unwrap();
            prop_assert_eq!(&found, &want);
            prop_assert_eq!(usize::try_from(message.size()).unwrap(), want.len());
            prop_assert_eq!(usize::try_from(message.virtual_size()).unwrap(), with_crlf(&want));
            drop(message);
            prop_assert_eq!(fs::read_dir(home.path().join("Maildir/tmp")).unwrap().count(), 0);
        }
    }
}
