//! The Maildir of one recipient, as a test looks into it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::message::Message;
use crate::wait::wait_for;

/// A Maildir that Postfix delivers into.
#[derive(Clone, Debug)]
pub struct Maildir {
    path: PathBuf,
}

/// A delivered message.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Its file.
    pub path: PathBuf,
    /// The message.
    pub message: Message,
}

impl Maildir {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The messages that are there now, in the order of their files' times.
    #[must_use]
    pub fn messages(&self) -> Vec<Delivered> {
        let mut paths = files_of(&self.path.join("new"));
        paths.sort();
        let mut found = Vec::new();
        for path in paths.into_iter().map(|(_, path)| path) {
            let message = Message::parse(&fs::read(&path).unwrap());
            found.push(Delivered { path, message });
        }
        found
    }

    /// Waits until `number` messages are there, and fails if there are more.
    #[track_caller]
    #[must_use]
    pub fn wait(&self, number: usize) -> Vec<Delivered> {
        let new = self.path.join("new");
        wait_for(&format!("{number} messages in {}", self.path.display()), || {
            (files_of(&new).len() >= number).then_some(())
        });
        let messages = self.messages();
        assert_eq!(messages.len(), number, "in {}", self.path.display());
        messages
    }

    /// Waits for the one message that is to come.
    #[track_caller]
    #[must_use]
    pub fn wait_one(&self) -> Delivered {
        self.wait(1).remove(0)
    }
}

fn files_of(folder: &Path) -> Vec<(std::time::SystemTime, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect()
}
