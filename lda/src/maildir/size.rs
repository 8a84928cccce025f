//! The file `maildirsize`: what a mailbox holds, kept by all who write into it (Maildir++).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Mailboxes, StoreError, name};
use crate::location::Layout;
use crate::quota::{Limits, Rules, Usage};

/// The file is made anew beyond this size, and when it is over quota and older than [`STALE`].
const LONGEST: u64 = 5120;
const STALE: Duration = Duration::from_secs(15 * 60);

/// What a mailbox holds and may hold.
#[derive(Debug)]
pub struct Size {
    path: PathBuf,
    /// The limits that hold.
    pub limits: Limits,
    /// What is there.
    pub usage: Usage,
    /// Whether the file is there to be kept.
    exists: bool,
    age: Duration,
}

impl Size {
    /// Reads the file; with limits of our own (`rules`) it is made when it is missing or has others. `None` when
    /// there is neither a file nor a limit.
    ///
    /// # Errors
    /// The file cannot be read or made, or the folders cannot be looked through.
    pub fn read(boxes: &Mailboxes, rules: &Rules, now: Duration) -> Result<Option<Self>, StoreError> {
        let path = boxes.place().root.join("maildirsize");
        let own = rules.root();
        let Some(found) = parse(&path, now)? else {
            if !own.are_set() {
                return Ok(None);
            }
            let mut size =
                Self { path, limits: own, usage: Usage::default(), exists: false, age: Duration::ZERO };
            size.recalculate(boxes, rules)?;
            return Ok(Some(size));
        };
        let mut size = found;
        if own.are_set() && own != size.limits {
            size.limits = own;
            size.recalculate(boxes, rules)?;
        } else if fs::metadata(&size.path).is_ok_and(|found| found.len() > LONGEST) {
            size.recalculate(boxes, rules)?;
        }
        Ok(Some(size))
    }

    /// Whether a figure over quota is old enough to be counted anew before it is believed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.age >= STALE
    }

    /// Counts all folders and writes the file anew.
    ///
    /// # Errors
    /// A folder cannot be read, or the file not be written.
    pub fn recalculate(&mut self, boxes: &Mailboxes, rules: &Rules) -> Result<(), StoreError> {
        self.usage = count(boxes, rules)?;
        let mut first = String::new();
        if self.limits.bytes > 0 {
            first = format!("{}S", self.limits.bytes);
        }
        if self.limits.count > 0 {
            if !first.is_empty() {
                first.push(',');
            }
            first.push_str(&format!("{}C", self.limits.count));
        }
        let text = format!("{first}\n{} {}\n", self.usage.bytes, self.usage.count);
        match boxes.replace(&self.path, text.as_bytes()) {
            // The first delivery to a mailbox, from a file that lies in another one.
            Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                boxes.create_directory(&boxes.place().root)?;
                boxes.replace(&self.path, text.as_bytes())?;
            }
            other => other?,
        }
        self.exists = true;
        self.age = Duration::ZERO;
        Ok(())
    }

    /// Adds a message to the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, bytes: u64) -> Result<(), StoreError> {
        if !self.exists {
            return Ok(());
        }
        let line = format!("{bytes} 1\n");
        let mut file = match File::options().append(true).open(&self.path) {
            Ok(file) => file,
            // Whoever removed it will count again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("open", &self.path)(error)),
        };
        file.write_all(line.as_bytes()).map_err(StoreError::io("write", &self.path))?;
        self.usage.bytes = self.usage.bytes.saturating_add_unsigned(bytes);
        self.usage.count += 1;
        Ok(())
    }
}

/// The file's content; `None` when it is not there. A file that is no such file counts as stale and empty.
fn parse(path: &Path, now: Duration) -> Result<Option<Size>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let modified = file.metadata().map_err(StoreError::io("fstat", path))?.mtime();
    let mut bytes = Vec::new();
    file.take(LONGEST * 20).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let mut limits = Limits::default();
    for limit in lines.next().unwrap_or_default().split(',') {
        let number = |suffix| limit.trim().strip_suffix(suffix).and_then(|digits: &str| digits.parse().ok());
        limits.bytes = number('S').unwrap_or(limits.bytes);
        limits.count = number('C').unwrap_or(limits.count);
    }
    let mut usage = Usage::default();
    for line in lines {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<i64>);
        if let (Some(Ok(bytes)), Some(Ok(count))) = (numbers.next(), numbers.next()) {
            usage.bytes = usage.bytes.saturating_add(bytes);
            usage.count = usage.count.saturating_add(count);
        }
    }
    let modified = Duration::from_secs(u64::try_from(modified).unwrap_or(0));
    Ok(Some(Size { path: path.to_owned(), limits, usage, exists: true, age: now.saturating_sub(modified) }))
}

/// What all folders hold.
fn count(boxes: &Mailboxes, rules: &Rules) -> Result<Usage, StoreError> {
    let place = boxes.place();
    let mut usage = Usage::default();
    if !rules.ignores(super::INBOX) {
        add_folder(&place.inbox, &mut usage)?;
    }
    let mut below = vec![(place.root.clone(), String::new())];
    while let Some((directory, name)) = below.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("readdir", &directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("readdir", &directory))?;
            let file_name = entry.file_name();
            let Some(text) = file_name.to_str() else { continue };
            let path = entry.path();
            let folder = match place.layout {
                Layout::MaildirPlusPlus => {
                    text.strip_prefix('.').map(|name| name.replace('.', &boxes.separator().to_string()))
                }
                Layout::Fs if text.starts_with('.') || ["cur", "new", "tmp"].contains(&text) => None,
                Layout::Fs if name.is_empty() => Some(text.to_owned()),
                Layout::Fs => Some(format!("{name}{}{text}", boxes.separator())),
            };
            let Some(folder) = folder.filter(|folder| !folder.is_empty()) else { continue };
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let mail =
                if place.directory_name.is_empty() { path.clone() } else { path.join(&place.directory_name) };
            if !rules.ignores(&folder) && mail != place.inbox {
                add_folder(&mail, &mut usage)?;
            }
            if place.layout == Layout::Fs {
                below.push((path, folder));
            }
        }
    }
    Ok(usage)
}

fn add_folder(folder: &Path, usage: &mut Usage) -> Result<(), StoreError> {
    for name in ["cur", "new"] {
        let path = folder.join(name);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => return Err(StoreError::io("readdir", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("readdir", &path))?;
            let file_name = entry.file_name();
            if file_name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let size = match name::size_in(file_name.as_encoded_bytes()) {
                Some(size) => size,
                None => match entry.metadata() {
                    Ok(found) => found.len(),
                    // It went meanwhile.
                    Err(_) => continue,
                },
            };
            usage.bytes = usage.bytes.saturating_add_unsigned(size);
            usage.count += 1;
        }
    }
    Ok(())
}
