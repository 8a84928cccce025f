//! Dovecot's locks beside the files that it and we change: a `.lock` file that only one can create.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Mailboxes, StoreError};

/// A lock older than this was left behind (Dovecot's limit for keywords and subscriptions is 2 minutes).
const STALE: Duration = Duration::from_secs(120);
/// How often and how long is waited for a lock.
const WAITS: usize = 200;
const WAIT: Duration = Duration::from_millis(50);

/// The lock file, removed when dropped.
pub(super) struct Lock<'a>(&'a Path);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0));
    }
}

/// Takes the lock at `path`; it is given back when dropped.
///
/// # Errors
/// Somebody else keeps it for 10 s, or it cannot be created.
pub(super) fn lock<'a>(boxes: &Mailboxes, path: &'a Path) -> Result<Lock<'a>, StoreError> {
    let mut made_above = false;
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
            Err(error) if error.kind() == io::ErrorKind::NotFound && !made_above => {
                made_above = true;
                if let Some(above) = path.parent() {
                    boxes.create_directory(above)?;
                }
            }
            Err(error) => return Err(StoreError::io("open", path)(error)),
        }
    }
    Err(StoreError::io("lock", path)(io::Error::from(io::ErrorKind::TimedOut)))
}
