//! The shared store as the service asks it.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, cmd, from_redis_value};

use super::returning::raise_fields;
use super::{MOST_RAISES, Redis, Trouble, script};
use crate::limiter::{Level, Moment};
use crate::store::{
    Answer, Ask, Charge, Figures, Held, Later, Raise, Remote, Rule, Unavailable, Use, share, use_of,
};

fn away(why: String) -> Unavailable {
    Unavailable::Away(why)
}

impl Redis {
    async fn question(&self, ask: &Ask, write: bool, at: &Moment) -> Result<Answer, Unavailable> {
        let shared = &self.shared;
        shared.inner().last = Some((*at, base::clock::monotonic_now()));
        if ask.counters().is_empty() {
            return Ok(Answer::default());
        }
        if shared.way()
            && let Ok(answer) = shared.within(shared.ask(ask, write, at)).await
        {
            return Ok(answer);
        }
        shared.alone(ask, write, at)
    }

    /// The states of a rule's levels for a key, from Redis, or as this host remembers them.
    async fn states(&self, rule: &Rule, key: &[u8]) -> Vec<Vec<u8>> {
        let shared = &self.shared;
        let prefix = &shared.settings.prefix;
        if shared.way() {
            let mut command = cmd("MGET");
            for name in script::names(prefix, rule, key) {
                command.arg(name);
            }
            let value = shared.within(async { Ok(shared.link.ask(&command).await?) }).await;
            if let Some(values) =
                value.ok().and_then(|value| from_redis_value::<Vec<Option<Vec<u8>>>>(value).ok())
            {
                // What may stand behind a state is the script's own.
                let state = |(level, value): (&Level, Option<Vec<u8>>)| {
                    value.map(|value| level.tag().cut(&value).0.to_vec()).unwrap_or_default()
                };
                return rule.levels.iter().zip(values).map(state).collect();
            }
        }
        shared.inner().away.states(prefix, rule, key)
    }

    async fn uses(&self, rule: &Rule, key: &[u8], at: &Moment) -> Vec<Use> {
        let states = self.states(rule, key).await;
        let at = &self.shared.inner().theirs(at);
        rule.levels.iter().zip(&states).map(|(level, state)| use_of(level, state, at)).collect()
    }
}

impl Redis {
    /// Reads records of greylisting, whose keys share what is before their first blank.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn records(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, String> {
        if !self.shared.way() {
            return Err("Redis is away".into());
        }
        let mut command = cmd("MGET");
        for key in keys {
            command.arg(self.record_name(key));
        }
        let value = self.asked(async { Ok(self.shared.link.ask(&command).await?) }).await?;
        from_redis_value(value).map_err(|error| error.to_string())
    }

    /// Writes records of greylisting, each for a time.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn keep(&self, records: &[(String, String, Duration)]) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        let mut commands = Pipeline::new();
        for (key, value, time) in records {
            let secs = time.as_secs().saturating_add(60);
            commands.cmd("SET").arg(self.record_name(key)).arg(value).arg("EX").arg(secs);
        }
        self.asked(async { Ok(self.shared.link.ask_all(&commands).await?) }).await.map(|_| ())
    }

    async fn asked<T>(&self, question: impl Future<Output = Result<T, Trouble>>) -> Result<T, String> {
        self.shared.within(question).await.map_err(|trouble| match trouble {
            Trouble::Away(why) => why,
            Trouble::Reign => "Redis has lost what it held".into(),
        })
    }

    /// The name of a record: its client decides where it is in a cluster.
    fn record_name(&self, key: &str) -> String {
        let (client, rest) = key.split_once(' ').unwrap_or((key, ""));
        format!("{{{}:{client}}}:greylist:{rest}", self.shared.settings.prefix)
    }
}

impl Remote for Redis {
    fn decide<'a>(&'a self, ask: &'a Ask, at: &'a Moment) -> Later<'a, Answer> {
        Box::pin(self.question(ask, true, at))
    }

    fn peek<'a>(&'a self, ask: &'a Ask, at: &'a Moment) -> Later<'a, Answer> {
        Box::pin(self.question(ask, false, at))
    }

    fn release<'a>(&'a self, charges: Vec<Charge>, at: &'a Moment) -> Later<'a, ()> {
        Box::pin(async move {
            let shared = &self.shared;
            if charges.is_empty() {
                return Ok(());
            }
            let mut charges = charges;
            {
                let inner = shared.inner();
                charges.iter_mut().for_each(|charge| charge.when = inner.their_time(charge.when));
            }
            if shared.way() && shared.within(shared.ask_release(&charges, at)).await.is_ok() {
                return Ok(());
            }
            let mut inner = shared.inner();
            let (hosts, at) = (inner.hosts, inner.theirs(at));
            inner.away.release(&shared.settings.prefix, charges, hosts, &at);
            Ok(())
        })
    }

    fn stands<'a>(&'a self, rule: &'a Rule, key: &'a [u8], at: &'a Moment) -> Later<'a, Vec<Use>> {
        Box::pin(async move { Ok(self.uses(rule, key, at).await) })
    }

    fn reset<'a>(&'a self, rule: &'a Rule, key: &'a [u8]) -> Later<'a, bool> {
        Box::pin(async move {
            let shared = &self.shared;
            let mut command = cmd("DEL");
            for name in script::names(&shared.settings.prefix, rule, key) {
                shared.inner().away.forget(&name);
                command.arg(name);
            }
            let value = shared.patiently(&command).await.map_err(away)?;
            Ok(from_redis_value::<u64>(value).is_ok_and(|gone| gone > 0))
        })
    }

    fn top<'a>(&'a self, rule: &'a Rule, count: usize, at: &'a Moment) -> Later<'a, Vec<Held>> {
        Box::pin(async move {
            let prefix = &self.shared.settings.prefix;
            let mut best: Vec<(u64, Box<[u8]>)> = Vec::new();
            {
                let inner = self.shared.inner();
                let at = &inner.theirs(at);
                for key in inner.away.keys(prefix, rule) {
                    let states = inner.away.states(prefix, rule, &key);
                    let uses = rule.levels.iter().zip(&states).map(|(level, state)| use_of(level, state, at));
                    let most = uses.map(|one| share(&one)).max().unwrap_or(0);
                    best.push((most, key));
                }
            }
            best.sort_by(|one, other| other.cmp(one));
            best.truncate(count);
            // What this host remembers tells whom to ask about; how they stand now, Redis knows.
            let mut held = Vec::new();
            for (_, key) in best {
                let levels = self.uses(rule, &key, at).await;
                if levels.iter().any(|one| one.used > 0) {
                    held.push(Held { limit: Arc::clone(&rule.name), key, levels });
                }
            }
            held.sort_by_key(|held| std::cmp::Reverse(held.levels.iter().map(share).max()));
            Ok(held)
        })
    }

    fn raise(&self, raise: Raise) -> Later<'_, ()> {
        Box::pin(async move {
            let (field, text) = raise_fields(&raise);
            let name = self.shared.raises_name();
            let command = if raise.hundredths == 100 {
                cmd("HDEL").arg(name).arg(field).to_owned()
            } else {
                cmd("HSET").arg(name).arg(field).arg(text).to_owned()
            };
            self.shared.patiently(&command).await.map_err(away)?;
            let raises = &mut self.shared.inner().raises;
            raises.retain(|other| (&other.limit, &other.key) != (&raise.limit, &raise.key));
            if raise.hundredths != 100 {
                raises.push(raise);
            }
            Ok(())
        })
    }

    fn raises(&self, now: u64) -> Later<'_, Vec<Raise>> {
        Box::pin(async move {
            let shared = &self.shared;
            let command = cmd("HGETALL").arg(shared.raises_name()).to_owned();
            let value = shared.patiently(&command).await.map_err(away)?;
            let command = cmd("GET").arg(script::reign_name(&shared.settings.prefix)).to_owned();
            let reign = shared.patiently(&command).await.map_err(away)?;
            let reign = from_redis_value::<Option<String>>(reign).ok().flatten().unwrap_or_default();
            let mut inner = shared.inner();
            // Of a Redis that has lost them they are not to be had: they are given back to it.
            if inner.reign == reign && !inner.has_raises() {
                inner.raises = raises_of(value);
            }
            Ok(inner.raises.iter().filter(|raise| raise.until > now).cloned().collect())
        })
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }
}

/// Reads the answer to `HGETALL`; what is not ours is left out.
fn raises_of(value: Value) -> Vec<Raise> {
    let pairs = from_redis_value::<Vec<(Vec<u8>, Vec<u8>)>>(value).unwrap_or_default();
    let read = |(field, text): (Vec<u8>, Vec<u8>)| {
        let at = field.iter().position(|byte| *byte == 0)?;
        let (limit, key) = field.split_at_checked(at)?;
        let text = String::from_utf8(text).ok()?;
        let (hundredths, until) = text.split_once(' ')?;
        Some(Raise {
            limit: std::str::from_utf8(limit).ok()?.into(),
            key: key.get(1..)?.into(),
            hundredths: hundredths.parse().ok()?,
            until: until.parse().ok()?,
        })
    };
    pairs.into_iter().take(MOST_RAISES).filter_map(read).collect()
}
