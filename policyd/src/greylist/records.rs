//! Records of greylisting in this process: bounded, forgotten in time, and with a file written down every second.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Record, Seen, Subject, Write};

/// Key → expiry in seconds since 1970, blank, record.
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("greylist");
/// Room for the file's pages in memory.
const CACHE_BYTES: usize = 4 << 20;
/// Entries looked at in one sweep at most.
const SWEEP: usize = 50_000;

/// The records.
pub struct Records {
    known: HashMap<Box<str>, (Record, u64)>,
    most: usize,
    file: Option<Arc<Database>>,
    /// Keys whose records have changed since they were written.
    changed: HashSet<Box<str>>,
    writing: Option<tokio::task::JoinHandle<()>>,
    /// Keys that could not be written, to be tried again.
    failed: Arc<Mutex<Vec<Box<str>>>>,
    /// Attempts that there was no room to remember.
    pub full: u64,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Records {
    /// In memory alone, at most so many.
    #[must_use]
    pub fn in_memory(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            most,
            file: None,
            changed: HashSet::new(),
            writing: None,
            failed: Arc::default(),
            full: 0,
        }
    }

    /// With a file, of which those are read that are not over at `now`.
    ///
    /// # Errors
    /// A sentence with the path when the file cannot be opened or read.
    pub fn open(path: &Path, most: usize, now: u64) -> Result<Self, String> {
        let about = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let file =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| about(&error))?;
        let mut records = Self::in_memory(most);
        let write = file.begin_write().map_err(|error| about(&error))?;
        // Makes the table of a new file.
        write.open_table(TABLE).map(drop).map_err(|error| about(&error))?;
        write.commit().map_err(|error| about(&error))?;
        let read = file.begin_read().map_err(|error| about(&error))?;
        let table = read.open_table(TABLE).map_err(|error| about(&error))?;
        for entry in table.iter().map_err(|error| about(&error))? {
            let (key, value) = entry.map_err(|error| about(&error))?;
            if let Some((record, until)) = parse(value.value()).filter(|(_, until)| *until > now) {
                if records.known.len() < most {
                    records.known.insert(key.value().into(), (record, until));
                }
            } else {
                records.changed.insert(key.value().into());
            }
        }
        drop((table, read));
        records.file = Some(Arc::new(file));
        Ok(records)
    }

    /// What is known of a subject at `now`.
    #[must_use]
    pub fn seen(&self, subject: &Subject, now: u64) -> Seen {
        let find =
            |key: &str| self.known.get(key).filter(|(_, until)| *until > now).map(|(record, _)| *record);
        Seen {
            triplet: find(&subject.triplet).and_then(Record::triplet),
            client: find(&subject.client).and_then(Record::trust),
            domain: find(&subject.domain).and_then(Record::trust),
        }
    }

    /// Whether there is room for what is new; sweeps to make some.
    pub fn has_room(&mut self, now: u64) -> bool {
        if self.known.len() + 3 > self.most {
            self.sweep(now);
        }
        let room = self.known.len() + 3 <= self.most;
        self.full += u64::from(!room);
        room
    }

    /// Remembers.
    pub fn keep(&mut self, writes: Vec<Write>, now: u64) {
        for write in writes {
            let until = now.saturating_add(write.keep.as_secs()).saturating_add(60);
            if self.file.is_some() {
                self.changed.insert(write.key.as_str().into());
            }
            self.known.insert(write.key.into(), (write.record, until));
        }
    }

    /// Forgets what is over.
    pub fn sweep(&mut self, now: u64) {
        let over: Vec<Box<str>> = self
            .known
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .take(SWEEP)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.known.remove(&key);
            if self.file.is_some() {
                self.changed.insert(key);
            }
        }
    }

    /// Begins to write down what has changed, unless that is going on. Must be called within a runtime.
    pub fn flush(&mut self) {
        if let Some(writing) = &self.writing {
            if !writing.is_finished() {
                return;
            }
            self.writing = None;
        }
        self.changed.extend(self.failed.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
        let Some(file) = self.file.clone().filter(|_| !self.changed.is_empty()) else { return };
        let batch = self.batch();
        let failed = Arc::clone(&self.failed);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(why) = write(&file, &batch) {
                log::error!("greylist: the file cannot be written: {why}");
                let keys = batch.into_iter().map(|(key, _)| key);
                failed.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
            }
        }));
    }

    /// Writes down everything, and waits for it.
    pub fn close(&mut self) {
        let Some(file) = self.file.clone().filter(|_| !self.changed.is_empty()) else { return };
        if let Err(why) = write(&file, &self.batch()) {
            log::error!("greylist: the file cannot be written: {why}");
        }
    }

    fn batch(&mut self) -> Vec<(Box<str>, Option<String>)> {
        let value =
            |key: &str| self.known.get(key).map(|(record, until)| format!("{until} {}", record.write()));
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| {
                let value = value(&key);
                (key, value)
            })
            .collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn parse(bytes: &[u8]) -> Option<(Record, u64)> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let (until, record) = bytes.split_at_checked(blank)?;
    let until = std::str::from_utf8(until).ok()?.parse().ok()?;
    Some((Record::read(record.get(1..)?)?, until))
}

fn write(file: &Database, batch: &[(Box<str>, Option<String>)]) -> Result<(), String> {
    let write = file.begin_write().map_err(|error| error.to_string())?;
    {
        let mut table = write.open_table(TABLE).map_err(|error| error.to_string())?;
        for (key, value) in batch {
            match value {
                Some(value) => table.insert(&**key, value.as_bytes()).map(drop),
                None => table.remove(&**key).map(drop),
            }
            .map_err(|error| error.to_string())?;
        }
    }
    write.commit().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::greylist::{Triplet, Trust};

    fn subject(number: u64) -> Subject {
        Subject {
            triplet: format!("192.0.2.0 t a {number}"),
            client: "192.0.2.0 c".into(),
            domain: "192.0.2.0 d a".into(),
        }
    }

    fn writes(subject: &Subject, keep: u64) -> Vec<Write> {
        let keep = Duration::from_secs(keep);
        let triplet = Record::Triplet(Triplet { first: 1, last: 2, passed: true });
        vec![
            Write { key: subject.triplet.clone(), record: triplet, keep },
            Write { key: subject.client.clone(), record: Record::Trust(Trust { passes: 3, last: 4 }), keep },
        ]
    }

    #[tokio::test]
    async fn a_file_outlives_a_restart_and_forgets_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("greylist");
        let mut records = Records::open(&path, 1000, 100).unwrap();
        records.keep(writes(&subject(1), 1000), 100);
        records.keep(writes(&subject(2), 10), 100);
        let wanted = records.seen(&subject(1), 100);
        assert!(wanted.triplet.is_some_and(|triplet| triplet.passed) && wanted.client.is_some());
        records.flush();
        records.writing.take().unwrap().await.unwrap();
        assert!(records.failed.lock().unwrap().is_empty());
        records.keep(writes(&subject(3), 1000), 100);
        records.close();
        drop(records);
        let mut records = Records::open(&path, 1000, 200).unwrap();
        assert_eq!(records.seen(&subject(1), 200).triplet, wanted.triplet);
        assert!(records.seen(&subject(3), 200).triplet.is_some());
        assert_eq!(records.seen(&subject(2), 200).triplet, None, "over");
        // What is over leaves the file too.
        records.close();
        drop(records);
        assert_eq!(Records::open(&path, 1000, 0).unwrap().len(), 3);
        assert!(
            Records::open(folder.path(), 1, 0).unwrap_err().contains(&folder.path().display().to_string())
        );
    }

    #[test]
    fn room_is_bounded_and_made_by_sweeping() {
        let mut records = Records::in_memory(10);
        for number in 0..20 {
            if records.has_room(100) {
                records.keep(writes(&subject(number), 50), 100);
            }
        }
        assert!(records.len() <= 10 && records.full > 0);
        assert!(records.has_room(500), "all is over by then");
        assert!(records.is_empty());
    }
}
