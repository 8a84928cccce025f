//! Where counters live: what a store is asked, and what it answers.
//!
//! A decision is one question about several counters (a key of a limit each, with all its levels), and all
//! or nothing: see [`judge`]. Stores in this process answer it at once ([`Local`]: [`memory`], and [`mod@file`],
//! which is a memory that writes itself down); one that others share ([`Remote`]) answers in a while.
//!
//! Time is an argument for the local ones: nanoseconds of a clock that never goes back and is 1970's as well
//! as the machine knew it when counting began. A remote store has a clock of its own.

mod arena;
pub mod file;
pub mod memory;
mod table;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::limiter::{Level, Moment, Nanos};

/// The most levels of one limit.
pub const MOST_LEVELS: usize = 6;
/// The most steps of one limit.
pub const MOST_STEPS: usize = 8;
/// The longest key of a counter, in bytes; longer ones are shortened by a hash (see [`crate::key`]).
pub const LONGEST_KEY: usize = 512;

/// The number by which a store knows a limit's name while it runs ([`Local::limit`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LimitId(pub u16);

/// A limit as a store sees it. One of a key with an override has other levels and the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which its counters go by across restarts and machines.
    pub name: Arc<str>,
    /// The store's number for it.
    pub id: LimitId,
    /// Its levels, 1 to [`MOST_LEVELS`].
    pub levels: Box<[Level]>,
    /// What it does from which multiple of a level's limit on, in rising order, the first at 1×; 1 to
    /// [`MOST_STEPS`].
    pub steps: Box<[Step]>,
    /// Count what is refused as well, up to a little over the last step.
    pub count_refused: bool,
    /// Refuse nothing.
    pub dry_run: bool,
    /// Counters it may have at a time; further keys are [`Unavailable::Full`].
    pub max_keys: u32,
}

/// One step of a limit: see [`Rule::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The multiple of the limit above which it applies, in hundredths.
    pub hundredths: u32,
    /// Whether it lets the message pass (HOLD, WARN and such), so that it is counted.
    pub passes: bool,
}

impl Rule {
    /// The step that holds for a total, if it is above what is allowed.
    #[must_use]
    pub fn step(&self, total: u64, allowed: u64) -> Option<u8> {
        if total <= allowed {
            return None;
        }
        let hundred = u128::from(total) * 100;
        let above = |step: &Step| hundred > u128::from(allowed) * u128::from(step.hundredths);
        let at = self.steps.iter().rposition(above).unwrap_or(0);
        u8::try_from(at).ok()
    }

    /// Up to which total refused things are counted: a limit more than the last step needs.
    #[must_use]
    pub fn ceiling(&self, allowed: u64) -> u64 {
        let last = self.steps.last().map_or(100, |step| step.hundredths);
        let most = u128::from(allowed) * (u128::from(last) + 100) / 100 + 1;
        u64::try_from(most).unwrap_or(u64::MAX)
    }

    /// Whether a step lets the message pass; true where there is none.
    #[must_use]
    pub fn passes(&self, step: Option<u8>) -> bool {
        step.is_none_or(|step| self.steps.get(usize::from(step)).is_none_or(|step| step.passes))
    }
}

/// One counter in a question.
#[derive(Debug, Clone)]
pub struct Counter {
    /// The limit, with the levels that hold for this key.
    pub rule: Arc<Rule>,
    /// Where the key stands in [`Ask::keys`].
    key: (u32, u32),
    /// Units to count, or the member of [`crate::limiter::Algorithm::Distinct`].
    pub cost: u64,
}

/// A question: may all this be counted?
#[derive(Debug, Clone, Default)]
pub struct Ask {
    keys: Vec<u8>,
    counters: Vec<Counter>,
    /// Count without asking whether it fits: what has happened already.
    pub settled: bool,
}

impl Ask {
    /// A question about nothing, in the memory of the last one.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.counters.clear();
        self.settled = false;
    }

    /// Adds a counter whose key `write` puts at the end of a buffer; none when it says false.
    pub fn add(&mut self, rule: &Arc<Rule>, cost: u64, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let start = self.keys.len();
        if !write(&mut self.keys) {
            self.keys.truncate(start);
            return false;
        }
        let at = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let key = (at(start), at(self.keys.len()));
        self.counters.push(Counter { rule: Arc::clone(rule), key, cost });
        true
    }

    /// Adds the counters of another question.
    pub fn append(&mut self, other: &Self) {
        self.settled |= other.settled;
        for counter in &other.counters {
            self.add(&counter.rule, counter.cost, |keys| {
                keys.extend_from_slice(other.key(counter));
                true
            });
        }
    }

    /// Leaves out the counters of a limit.
    pub fn leave_out(&mut self, name: &str) {
        self.counters.retain(|counter| &*counter.rule.name != name);
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> &[Counter] {
        &self.counters
    }

    /// Its counters, to change rules and costs.
    pub fn counters_mut(&mut self) -> &mut [Counter] {
        &mut self.counters
    }

    /// A counter's key.
    #[must_use]
    pub fn key(&self, counter: &Counter) -> &[u8] {
        let (start, end) = counter.key;
        self.keys.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// What became of one counter of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Whether the cost was counted.
    pub counted: bool,
    /// The step that holds, when a level is over.
    pub step: Option<u8>,
    /// The level that is over the most, or nearest to it.
    pub level: u8,
    /// Units in use at that level before this.
    pub used: u64,
    /// What is allowed there.
    pub allowed: u64,
    /// How long until the cost fits everywhere; `None` when it never does, being greater than a limit.
    pub retry_after: Option<Nanos>,
}

/// An answer: whether all passed, and one [`Outcome`] for each counter, in order.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Whether a counter refuses: a step that does not pass, of a limit that is no dry run.
    pub refused: bool,
    /// The counters' outcomes.
    pub outcomes: Vec<Outcome>,
}

/// What the rules say of standings: which counters count, and whether the whole is refused. The one place
/// that says so for all stores (the script of the remote store does the same).
///
/// A counter within its limit counts if nothing refuses. One over it counts if its step passes and nothing
/// else refuses, or always with `count_refused` (up to [`Rule::ceiling`]); in a dry run what would have been
/// refused is not counted, so that the figures are those of the real thing.
pub fn judge<'a>(rules: impl Iterator<Item = &'a Rule> + Clone, settled: bool, answer: &mut Answer) {
    let refuses = |rule: &Rule, outcome: &Outcome| !rule.dry_run && !rule.passes(outcome.step);
    answer.refused =
        !settled && rules.clone().zip(&answer.outcomes).any(|(rule, outcome)| refuses(rule, outcome));
    let refused = answer.refused;
    for (rule, outcome) in rules.zip(&mut answer.outcomes) {
        let itself = rule.passes(outcome.step);
        outcome.counted = settled || rule.count_refused || (itself && !refused);
    }
}

/// Something that was counted and may be taken back.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The limit, with the levels it was counted by.
    pub rule: Arc<Rule>,
    /// The key.
    pub key: Box<[u8]>,
    /// The cost.
    pub cost: u64,
    /// When, by the store's time.
    pub when: Nanos,
}

/// How one level of a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Units in use.
    pub used: u64,
    /// What is allowed.
    pub allowed: u64,
    /// How long until one unit more fits.
    pub retry_after: Nanos,
}

/// A key with how it stands at each level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The limit's name.
    pub limit: Arc<str>,
    /// The key, as it is written for people: see [`crate::key::shown`].
    pub key: Box<[u8]>,
    /// Its levels, in the order of the rule.
    pub levels: Vec<Use>,
}

/// Another limit for one key, until a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// The limit's name.
    pub limit: Arc<str>,
    /// The key.
    pub key: Box<[u8]>,
    /// Every level allows so much more, in hundredths: 200 is twice as much.
    pub hundredths: u32,
    /// Until when, in seconds since 1970 (the wall clock's).
    pub until: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// The limit of this name has as many keys as it may have.
    Full(Arc<str>),
    /// The store is away; the sentence is for the log.
    Away(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(name) => write!(f, "limit {name} holds as many keys as max_keys allows"),
            Self::Away(why) => f.write_str(why),
        }
    }
}

/// What a store says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Keys held, by limit.
    pub keys: Vec<(Arc<str>, u64)>,
    /// Bytes that they take.
    pub bytes: u64,
    /// Questions answered [`Unavailable::Full`].
    pub full: u64,
    /// Writes to disk that failed.
    pub write_errors: u64,
    /// When all was written last, in seconds since 1970; `None` where nothing is.
    pub written: Option<u64>,
}

/// A store in this process. It answers at once, and allocates nothing for keys it knows.
pub trait Local: Send {
    /// The number of a limit's name; the same until the store is dropped.
    fn limit(&mut self, name: &str) -> LimitId;

    /// The rules in force, whose levels say when a key is over; after a start and a reload. What lies ahead
    /// of now is mended: the clock was wrong when it was written, or is now.
    fn in_force(&mut self, rules: &[Arc<Rule>], at: &Moment);

    /// Decides and counts in one step.
    ///
    /// # Errors
    /// [`Unavailable::Full`]; nothing has been counted then.
    fn decide(&mut self, ask: &Ask, at: &Moment, answer: &mut Answer) -> Result<(), Unavailable>;

    /// What [`Local::decide`] would answer, counting nothing.
    fn peek(&self, ask: &Ask, at: &Moment, answer: &mut Answer);

    /// Takes back what was counted.
    fn release(&mut self, charges: &[Charge], at: &Moment);

    /// How a key stands.
    fn stands(&self, rule: &Rule, key: &[u8], at: &Moment) -> Vec<Use>;

    /// Forgets what a key has used; whether there was anything.
    fn reset(&mut self, limit: LimitId, key: &[u8]) -> bool;

    /// The keys of a limit that are nearest to its levels, at most `count` of them.
    fn top(&self, rule: &Rule, count: usize, at: &Moment) -> Vec<Held>;

    /// Raises a key's limit, in place of what was raised before; hundredths of 100 end it.
    fn raise(&mut self, raise: Raise);

    /// What is raised, past ones left out. `now` is in seconds since 1970.
    fn raises(&self, now: u64) -> Vec<Raise>;

    /// Forgets some of what is over; to be called every few milliseconds.
    fn sweep(&mut self, at: &Moment);

    /// Whether it is time to [`Local::flush`]: something has changed, some time has passed, and the disk
    /// is ready.
    fn wants_flush(&self, at: &Moment) -> bool;

    /// Hands what has changed to the disk, if there is one; with `last`, waits until it is written.
    fn flush(&mut self, at: &Moment, last: bool);

    /// A small text that is kept with the counters, by its name ([`Local::note`]).
    fn noted(&self, name: &str) -> Option<Vec<u8>>;

    /// Keeps a small text with the counters: what is not a counter and must outlive a restart. One whose
    /// name begins with a dot is written when something else is.
    fn note(&mut self, name: &str, value: Vec<u8>);

    /// Figures for the metrics.
    fn figures(&self) -> Figures;
}

/// An answer that takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// A store that several machines share. It answers within its deadline, and has a clock of its own: the
/// moment that is passed gives the calendar's periods, and the time for whoever decides while it is away.
pub trait Remote: Send + Sync + fmt::Debug {
    /// See [`Local::decide`]. Charges of what was counted hold the time of `at` unless the answer brings
    /// its own.
    fn decide<'a>(&'a self, ask: &'a Ask, at: &'a Moment) -> Later<'a, Answer>;

    /// See [`Local::peek`].
    fn peek<'a>(&'a self, ask: &'a Ask, at: &'a Moment) -> Later<'a, Answer>;

    /// See [`Local::release`].
    fn release<'a>(&'a self, charges: Vec<Charge>, at: &'a Moment) -> Later<'a, ()>;

    /// See [`Local::stands`].
    fn stands<'a>(&'a self, rule: &'a Rule, key: &'a [u8], at: &'a Moment) -> Later<'a, Vec<Use>>;

    /// See [`Local::reset`].
    fn reset<'a>(&'a self, rule: &'a Rule, key: &'a [u8]) -> Later<'a, bool>;

    /// See [`Local::top`].
    fn top<'a>(&'a self, rule: &'a Rule, count: usize, at: &'a Moment) -> Later<'a, Vec<Held>>;

    /// See [`Local::raise`].
    fn raise(&self, raise: Raise) -> Later<'_, ()>;

    /// See [`Local::raises`].
    fn raises(&self, now: u64) -> Later<'_, Vec<Raise>>;

    /// Figures for the metrics.
    fn figures(&self) -> Figures;
}
