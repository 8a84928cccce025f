//! Being one of several hosts of a store that goes and comes back: what it has lost is given back to it, and what
//! was decided without it is told, before it is asked again.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, cmd, from_redis_value};
use tokio::time::{sleep, timeout};

use super::away::{Entry, View};
use super::script::Done;
use super::{BATCH_TIME, Inner, Shared, Trouble, broken, read_done, script, unreadable};
use crate::limiter::{Bounds, Moment};
use crate::store::{Ask, Charge, Raise};

/// Levels that are given back in one batch, and counters of the journal in one.
const BATCH: usize = 32;
/// How often a host looks whether Redis has lost something.
const LOOK: Duration = Duration::from_secs(1);
/// How often a host says that it is there, in looks.
const PRESENCE: u32 = 10;
/// A host that has said nothing for so long is not counted.
const GONE: u64 = 60;
/// How long to wait for the other hosts to give back what they know, before asking whether they have.
const WAIT: Duration = Duration::from_millis(100);
/// How often at most that is asked: `begin.lua` waits for ten seconds.
const ROUNDS: u32 = 300;
/// How often the journal is told before some of it may wait until Redis decides again.
const TELLINGS: u32 = 100;

impl Shared {
    /// See [`super::Redis::stay`].
    pub(super) async fn stay(self: &Arc<Self>) {
        let mut looks: u32 = 0;
        loop {
            self.look().await;
            // More often at first: others may have come with this one.
            if (looks < PRESENCE || looks.is_multiple_of(PRESENCE)) && self.inner().breaker.is_closed() {
                self.present().await;
            }
            looks = looks.wrapping_add(1);
            sleep(LOOK).await;
        }
    }

    /// Whether Redis is in another reign, or is back, also where nobody asks anything.
    async fn look(self: &Arc<Self>) {
        if !self.way() {
            return;
        }
        let mut get = cmd("GET");
        get.arg(script::reign_name(&self.settings.prefix));
        let Ok(value) = self.patiently(&get).await else { return };
        let reign = from_redis_value::<Option<String>>(value).ok().flatten().unwrap_or_default();
        let known = self.inner().reign.clone();
        if reign.is_empty() || reign != known {
            if let Err(why) = self.enter_patiently(false).await {
                log::debug!("store: {why}");
            }
            return;
        }
        let mut inner = self.inner();
        if inner.away.has_views() || inner.away.is_pending() {
            self.returns(&mut inner);
        }
    }

    /// Says that this host is there, and counts the others.
    async fn present(&self) {
        let name = format!("{{{}}}:hosts", self.settings.prefix);
        let host = self.inner().host.clone();
        let mut commands = Pipeline::new();
        // By this host's clock: a minute's difference does no harm.
        let now = base::clock::unix_now();
        commands.cmd("ZADD").arg(&name).arg(now).arg(host);
        commands.cmd("ZREMRANGEBYSCORE").arg(&name).arg("-inf").arg(now.saturating_sub(GONE));
        commands.cmd("EXPIRE").arg(&name).arg(GONE * 2);
        commands.cmd("ZCARD").arg(&name);
        let Ok(Ok(values)) = timeout(BATCH_TIME, self.link.ask_all(&commands)).await else { return };
        let hosts = values.into_iter().last().and_then(|value| from_redis_value::<u32>(value).ok());
        if self.settings.hosts.is_none()
            && let Some(hosts) = hosts
        {
            let mut inner = self.inner();
            let now = base::clock::monotonic_now();
            let since = inner.hosts_at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
            // A Redis that was emptied has forgotten them; they are there all the same.
            if hosts >= inner.hosts || since.as_secs() >= GONE {
                (inner.hosts, inner.hosts_at) = (hosts.max(1), Some(now));
            }
        }
    }

    /// Starts to give back and to tell, unless that is under way.
    pub(super) fn returns(self: &Arc<Self>, inner: &mut Inner) {
        if inner.returning {
            return;
        }
        inner.returning = true;
        let was_away = !inner.breaker.is_closed();
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            match shared.come_back().await {
                Ok((0, 0)) if !was_away => {}
                Ok((told, 0)) if !was_away => log::debug!("store: {told} counters were told late"),
                Ok((told, given)) => {
                    let again = if was_away { "Redis is back" } else { "Redis has lost what it held" };
                    log::warn!(
                        "store: {again}; {told} counters were told what it has missed, {given} given back"
                    );
                }
                Err(why) => log::debug!("store: Redis is still away: {why}"),
            }
        });
    }

    /// Gives back and tells until Redis can be asked again; the numbers of counters told and levels given back.
    async fn come_back(self: &Arc<Self>) -> Result<(usize, usize), String> {
        let (mut told, mut given) = (0, 0);
        let outcome = self.come_back_counting(&mut told, &mut given).await;
        let mut inner = self.inner();
        if outcome.is_err() {
            inner.returning = false;
            if !inner.breaker.is_closed() {
                inner.breaker.probed(false, base::clock::monotonic_now());
            }
        }
        outcome.map(|()| (told, given))
    }

    async fn come_back_counting(self: &Arc<Self>, told: &mut usize, given: &mut usize) -> Result<(), String> {
        let mut all_given = false;
        for round in 0..ROUNDS {
            let before = self.inner().away.epoch();
            let open = self.enter_patiently(all_given).await?;
            if self.inner().away.epoch() != before {
                all_given = false;
            }
            match self.give_and_tell(told, given).await {
                Ok(()) => {}
                Err(Trouble::Reign) => {
                    all_given = false;
                    continue;
                }
                Err(Trouble::Away(why)) => return Err(why),
            }
            // Without a share of its own a host does not wait for the others.
            let may_ask = open || (all_given && !self.settings.fallback);
            if may_ask && self.finish(round) {
                return Ok(());
            }
            if all_given && !open {
                sleep(WAIT).await;
            }
            all_given = true;
        }
        Err("it is emptied again and again".into())
    }

    /// Lets Redis be asked again, unless something was decided alone meanwhile. Nothing is, between the look at the
    /// journal and this.
    fn finish(&self, round: u32) -> bool {
        let mut inner = self.inner();
        if inner.away.has_views() || (inner.away.is_pending() && round < TELLINGS) {
            return false;
        }
        inner.away.told();
        inner.returning = false;
        if !inner.breaker.is_closed() {
            inner.breaker.probed(true, base::clock::monotonic_now());
        }
        true
    }

    async fn enter_patiently(self: &Arc<Self>, all_given: bool) -> Result<bool, String> {
        let entered = timeout(BATCH_TIME, self.enter(all_given)).await;
        entered.unwrap_or_else(|_| Err(format!("Redis has not answered within {BATCH_TIME:?}")))
    }

    /// Asks in which reign Redis is and sees to it that it knows the scripts; whether counters may be asked about.
    /// In another reign than before what is remembered is given back, and this host decides alone until then.
    pub(super) async fn enter(self: &Arc<Self>, all_given: bool) -> Result<bool, String> {
        let _one_at_a_time = self.entering.lock().await;
        self.enter_alone(all_given).await
    }

    /// The same, unless it was done meanwhile for another question that came out of this reign.
    pub(super) async fn enter_from(self: &Arc<Self>, reign: &str) -> Result<(), String> {
        let _one_at_a_time = self.entering.lock().await;
        let done = {
            let inner = self.inner();
            inner.reign != reign || !inner.breaker.is_closed()
        };
        if !done {
            self.enter_alone(false).await?;
        }
        Ok(())
    }

    async fn enter_alone(self: &Arc<Self>, all_given: bool) -> Result<bool, String> {
        let prefix = &self.settings.prefix;
        let (known, host, hosts, given) = {
            let inner = self.inner();
            let given = match all_given {
                _ if inner.away.is_empty() => 2,
                all => u8::from(all),
            };
            (inner.reign.clone(), inner.host.clone(), inner.hosts, given)
        };
        let strange = self.link.run(&self.decide, &script::idle(prefix, &known)).await?.is_none();
        let begin = script::begin(prefix, &known, strange, &host, hosts, given);
        let (reign, open) = read_begun(self.link.load(&self.begin, &begin).await?)?;
        if strange || reign != known {
            // Before this host asks anything in it: a script that is not known says that the server is strange.
            for script in [&self.decide, &self.release, &self.give] {
                self.link.load(script, &script::idle(prefix, &reign)).await?;
            }
        }
        let mut inner = self.inner();
        if inner.reign != reign {
            inner.away.reigns(script::born(&reign));
            inner.reign = reign;
        }
        if !open || inner.has_raises() || inner.away.has_views() || inner.away.is_pending() {
            self.returns(&mut inner);
            if self.settings.fallback {
                inner.breaker.leave();
            }
        }
        Ok(open)
    }

    /// Gives back what is remembered from before this reign, then tells what was decided alone.
    async fn give_and_tell(&self, told: &mut usize, given: &mut usize) -> Result<(), Trouble> {
        let at = self.present_moment();
        loop {
            let (views, reign, epoch) = {
                let mut inner = self.inner();
                (inner.away.next_views(BATCH), inner.reign.clone(), inner.away.epoch())
            };
            if views.is_empty() {
                break;
            }
            let count = views.len();
            let outcome = self.give_views(&views, &reign, &at).await;
            let mut inner = self.inner();
            match outcome {
                Ok(done) => inner.away.given(views, &done.states, epoch, &Moment { now: done.now, ..at }),
                Err(trouble) => {
                    inner.away.not_given(views, epoch);
                    return Err(trouble);
                }
            }
            *given += count;
        }
        self.give_raises(at.now).await?;
        let (mut entries, mut releases) = self.inner().away.drain();
        while !(entries.is_empty() && releases.is_empty()) {
            let some = entries.split_off(entries.len().saturating_sub(BATCH));
            if let Err(trouble) = self.tell(&some).await {
                entries.extend(some);
                self.inner().away.put_back(entries, releases);
                return Err(trouble);
            }
            *told += some.len();
            let back = releases.split_off(releases.len().saturating_sub(BATCH));
            if let Err(trouble) = self.tell_released(&back).await {
                releases.extend(back);
                self.inner().away.put_back(entries, releases);
                return Err(trouble);
            }
        }
        Ok(())
    }

    async fn give_views(&self, views: &[View], reign: &str, at: &Moment) -> Result<Done, Trouble> {
        let levels = views.iter().map(|view| (&*view.name, &view.level, &*view.state));
        let call = script::give(&self.settings.prefix, reign, levels, at);
        Ok(read_done(self.in_time(self.run(&self.give, &call)).await?)?)
    }

    /// What was raised ends when it was to end, and not with the memory of Redis.
    async fn give_raises(&self, now: u64) -> Result<(), Trouble> {
        let (raises, epoch) = {
            let inner = self.inner();
            let raises = if inner.has_raises() { inner.raises.clone() } else { Vec::new() };
            (raises, inner.away.epoch())
        };
        let now = now / crate::limiter::SECOND;
        let mut commands = Pipeline::new();
        for raise in raises.iter().filter(|raise| raise.until > now) {
            let (field, text) = raise_fields(raise);
            commands.cmd("HSETNX").arg(self.raises_name()).arg(field).arg(text);
        }
        if commands.cmd_iter().count() > 0 {
            self.in_time(async { self.link.ask_all(&commands).await.map_err(Trouble::Away) }).await?;
        }
        self.inner().raises_epoch = epoch;
        Ok(())
    }

    async fn in_time<T>(&self, what: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        timeout(BATCH_TIME, what).await.unwrap_or_else(|_| Err(Trouble::Away("no answer".into())))
    }

    /// Now, by the last question and what has passed since.
    fn present_moment(&self) -> Moment {
        let inner = self.inner();
        let Some((last, then)) = inner.last else { return Moment { now: 0, bounds: Bounds::default() } };
        let since = base::clock::monotonic_now().saturating_duration_since(then);
        Moment { now: last.now.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(0)), ..last }
    }

    /// Counts what has happened already.
    async fn tell(&self, entries: &[Entry]) -> Result<(), Trouble> {
        let mut ask = Ask { settled: true, ..Ask::default() };
        for entry in entries {
            for cost in entry.costs.iter().filter(|cost| **cost > 0) {
                ask.add(&entry.rule, *cost, |buffer| {
                    buffer.extend_from_slice(&entry.key);
                    true
                });
            }
        }
        if ask.counters().is_empty() {
            return Ok(());
        }
        self.in_time(self.ask_decide(&ask, true, &self.present_moment())).await.map(|_| ())
    }

    async fn tell_released(&self, charges: &[Charge]) -> Result<(), Trouble> {
        if charges.is_empty() {
            return Ok(());
        }
        self.in_time(self.ask_release(charges, &self.present_moment())).await
    }
}

/// Reads the answer of `begin.lua`.
fn read_begun(value: Value) -> Result<(String, bool), String> {
    let (reign, open) = from_redis_value::<(String, u8)>(value).map_err(unreadable)?;
    if reign.is_empty() { Err(broken()) } else { Ok((reign, open == 1)) }
}

/// Field and text of what is raised, in the hash that all hosts read.
pub(super) fn raise_fields(raise: &Raise) -> (Vec<u8>, String) {
    let mut field = raise.limit.as_bytes().to_vec();
    field.push(0);
    field.extend_from_slice(&raise.key);
    (field, format!("{} {}", raise.hundredths, raise.until))
}
