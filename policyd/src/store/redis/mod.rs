//! Counters in Redis or Valkey, which several hosts share: one script a decision, by Redis' clock.
//!
//! `script` turns a question into the arguments of `counters.lua` with `decide.lua` or `release.lua`, `link`
//! carries them there, `breaker` says when there is no use in asking, and `away` decides then; `remote` is the
//! door.

mod away;
mod breaker;
mod link;
mod remote;
mod script;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::{Cmd, Pipeline, Value, from_redis_value};
use tokio::time::timeout;

use crate::limiter::{Moment, Nanos};
use crate::store::{Answer, Ask, Charge, Unavailable, judge};
use away::Away;
pub(crate) use breaker::{Breaker, Way};
pub(crate) use link::Link;
use link::Loaded;
pub use link::{Servers, Topology, check_address};
use script::Decided;

/// How long telling the store what happened while it was away may take for one batch.
const BATCH_TIME: Duration = Duration::from_secs(2);
/// Counters of the journal in one batch.
const BATCH: usize = 32;
/// How often a host says that it is there.
const PRESENCE: Duration = Duration::from_secs(10);
/// A host that has said nothing for so long is not counted.
const GONE: u64 = 60;
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
    inner: Mutex<Inner>,
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
    /// A task tells Redis what was decided alone.
    telling: bool,
    /// Hosts that have said that they are there.
    hosts: u32,
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
            telling: false,
            hosts: settings.hosts.unwrap_or(1),
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
            inner: Mutex::new(inner),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Says every now and then that this host is there, and counts the others; for ever. `host` is a name
    /// that no other has. To be run as a task of its own.
    pub fn stay(&self, host: String) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                shared.present(&host).await;
                tokio::time::sleep(PRESENCE).await;
            }
        }
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
        question: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let begun = base::clock::monotonic_now();
        let limit = self.settings.deadline;
        let answer =
            timeout(limit, question).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
        let now = base::clock::monotonic_now();
        let mut inner = self.inner();
        match &answer {
            Ok(_) => {
                inner.breaker.succeeded();
                inner.questions += 1;
                let taken = now.saturating_duration_since(begun);
                inner.micros = inner.micros.saturating_add(u64::try_from(taken.as_micros()).unwrap_or(0));
                // One or two questions without an answer, which were decided alone.
                if inner.away.is_pending() && inner.breaker.is_closed() && !inner.telling {
                    inner.telling = true;
                    let shared = Arc::clone(self);
                    tokio::spawn(async move {
                        if let Err(why) = shared.come_back().await {
                            log::debug!("store: {why}");
                        }
                        shared.inner().telling = false;
                    });
                }
            }
            Err(why) => {
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
        match self.inner().breaker.way(base::clock::monotonic_now()) {
            Way::Ask => true,
            Way::Without => false,
            Way::Probe => {
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.probe().await });
                false
            }
        }
    }

    /// Tries the store, and when it answers tells it what was counted without it.
    async fn probe(self: Arc<Self>) {
        self.link.broken();
        let outcome = self.come_back().await;
        let now = base::clock::monotonic_now();
        match outcome {
            Ok(counters) => {
                log::warn!("store: Redis is back; {counters} counters were told what it has missed");
            }
            Err(why) => {
                log::debug!("store: Redis is still away: {why}");
                self.inner().breaker.probed(false, now);
            }
        }
    }

    async fn come_back(&self) -> Result<usize, String> {
        self.patiently(&::redis::cmd("PING")).await?;
        self.inner().away.returns();
        let mut told = 0;
        loop {
            let (mut entries, mut releases) = {
                let mut inner = self.inner();
                match inner.away.drain() {
                    Some(all) => all,
                    None => {
                        // Nothing is decided between the last look at the journal and this.
                        inner.breaker.probed(true, base::clock::monotonic_now());
                        return Ok(told);
                    }
                }
            };
            while !(entries.is_empty() && releases.is_empty()) {
                let some = entries.split_off(entries.len().saturating_sub(BATCH));
                let back = releases.split_off(releases.len().saturating_sub(BATCH));
                told += some.len();
                let telling = self.tell(&some, &back);
                let answer = timeout(BATCH_TIME, telling).await.unwrap_or_else(|_| Err("no answer".into()));
                if let Err(why) = answer {
                    entries.extend(some);
                    releases.extend(back);
                    self.inner().away.put_back(entries, releases);
                    return Err(why);
                }
            }
        }
    }

    /// Sends a command that nobody at the SMTP door waits for.
    async fn patiently(&self, command: &Cmd) -> Result<Value, String> {
        let answer = timeout(BATCH_TIME, self.link.ask(command)).await;
        answer.unwrap_or_else(|_| Err(format!("Redis has not answered within {BATCH_TIME:?}")))
    }

    /// Counts what has happened already.
    async fn tell(&self, entries: &[away::Entry], releases: &[Charge]) -> Result<(), String> {
        let Some((last, then)) = self.inner().last else { return Ok(()) };
        let since = base::clock::monotonic_now().saturating_duration_since(then);
        let now = last.now.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(0));
        let at = Moment { now, ..last };
        let mut ask = Ask { settled: true, ..Ask::default() };
        for entry in entries {
            for cost in entry.costs.iter().filter(|cost| **cost > 0) {
                ask.add(&entry.rule, *cost, |buffer| {
                    buffer.extend_from_slice(&entry.key);
                    true
                });
            }
        }
        if !ask.counters().is_empty() {
            self.ask_decide(&ask, true, &at).await?;
        }
        if !releases.is_empty() {
            self.ask_release(releases, &at).await?;
        }
        Ok(())
    }

    async fn ask_decide(&self, ask: &Ask, write: bool, at: &Moment) -> Result<Answer, String> {
        let prefix = &self.settings.prefix;
        let call = {
            let inner = self.inner();
            script::decide(prefix, ask, write, at, |rule, key, index| {
                inner.away.unconfirmed(&script::name(prefix, rule, index, key))
            })
        };
        let value = self.link.run(&self.decide, &call).await?;
        let decided = read(value, ask)?;
        Ok(self.answer(ask, write, at, &decided))
    }

    async fn ask_release(&self, charges: &[Charge], at: &Moment) -> Result<(), String> {
        let call = script::release(&self.settings.prefix, charges, at, |_, _, _| Vec::new());
        self.link.run(&self.release, &call).await.map(|_| ())
    }

    /// What the script has decided, with the figures that its states give; and remembers them.
    fn answer(&self, ask: &Ask, write: bool, at: &Moment, decided: &Decided) -> Answer {
        let ahead = i128::from(decided.now) - i128::from(at.now);
        let at = Moment { now: decided.now, ..*at };
        let mut answer = Answer::default();
        let mut inner = self.inner();
        inner.ahead = i64::try_from(ahead).unwrap_or(0);
        let mut states = decided.states.as_slice();
        for (counter, counted) in ask.counters().iter().zip(&decided.counted) {
            let (own, rest) = states.split_at_checked(counter.rule.levels.len()).unwrap_or((states, &[]));
            states = rest;
            let mut outcome = away::stands(&counter.rule, counter.cost, &at, own);
            outcome.counted = *counted;
            let refused = !ask.settled && !counter.rule.passes(outcome.step);
            let names = script::names(&self.settings.prefix, &counter.rule, ask.key(counter));
            for ((level, name), state) in counter.rule.levels.iter().zip(names).zip(own) {
                let mut new = Vec::new();
                if write && *counted && !refused && counter.cost > 0 {
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
        answer
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

    async fn present(&self, host: &str) {
        if !self.inner().breaker.is_closed() {
            return;
        }
        let name = format!("{{{}}}:hosts", self.settings.prefix);
        let mut commands = Pipeline::new();
        // By this host's clock: a minute's difference does no harm.
        let now = base::clock::unix_now();
        commands.cmd("ZADD").arg(&name).arg(now).arg(host);
        commands.cmd("ZREMRANGEBYSCORE").arg(&name).arg("-inf").arg(now.saturating_sub(GONE));
        commands.cmd("EXPIRE").arg(&name).arg(GONE * 2);
        commands.cmd("ZCARD").arg(&name);
        let answer = timeout(BATCH_TIME, self.link.ask_all(&commands)).await;
        if self.settings.hosts.is_none()
            && let Ok(Ok(values)) = answer
            && let Some(hosts) =
                values.into_iter().last().and_then(|value| from_redis_value::<u32>(value).ok())
        {
            self.inner().hosts = hosts.max(1);
        }
    }

    fn raises_name(&self) -> String {
        format!("{{{}}}:raises", self.settings.prefix)
    }
}

/// Reads the answer of `decide.lua`.
fn read(value: Value, ask: &Ask) -> Result<Decided, String> {
    let broken = || "Redis has given an answer that is none".to_owned();
    let Value::Array(values) = value else { return Err(broken()) };
    let mut values = values.into_iter();
    let mut number = || {
        let value = values.next().ok_or_else(broken)?;
        from_redis_value::<u64>(value).map_err(|error| format!("{}: {error}", broken()))
    };
    let now = script::time(number()?, number()?);
    let refused = number()? == 1;
    let mut counted = Vec::with_capacity(ask.counters().len());
    for _ in ask.counters() {
        counted.push(number()? == 1);
    }
    let mut states = Vec::new();
    for value in values {
        states.push(from_redis_value::<Vec<u8>>(value).map_err(|error| format!("{}: {error}", broken()))?);
    }
    let levels: usize = ask.counters().iter().map(|counter| counter.rule.levels.len()).sum();
    if states.len() != levels {
        return Err(broken());
    }
    Ok(Decided { now, refused, counted, states })
}
