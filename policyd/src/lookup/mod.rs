//! Lists in a database, asked about one value after the other: look-up, memory of answers, outages.
//!
//! A request first finds out what it has to know ([`needs`]), waits for that until each list's deadline
//! ([`Lookup::learn`]), and is then decided by what is known ([`Lookup::known`]) without waiting for anything. An answer
//! holds for its `ttl`. While the database does not answer, the last answer holds on, up to `stale_ttl`; where there is
//! none, `unavailable` says what a value counts as, and an override does not hold.

pub mod cache;
pub mod needs;
pub mod source;
pub mod template;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base::clock::monotonic_now;
use base::log::escaped;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::metrics::ListFigures;
use crate::store::redis::{Breaker, Way};
use cache::{Answer, Cache, Lifetimes};
use source::{Origin, PATIENCE, Source, Wrong};
use template::{Sought, Template};

/// Questions of one list that may be under way; further ones do without.
const FLIGHTS: usize = 256;
/// How long starting waits for the databases.
const FIRST: Duration = Duration::from_secs(2);

/// `[[list]]` with a driver that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Where it is asked.
    pub origin: Origin,
    /// What it is asked.
    pub query: Template,
    /// How long a request waits for an answer.
    pub deadline: Duration,
    /// How long answers hold.
    pub lifetimes: Lifetimes,
    /// Whether a value of which nothing is known counts as listed.
    pub away_listed: bool,
}

/// A list that is asked.
#[derive(Debug)]
pub struct Lookup {
    settings: Settings,
    /// What stays when the configuration is read again; absent until [`Lookup::open`].
    state: OnceLock<Arc<State>>,
}

#[derive(Debug)]
struct State {
    /// The settings that it was opened with, files read.
    settings: Settings,
    source: Source,
    inner: Mutex<Inner>,
    figures: OnceLock<ListFigures>,
}

#[derive(Debug)]
struct Inner {
    cache: Cache,
    breaker: Breaker,
    /// Questions under way. A receiver is told when the answer is there or is not waited for any more.
    flights: HashMap<Sought, watch::Receiver<()>>,
    /// What the database said last, while it does not answer.
    trouble: Option<String>,
}

/// How a list is, for `status` and figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Why it does not answer; `None` while it does.
    pub trouble: Option<String>,
    /// Answers that are remembered: listed, not listed.
    pub entries: [usize; 2],
    /// What they take, in bytes.
    pub bytes: u64,
}

impl Lookup {
    /// A list that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, state: OnceLock::new() }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes it ready to be asked. `before` is the list of the former configuration with this name: where nothing of it
    /// has changed, its connections and answers are taken over; the answers are asked again, and hold until there is one.
    ///
    /// # Errors
    /// The setting that is wrong, and a sentence.
    pub fn open(&self, before: Option<&Self>) -> Result<(), Wrong> {
        let settings = Settings { origin: self.settings.origin.resolved()?, ..self.settings.clone() };
        if let Some(state) = before.and_then(|before| before.state.get())
            && state.settings == settings
        {
            state.inner().cache.expire(monotonic_now());
            let _opened_twice = self.state.set(Arc::clone(state));
            return Ok(());
        }
        let source = Source::open(&settings.origin, &settings.query)?;
        self.start(settings, source);
        Ok(())
    }

    fn start(&self, settings: Settings, source: Source) {
        let inner = Inner {
            cache: Cache::new(settings.lifetimes),
            breaker: Breaker::new(),
            flights: HashMap::new(),
            trouble: None,
        };
        let state = State { settings, source, inner: Mutex::new(inner), figures: OnceLock::new() };
        let _opened_twice = self.state.set(Arc::new(state));
    }

    /// Says where its figures go.
    pub fn attach(&self, figures: ListFigures) {
        if let Some(state) = self.state.get() {
            let _attached_before = state.figures.set(figures);
        }
    }

    /// Connects, so that the first requests need not wait for that; gives up after two seconds.
    pub async fn connect(&self) {
        let Some(state) = self.state.get() else { return };
        let connected = timeout(FIRST, state.source.connect()).await;
        if let Err(error) =
            connected.unwrap_or_else(|_| Err(format!("no answer within {} s", FIRST.as_secs())))
        {
            state.failed(&error, false);
        }
    }

    /// Whether a value has to be asked for: there is no answer that still holds.
    #[must_use]
    pub fn is_asked_for(&self, sought: &Sought, now: Instant) -> bool {
        let Some(state) = self.state.get() else { return false };
        let known = state.inner().cache.fresh(sought, now).is_some();
        if known && let Some(figures) = state.figures.get() {
            figures.hit();
        }
        !known
    }

    /// The last answer, however old; `None` where there is none.
    #[must_use]
    pub fn known(&self, sought: &Sought) -> Option<Answer> {
        self.state.get()?.inner().cache.known(sought).cloned()
    }

    /// Whether a value counts as listed, by what is known.
    #[must_use]
    pub fn lists(&self, sought: &Sought) -> bool {
        self.known(sought).map_or(self.settings.away_listed, |answer| answer.is_some())
    }

    /// Asks for a value, and waits for the answer no longer than the deadline: [`Lookup::known`] has it then.
    pub async fn learn(&self, sought: Sought) {
        let Some(state) = self.state.get() else { return };
        let waiting = {
            let mut inner = state.inner();
            match inner.flights.get(&sought) {
                Some(flight) => Some(flight.clone()),
                None => match inner.breaker.way(monotonic_now()) {
                    Way::Without => None,
                    Way::Probe => {
                        state.start(&mut inner, &sought, true);
                        None
                    }
                    Way::Ask if inner.flights.len() >= FLIGHTS => None,
                    Way::Ask => Some(state.start(&mut inner, &sought, false)),
                },
            }
        };
        let answered = match waiting {
            Some(mut flight) => {
                // The question's own deadline ends it; this is for one that cannot keep it.
                let _told = timeout(2 * self.settings.deadline, flight.changed()).await;
                state.inner().cache.fresh(&sought, monotonic_now()).is_some()
            }
            None => false,
        };
        if !answered && let Some(figures) = state.figures.get() {
            if state.inner().cache.known(&sought).is_some() { figures.stale() } else { figures.unknown() }
        }
    }

    /// Forgets answers that are too old for anything.
    pub fn sweep(&self) {
        if let Some(state) = self.state.get() {
            state.inner().cache.sweep(monotonic_now());
        }
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let Some(state) = self.state.get() else { return Health::default() };
        let inner = state.inner();
        Health { trouble: inner.trouble.clone(), entries: inner.cache.entries(), bytes: inner.cache.bytes() }
    }
}

impl State {
    /// The state; what a panic elsewhere has left of it is still consistent.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a question as a task of its own: who waits for it may go, and the answer is of use to the next.
    fn start(self: &Arc<Self>, inner: &mut Inner, sought: &Sought, probe: bool) -> watch::Receiver<()> {
        let (told, flight) = watch::channel(());
        inner.flights.insert(sought.clone(), flight.clone());
        let (state, sought) = (Arc::clone(self), sought.clone());
        tokio::spawn(async move {
            let mut ended = Ended { state: &state, sought: &sought, probing: probe };
            state.ask(&sought, told, probe).await;
            ended.probing = false;
        });
        flight
    }

    async fn ask(&self, sought: &Sought, told: watch::Sender<()>, probe: bool) {
        let began = monotonic_now();
        let mut asking = Box::pin(self.source.ask(&self.settings.query, sought));
        let deadline = self.settings.deadline;
        match timeout(deadline, &mut asking).await {
            Ok(Ok(answer)) => self.answered(sought, answer, began, probe),
            Ok(Err(error)) => self.failed(&error, probe),
            Err(_) => {
                self.failed(&format!("no answer within {deadline:?}"), probe);
                drop(told);
                // It has been missed; but it may be known to the next.
                if let Ok(Ok(answer)) = timeout(PATIENCE, asking).await {
                    self.inner().cache.put(sought.clone(), answer, monotonic_now());
                }
            }
        }
    }

    fn answered(&self, sought: &Sought, answer: Answer, began: Instant, probe: bool) {
        let now = monotonic_now();
        let ended = {
            let mut inner = self.inner();
            inner.cache.put(sought.clone(), answer, now);
            if probe {
                inner.breaker.probed(true, now);
            } else {
                inner.breaker.succeeded();
            }
            inner.trouble.take()
        };
        if ended.is_some() {
            log::info!("list {}: answers again", self.settings.name);
        }
        if let Some(figures) = self.figures.get() {
            figures.answered(now.saturating_duration_since(began));
        }
    }

    fn failed(&self, error: &str, probe: bool) {
        let now = monotonic_now();
        let error = escaped(error.as_bytes(), 300).to_string();
        let first = {
            let mut inner = self.inner();
            if probe {
                inner.breaker.probed(false, now);
            } else {
                inner.breaker.failed(now);
            }
            inner.trouble.replace(error.clone()).is_none()
        };
        if first {
            let otherwise = if self.settings.away_listed { "listed" } else { "not listed" };
            log::warn!(
                "list {}: {error}; what it said last holds, values of which it said nothing count as {otherwise}, and \
                 their overrides do not hold",
                self.settings.name
            );
        }
        if let Some(figures) = self.figures.get() {
            figures.failed();
        }
    }
}

/// Takes a question out of those under way when its task ends, in whatever way.
struct Ended<'a> {
    state: &'a State,
    sought: &'a Sought,
    /// It was to find out whether the database is back, and has not.
    probing: bool,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut inner = self.state.inner();
        inner.flights.remove(self.sought);
        if self.probing {
            inner.breaker.probed(false, monotonic_now());
        }
    }
}
