//! Files that killed deliveries left in `tmp` are removed once they are old.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Files in `tmp` that nobody has written for so long are removed (Dovecot's and everybody's 36 hours).
pub const OLD: Duration = Duration::from_secs(36 * 3600);
/// How often `tmp` is looked through.
pub const INTERVAL: Duration = Duration::from_secs(8 * 3600);

/// Looks through a folder's `tmp` when nobody has read it for [`INTERVAL`], and removes files older than [`OLD`].
/// The number of files removed. What goes wrong is none of the delivery's business.
pub fn old_files(folder: &Path, now: Duration) -> usize {
    let tmp = folder.join("tmp");
    let seconds = |age: Duration| i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
    let Ok(found) = fs::metadata(&tmp) else { return 0 };
    if found.atime() > seconds(INTERVAL) {
        return 0;
    }
    let Ok(entries) = fs::read_dir(&tmp) else { return 0 };
    let limit = seconds(OLD);
    let mut removed = 0;
    for entry in entries.flatten() {
        let Ok(file) = entry.metadata() else { continue };
        // A link that was made lately has a young ctime: its delivery may still be tried again.
        if file.is_file()
            && file.mtime() < limit
            && file.ctime() < limit
            && fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    // Reading sets the time of access, unless the file system is mounted with noatime.
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: i64::try_from(now.as_secs()).unwrap_or(0), tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
    };
    let _best_effort = rustix::fs::utimensat(rustix::fs::CWD, &tmp, &times, rustix::fs::AtFlags::empty());
    removed
}
