//! Maildir on disk: a message is begun in `tmp`, finished (fsync), and placed into folders (link, fsync of the directory).

mod attempt;
pub mod clean;
mod dotlock;
pub mod folder;
pub mod incoming;
pub mod keywords;
pub mod mailboxes;
pub mod message;
pub mod name;
pub mod size;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use folder::{Folder, INBOX};
pub use incoming::Incoming;
pub use mailboxes::Mailboxes;
pub use message::{Marks, Message, Placed};

/// Why something cannot be stored.
#[derive(Debug)]
pub enum StoreError {
    /// The folder does not exist, and was not to be created.
    NoSuchFolder(String),
    /// No folder can have this name; the sentence says why.
    BadName(String),
    /// Another process is delivering the very same message.
    Busy(PathBuf),
    /// The operating system refused.
    Io {
        /// The system call.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl StoreError {
    /// A refusal of the operating system.
    pub(crate) fn io(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { call, path: path.to_owned(), error }
    }

    /// Whether no attempt will help, as long as nobody creates the folder.
    #[must_use]
    pub fn is_about_the_folder(&self) -> bool {
        matches!(self, Self::NoSuchFolder(_) | Self::BadName(_))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFolder(name) => write!(f, "Mailbox doesn't exist: {name}"),
            Self::BadName(why) => f.write_str(why),
            Self::Busy(path) => {
                write!(f, "another delivery of this message is in progress ({})", path.display())
            }
            Self::Io { call, path, error } => {
                write!(f, "{call}({}) failed: {error}", path.display())?;
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory) {
                    f.write_str("; postrider-lda --check-user says what mends it")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// Makes what was done in a directory last.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = std::fs::File::open(path).map_err(StoreError::io("open", path))?;
    directory.sync_all().map_err(StoreError::io("fsync", path))
}
