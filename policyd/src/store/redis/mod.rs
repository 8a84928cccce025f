//! Counters in Redis or Valkey, which several hosts share: one script a decision, by Redis' clock.
//!
//! `script` turns a question into the arguments of `counters.lua` with `decide.lua` or `release.lua`, `link`
//! carries them there, `breaker` says when there is no use in asking, and `away` decides then; `returning` gives
//! back what Redis has lost and tells it what it has missed; `remote` is the door.

mod away;
mod breaker;
mod link;
mod remote;
mod returning;
mod script;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::{Cmd, Value, from_redis_value};
use tokio::time::timeout;

use crate::limiter::{Moment, Nanos};
use crate::store::{Answer, Ask, Charge, Raise, Unavailable, judge};
use away::Away;
pub(crate) use breaker::{Breaker, Way};
pub(crate) use link::Link;
use link::Loaded;
pub use link::{Servers, Topology, check_address};
use script::{Call, Decided, Done};

/// How long telling the store what happened while it was away may take for one batch.
const BATCH_TIME: Duration = Duration::from_secs(2);
/// The most raises that are read.
const MOST_RAISES: usize = 10_000;

/// `[store]` with `driver = "redis"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the servers are.
    pub servers: Servers,
    /// What all names in Redis begin with, in braces.
    pub prefix: String,
    /// Within which time a question is answered, by Redis or without it.
    pub deadline: Duration,
    /// Whether this host decides by its share of the limits while the store is away.
    pub fallback: bool,
    /// How many hosts share the limits; found out when `None`.
    pub hosts: Option<u32>,
}

/// The shared store.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    link: Link,
    decide: Loaded,
    release: Loaded,
    give: Loaded,
    begin: Loaded,
    entering: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

/// Why Redis has not done what it was asked.
#[derive(Debug)]
enum Trouble {
    /// It is not in the reign that this host knows: see `begin.lua`.
    Reign,
    /// It cannot be asked; the sentence is for the log.
    Away(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Away(why)
    }
}

/// What changes.
#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    away: Away,
    /// The moment of the last question, by our time.
    last: Option<(Moment, Instant)>,
    /// What Redis' clock is ahead of our time, in nanoseconds.
    ahead: i64,
    /// Since when Redis has lost nothing, as it says itself; empty before it was asked.
    reign: String,
    /// What this host is called among those that share the limits.
    host: String,
    /// A task gives back to Redis what it has lost, and tells it what was decided alone.
    returning: bool,
    /// Hosts that have said that they are there, and when they were so many.
    hosts: u32,
    hosts_at: Option<Instant>,
    /// What was raised when Redis was last asked.
    raises: Vec<Raise>,
    /// The reign to which it was given back.
    raises_epoch: u32,
    failures: u64,
    alone: u64,
    micros: u64,
    questions: u64,
}

impl Inner {
    /// Our time as Redis' time, by its last answer.
    fn their_time(&self, when: Nanos) -> Nanos {
        when.saturating_add_signed(self.ahead)
    }

    /// Whether raises are known that Redis may have lost.
    fn has_raises(&self) -> bool {
        !self.raises.is_empty() && self.raises_epoch != self.away.epoch()
    }

    /// A moment of ours as one of Redis'.
    fn theirs(&self, at: &Moment) -> Moment {
        Moment { now: self.their_time(at.now), ..*at }
    }
}

/// What the store is like at the moment, for metrics and `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Whether it is asked; else this host decides alone.
    pub connected: bool,
    /// Questions that it has answered.
    pub answered: u64,
    /// Questions that it has not answered in time.
    pub failures: u64,
    /// Questions decided alone.
    pub alone: u64,
    /// Microseconds that all its answers took.
    pub micros: u64,
    /// Hosts that share the limits.
    pub hosts: u32,
    /// Counters that this host remembers, level by level.
    pub remembered: u64,
    /// Things counted alone that there was no room to remember.
    pub lost: u64,
}

impl Redis {
    /// A store that is not connected yet: it connects at the first question, or by [`Redis::stay`].
    ///
    /// # Errors
    /// A sentence: the CA certificates cannot be read, or an address is none.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let link = Link::new(settings.servers.clone())?;
        let inner = Inner {
            breaker: Breaker::new(),
            away: Away::default(),
            last: None,
            ahead: 0,
            reign: String::new(),
            host: String::new(),
            returning: false,
            hosts: settings.hosts.unwrap_or(1),
            hosts_at: None,
            raises: Vec::new(),
            raises_epoch: 0,
            failures: 0,
            alone: 0,
            micros: 0,
            questions: 0,
        };
        let shared = Shared {
            settings,
            link,
            decide: Loaded::new(&script::DECIDE),
            release: Loaded::new(&script::RELEASE),
            give: Loaded::new(&script::GIVE),
            begin: Loaded::new(&script::BEGIN),
            entering: tokio::sync::Mutex::default(),
            inner: Mutex::new(inner),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Looks every second whether Redis has lost something, says now and then that this host is there, and counts
    /// the others; for ever. `host` is a name that no other has. To be run as a task of its own.
    pub fn stay(&self, host: String) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        shared.inner().host = host;
        async move { shared.stay().await }
    }

    /// What it is like at the moment.
    #[must_use]
    pub fn state(&self) -> State {
        let inner = self.shared.inner();
        State {
            connected: inner.breaker.is_closed(),
            answered: inner.questions,
            failures: inner.failures,
            alone: inner.alone,
            micros: inner.micros,
            hosts: inner.hosts,
            remembered: u64::try_from(inner.away.len()).unwrap_or(u64::MAX),
            lost: inner.away.lost,
        }
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the store within the deadline, and keeps the books about it.
    async fn within<T>(
        self: &Arc<Self>,
        question: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let begun = base::clock::monotonic_now();
        let limit = self.settings.deadline;
        let answer = timeout(limit, question)
            .await
            .unwrap_or_else(|_| Err(Trouble::Away(format!("no answer within {limit:?}"))));
        let now = base::clock::monotonic_now();
        let mut inner = self.inner();
        match &answer {
            Ok(_) => {
                inner.breaker.succeeded();
                inner.questions += 1;
                let taken = now.saturating_duration_since(begun);
                inner.micros = inner.micros.saturating_add(u64::try_from(taken.as_micros()).unwrap_or(0));
                // One or two questions without an answer, which were decided alone.
                if inner.away.is_pending() && inner.breaker.is_closed() {
                    self.returns(&mut inner);
                }
            }
            Err(Trouble::Reign) => inner.breaker.succeeded(),
            Err(Trouble::Away(why)) => {
                inner.failures += 1;
                if inner.breaker.failed(now) {
                    let way = if self.settings.fallback { "by this host's share" } else { "without it" };
                    log::warn!("store: Redis is away, limits are decided {way}: {why}");
                }
            }
        }
        answer
    }

    /// Whether to ask the store; starts a probe when it is time.
    fn way(self: &Arc<Self>) -> bool {
        let mut inner = self.inner();
        match inner.breaker.way(base::clock::monotonic_now()) {
            Way::Ask => true,
            Way::Without => false,
            Way::Probe => {
                self.link.broken();
                self.returns(&mut inner);
                false
            }
        }
    }

    /// Sends a command that nobody at the SMTP door waits for.
    async fn patiently(&self, command: &Cmd) -> Result<Value, String> {
        let answer = timeout(BATCH_TIME, self.link.ask(command)).await;
        answer.unwrap_or_else(|_| Err(format!("Redis has not answered within {BATCH_TIME:?}")))
    }

    /// Runs a script in the reign that this host knows.
    async fn run(&self, script: &Loaded, call: &Call) -> Result<Value, Trouble> {
        match self.link.run(script, call).await? {
            None | Some(Value::BulkString(_)) => Err(Trouble::Reign),
            Some(value) => Ok(value),
        }
    }

    /// Asks, and where Redis is in another reign once more in that, if this host has nothing to do first.
    async fn ask(self: &Arc<Self>, ask: &Ask, write: bool, at: &Moment) -> Result<Answer, Trouble> {
        let reign = self.inner().reign.clone();
        match self.ask_decide(ask, write, at).await {
            Err(Trouble::Reign) => {
                self.enter_from(&reign).await?;
                if !self.inner().breaker.is_closed() {
                    return Err(Trouble::Reign);
                }
                self.ask_decide(ask, write, at).await
            }
            answer => answer,
        }
    }

    async fn ask_decide(&self, ask: &Ask, write: bool, at: &Moment) -> Result<Answer, Trouble> {
        let prefix = &self.settings.prefix;
        let (call, epoch) = {
            let inner = self.inner();
            let call = script::decide(prefix, &inner.reign, ask, write, at, |rule, key, index| {
                inner.away.unconfirmed(&script::name(prefix, rule, index, key))
            });
            (call, inner.away.epoch())
        };
        let decided = read(self.run(&self.decide, &call).await?, ask)?;
        self.answer(ask, write, at, &decided, epoch)
    }

    async fn ask_release(&self, charges: &[Charge], at: &Moment) -> Result<(), Trouble> {
        let prefix = &self.settings.prefix;
        let (call, epoch) = {
            let inner = self.inner();
            let call = script::release(prefix, &inner.reign, charges, at, |rule, key, index| {
                inner.away.unconfirmed(&script::name(prefix, rule, index, key))
            });
            (call, inner.away.epoch())
        };
        let done = read_done(self.run(&self.release, &call).await?)?;
        let at = Moment { now: done.now, ..*at };
        let mut inner = self.inner();
        let mut states = done.states.into_iter();
        for charge in charges {
            let names = script::names(prefix, &charge.rule, &charge.key);
            for ((level, name), state) in charge.rule.levels.iter().zip(names).zip(&mut states) {
                if inner.away.epoch() == epoch {
                    inner.away.learn(name, level, &state, &at);
                }
            }
        }
        Ok(())
    }

    /// What the script has decided, with the figures that its states give; and remembers them.
    ///
    /// Where another reign has begun meanwhile, what this one has counted may be lost already, and what is
    /// remembered was given back without it: then it is no answer.
    fn answer(
        &self,
        ask: &Ask,
        write: bool,
        at: &Moment,
        decided: &Decided,
        epoch: u32,
    ) -> Result<Answer, Trouble> {
        let ahead = i128::from(decided.now) - i128::from(at.now);
        let at = Moment { now: decided.now, ..*at };
        let mut answer = Answer::default();
        let mut inner = self.inner();
        if inner.away.epoch() != epoch {
            return Err(Trouble::Reign);
        }
        inner.ahead = i64::try_from(ahead).unwrap_or(0);
        let mut states = decided.states.as_slice();
        for (counter, counted) in ask.counters().iter().zip(&decided.counted) {
            let (own, rest) = states.split_at_checked(counter.rule.levels.len()).unwrap_or((states, &[]));
            states = rest;
            let mut outcome = away::stands(&counter.rule, counter.cost, &at, own);
            outcome.counted = *counted;
            let passes = ask.settled || counter.rule.passes(outcome.step);
            let names = script::names(&self.settings.prefix, &counter.rule, ask.key(counter));
            for ((level, name), state) in counter.rule.levels.iter().zip(names).zip(own) {
                let mut new = Vec::new();
                let fits = || {
                    let total = level.stands(state, counter.cost, &at).total;
                    total <= counter.rule.ceiling(level.allowed())
                };
                if write && *counted && counter.cost > 0 && (passes || fits()) {
                    level.add(state, counter.cost, &at, &mut new);
                } else {
                    new.clone_from(state);
                }
                inner.away.learn(name, level, &new, &at);
            }
            answer.outcomes.push(outcome);
        }
        let counted = decided.counted.clone();
        judge(ask.counters().iter().map(|counter| &*counter.rule), ask.settled, &mut answer);
        // The script has the last word: it is what was done.
        answer.refused = decided.refused;
        for (outcome, counted) in answer.outcomes.iter_mut().zip(counted) {
            outcome.counted = counted;
        }
        Ok(answer)
    }

    /// Decides without the store.
    fn alone(&self, ask: &Ask, write: bool, at: &Moment) -> Result<Answer, Unavailable> {
        if !self.settings.fallback {
            return Err(Unavailable::Away("Redis is away".into()));
        }
        let mut inner = self.inner();
        inner.alone += 1;
        let (hosts, at) = (inner.hosts, inner.theirs(at));
        Ok(inner.away.decide(&self.settings.prefix, ask, hosts, write, &at))
    }

    fn raises_name(&self) -> String {
        format!("{{{}}}:raises", self.settings.prefix)
    }
}

fn broken() -> String {
    "Redis has given an answer that is none".to_owned()
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("{}: {error}", broken())
}

/// Reads the answer of `give.lua` and `release.lua`.
fn read_done(value: Value) -> Result<Done, String> {
    let (sec, micro, states) = match value {
        Value::Array(mut values) if values.len() >= 2 => {
            let states = values.split_off(2);
            let mut values = values.into_iter().map(from_redis_value::<u64>);
            (values.next(), values.next(), states)
        }
        _ => return Err(broken()),
    };
    let (Some(Ok(sec)), Some(Ok(micro))) = (sec, micro) else { return Err(broken()) };
    let states = states.into_iter().map(from_redis_value::<Vec<u8>>).collect::<Result<_, _>>();
    Ok(Done { now: script::time(sec, micro), states: states.map_err(unreadable)? })
}

/// Reads the answer of `decide.lua`.
fn read(value: Value, ask: &Ask) -> Result<Decided, String> {
    let Value::Array(values) = value else { return Err(broken()) };
    let mut values = values.into_iter();
    let mut number = || {
        let value = values.next().ok_or_else(broken)?;
        from_redis_value::<u64>(value).map_err(unreadable)
    };
    let now = script::time(number()?, number()?);
    let refused = number()? == 1;
    let mut counted = Vec::with_capacity(ask.counters().len());
    for _ in ask.counters() {
        counted.push(number()? == 1);
    }
    let mut states = Vec::new();
    for value in values {
        states.push(from_redis_value::<Vec<u8>>(value).map_err(unreadable)?);
    }
    let levels: usize = ask.counters().iter().map(|counter| counter.rule.levels.len()).sum();
    if states.len() != levels {
        return Err(broken());
    }
    Ok(Decided { now, refused, counted, states })
}
