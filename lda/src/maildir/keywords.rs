//! Keywords of a folder: the letters a to z that stand for them in names of files, kept in `dovecot-keywords`.

use std::fs;
use std::io;
use std::path::Path;

use super::dotlock::lock;
use super::{Folder, Mailboxes, StoreError};

/// The most keywords of a folder: letters a to z.
const MOST: usize = 26;

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
