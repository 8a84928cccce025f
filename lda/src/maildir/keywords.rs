//! Keywords of a folder: the letters a to z that stand for them in names of files, kept in `dovecot-keywords`.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Folder, Mailboxes, StoreError};

/// The most keywords of a folder: letters a to z.
const MOST: usize = 26;
/// A lock older than this was left behind (Dovecot's `KEYWORDS_LOCK_STALE_TIMEOUT` is 2 minutes).
const STALE: Duration = Duration::from_secs(120);
/// How often and how long is waited for a lock.
const WAITS: usize = 200;
const WAIT: Duration = Duration::from_millis(50);

/// The letters of keywords, which are added to the file where they are not in it. A keyword for which there
/// is no letter left is passed over.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn letters(
    boxes: &Mailboxes,
    folder: &Folder,
    keywords: &[String],
) -> Result<Vec<char>, StoreError> {
    if keywords.is_empty() {
        return Ok(Vec::new());
    }
    let path = folder.control.join("dovecot-keywords");
    let known = read(&path)?;
    if let Some(letters) = all(&known, keywords) {
        return Ok(letters);
    }
    // Others (Dovecot) may write at the same time: under its lock, and read again.
    let lock_path = folder.control.join("dovecot-keywords.lock");
    let lock = lock(boxes, &lock_path)?;
    let mut known = read(&path)?;
    let before = known.len();
    for keyword in keywords {
        if find(&known, keyword).is_none() && known.len() < MOST {
            known.push(keyword.clone());
        }
    }
    if known.len() > before {
        let text: String =
            known.iter().enumerate().map(|(number, keyword)| format!("{number} {keyword}\n")).collect();
        boxes.replace(&path, text.as_bytes())?;
    }
    drop(lock);
    Ok(keywords.iter().filter_map(|keyword| find(&known, keyword)).collect())
}

fn all(known: &[String], keywords: &[String]) -> Option<Vec<char>> {
    keywords.iter().map(|keyword| find(known, keyword)).collect()
}

fn find(known: &[String], keyword: &str) -> Option<char> {
    let number = known.iter().position(|known| known.eq_ignore_ascii_case(keyword))?;
    (number < MOST).then(|| u8::try_from(number).ok().map(|number| char::from(b'a' + number)))?
}

/// The keywords by their numbers; a number that is missing holds an empty name.
fn read(path: &Path) -> Result<Vec<String>, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let mut keywords = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let Some((number, keyword)) = line.split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        if number >= MOST {
            continue;
        }
        while keywords.len() <= number {
            keywords.push(String::new());
        }
        if let Some(slot) = keywords.get_mut(number) {
            keyword.clone_into(slot);
        }
    }
    Ok(keywords)
}

/// The lock file, removed when dropped.
struct Lock<'a>(&'a Path);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0));
    }
}

fn lock<'a>(boxes: &Mailboxes, path: &'a Path) -> Result<Lock<'a>, StoreError> {
    for _ in 0..WAITS {
        let made: io::Result<File> = boxes.new_file(path);
        match made {
            Ok(_) => return Ok(Lock(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let age = fs::metadata(path).and_then(|found| found.modified()).ok();
                let now = SystemTime::UNIX_EPOCH + base::clock::since_epoch();
                if age.and_then(|age| now.duration_since(age).ok()).is_some_and(|age| age > STALE) {
                    drop(fs::remove_file(path));
                } else {
                    std::thread::sleep(WAIT);
                }
            }
            Err(error) => return Err(StoreError::io("open", path)(error)),
        }
    }
    Err(StoreError::io("lock", path)(io::Error::from(io::ErrorKind::TimedOut)))
}
