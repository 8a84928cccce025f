//! Counters in memory that write themselves down: a restart, and the end of the process at any moment, lose at
//! most the last second. Only this and greylist/records.rs know redb.
//!
//! What has changed is handed to a thread of its own every half second, which writes it in one transaction
//! and one sync; the next half second begins when it is ready. Deciding never waits for the disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use base::clock;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::memory::Memory;
use super::{Answer, Ask, Charge, Figures, Held, LimitId, Local, Raise, Rule, Unavailable, Use};
use crate::limiter::{Moment, Nanos, Tag};

/// Limit's name, NUL, key → number of levels, their tags, their states.
const COUNTERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("counters");
/// Everything else that must outlive a restart.
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");
/// What redb may keep of the file in memory: all that is asked for is in ours.
const CACHE_BYTES: usize = 2 << 20;
/// For how many counters room is made at once, whatever the file says of itself.
const MOST_EXPECTED: usize = 4_000_000;
/// How often changes are handed on.
const INTERVAL: Nanos = 500_000_000;
/// How long to wait after the disk has refused.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last writing may take.
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// The store.
pub struct File {
    memory: Memory,
    path: PathBuf,
    writer: Option<Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<State>,
    flushed: Nanos,
}

/// What the thread tells.
#[derive(Debug, Default)]
struct State {
    busy: AtomicBool,
    /// There will be no more batches after the one that is sent now.
    ending: AtomicBool,
    errors: AtomicU64,
    written: AtomicU64,
}

/// What one transaction writes.
#[derive(Debug, Default)]
struct Batch {
    gone: Vec<Vec<u8>>,
    there: Vec<(Vec<u8>, Vec<u8>)>,
    notes: Vec<(String, Vec<u8>)>,
}

/// Why there is no store.
#[derive(Debug)]
pub struct OpenError(String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

fn key_of(limit: &str, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(limit.len() + 1 + key.len());
    whole.extend_from_slice(limit.as_bytes());
    whole.push(0);
    whole.extend_from_slice(key);
    whole
}

impl File {
    /// Opens the file, or makes it, and reads all counters.
    ///
    /// # Errors
    /// When it cannot be opened, is another process's, or is no file of ours; the sentence says what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed =
            |what: &str, error: &dyn fmt::Display| OpenError(format!("{}: {what}: {error}", path.display()));
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| {
            use redb::DatabaseError;
            match &error {
                DatabaseError::DatabaseAlreadyOpen => {
                    OpenError(format!("{}: another process has it open; stop that first", path.display()))
                }
                DatabaseError::Storage(redb::StorageError::Io(_)) => failed("cannot be opened", &error),
                _ => OpenError(format!(
                    "{}: cannot be read: {error}; move it away to begin with empty counters",
                    path.display()
                )),
            }
        })?;
        let mut memory = Memory::new();
        read(&database, &mut memory)
            .map_err(|error| failed("cannot be read; move it away to begin with empty counters", &error))?;
        memory.table.follow = true;
        memory.notes_changed = false;
        let shared = Arc::new(State::default());
        let (writer, batches) = channel();
        let state = Arc::clone(&shared);
        let name = path.display().to_string();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_batches(&database, &batches, &state, &name))
            .map_err(|error| failed("starting a thread", &error))?;
        Ok(Self {
            memory,
            path: path.to_owned(),
            writer: Some(writer),
            thread: Some(thread),
            shared,
            flushed: 0,
        })
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let (gone, there) = (&mut batch.gone, &mut batch.there);
        self.memory.table.changes(
            |limit, key| gone.push(key_of(limit, &key)),
            |limit, record, tags| {
                let mut value = Vec::with_capacity(1 + tags.len() * 8 + record.states.len());
                value.push(u8::try_from(tags.len()).unwrap_or(u8::MAX));
                tags.iter().for_each(|tag| value.extend_from_slice(&tag.0.to_le_bytes()));
                let mut states = record.states;
                for tag in tags {
                    let (state, rest) = tag.cut(states);
                    value.extend_from_slice(state);
                    states = rest;
                }
                there.push((key_of(limit, record.key), value));
            },
        );
        // Neighbours in the file are written together.
        there.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        batch.notes = self.memory.notes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        batch.notes.push((RAISES.to_owned(), self.memory.raises_text()));
        self.memory.notes_changed = false;
        batch
    }
}

/// The name of the note with what is raised.
const RAISES: &str = "raises";

/// Reads everything into memory.
fn read(database: &Database, memory: &mut Memory) -> Result<(), redb::Error> {
    let reading = database.begin_read()?;
    match reading.open_table(COUNTERS) {
        Ok(table) => {
            memory.table.expect(usize::try_from(table.len()?).unwrap_or(0).min(MOST_EXPECTED));
            let mut reader = Reader::default();
            for row in table.iter()? {
                let (key, value) = row?;
                reader.row(key.value(), value.value(), memory);
            }
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match reading.open_table(NOTES) {
        Ok(table) => {
            for row in table.iter()? {
                let (name, value) = row?;
                if name.value() == RAISES {
                    memory.load_raises(value.value());
                } else {
                    memory.note(name.value(), value.value().to_vec());
                }
            }
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads rows; most are of the limit and have the levels of the row before.
#[derive(Debug, Default)]
struct Reader {
    name: Vec<u8>,
    limit: Option<LimitId>,
    tags: Vec<u8>,
    shape: Option<u16>,
}

impl Reader {
    /// One row; what cannot be read is left out.
    fn row(&mut self, key: &[u8], value: &[u8], memory: &mut Memory) {
        let Some(end) = memchr::memchr(0, key) else { return };
        let (name, key) = key.split_at(end);
        let Some((&count, rest)) = value.split_first() else { return };
        let Some((tags, states)) = rest.split_at_checked(usize::from(count) * 8) else { return };
        if self.limit.is_none() || self.name != name {
            let Ok(text) = std::str::from_utf8(name) else { return };
            self.limit = Some(memory.table.limit(text));
            self.name = name.to_vec();
        }
        if self.shape.is_none() || self.tags != tags {
            let tag = |tag: &[u8]| Some(Tag(u64::from_le_bytes(tag.try_into().ok()?)));
            let all: Vec<Tag> = tags.chunks_exact(8).filter_map(tag).collect();
            self.shape = Some(memory.table.shape_number(&all));
            self.tags = tags.to_vec();
        }
        if let (Some(limit), Some(shape)) = (self.limit, self.shape) {
            memory.table.load(limit, shape, key.get(1..).unwrap_or_default(), states);
        }
    }
}

/// The thread: writes batch after batch, each until the disk takes it.
fn write_batches(database: &Database, batches: &Receiver<Batch>, state: &State, name: &str) {
    while let Ok(batch) = batches.recv() {
        let mut failed = false;
        loop {
            match write(database, &batch) {
                Ok(()) => {
                    if failed {
                        log::info!("{name}: counters are written again");
                    }
                    state.written.store(clock::unix_now(), Ordering::Relaxed);
                    break;
                }
                Err(error) => {
                    state.errors.fetch_add(1, Ordering::Relaxed);
                    if !failed {
                        log::error!(
                            "{name}: counters cannot be written: {error}; they go on in memory, and what is counted \
                             from now on is lost if the process ends"
                        );
                    }
                    failed = true;
                    // The service ends: it has been tried.
                    if state.ending.load(Ordering::Acquire) {
                        break;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
        state.busy.store(false, Ordering::Release);
    }
}

fn write(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    {
        let mut counters = writing.open_table(COUNTERS)?;
        for key in &batch.gone {
            counters.remove(key.as_slice())?;
        }
        for (key, value) in &batch.there {
            counters.insert(key.as_slice(), value.as_slice())?;
        }
        let mut notes = writing.open_table(NOTES)?;
        for (name, value) in &batch.notes {
            notes.insert(name.as_str(), value.as_slice())?;
        }
    }
    writing.commit()?;
    Ok(())
}

impl Local for File {
    fn limit(&mut self, name: &str) -> LimitId {
        self.memory.limit(name)
    }

    fn in_force(&mut self, rules: &[Arc<Rule>], at: &Moment) {
        self.memory.in_force(rules, at);
    }

    fn decide(&mut self, ask: &Ask, at: &Moment, answer: &mut Answer) -> Result<(), Unavailable> {
        self.memory.decide(ask, at, answer)
    }

    fn peek(&self, ask: &Ask, at: &Moment, answer: &mut Answer) {
        self.memory.peek(ask, at, answer);
    }

    fn release(&mut self, charges: &[Charge], at: &Moment) {
        self.memory.release(charges, at);
    }

    fn stands(&self, rule: &Rule, key: &[u8], at: &Moment) -> Vec<Use> {
        self.memory.stands(rule, key, at)
    }

    fn reset(&mut self, limit: LimitId, key: &[u8]) -> bool {
        self.memory.reset(limit, key)
    }

    fn top(&self, rule: &Rule, count: usize, at: &Moment) -> Vec<Held> {
        self.memory.top(rule, count, at)
    }

    fn raise(&mut self, raise: Raise) {
        self.memory.raise(raise);
    }

    fn raises(&self, now: u64) -> Vec<Raise> {
        self.memory.raises(now)
    }

    fn sweep(&mut self, at: &Moment) {
        self.memory.sweep(at);
    }

    fn wants_flush(&self, at: &Moment) -> bool {
        let changed = self.memory.table.has_changes() || self.memory.notes_changed;
        changed
            && at.now.saturating_sub(self.flushed) >= INTERVAL
            && !self.shared.busy.load(Ordering::Acquire)
    }

    fn flush(&mut self, at: &Moment, last: bool) {
        self.shared.ending.fetch_or(last, Ordering::AcqRel);
        if let Some(writer) = &self.writer {
            let writer = writer.clone();
            let batch = self.batch();
            self.flushed = at.now;
            self.shared.busy.store(true, Ordering::Release);
            // The thread ends only when nobody can send any more.
            drop(writer.send(batch));
        }
        if last {
            self.writer = None;
            if let Some(thread) = self.thread.take() {
                let (done, waiting) = channel::<()>();
                let waiter = std::thread::Builder::new().name("store-end".to_owned()).spawn(move || {
                    drop(thread.join());
                    drop(done);
                });
                let late = matches!(waiting.recv_timeout(LAST_PATIENCE), Err(RecvTimeoutError::Timeout));
                if late || waiter.is_err() {
                    log::error!("{}: the last changes could not be written in time", self.path.display());
                }
            }
        }
    }

    fn noted(&self, name: &str) -> Option<Vec<u8>> {
        self.memory.noted(name)
    }

    fn note(&mut self, name: &str, value: Vec<u8>) {
        self.memory.note(name, value);
    }

    fn figures(&self) -> Figures {
        let written = self.shared.written.load(Ordering::Relaxed);
        Figures {
            write_errors: self.shared.errors.load(Ordering::Relaxed),
            written: Some(written).filter(|written| *written > 0),
            ..self.memory.figures()
        }
    }
}
