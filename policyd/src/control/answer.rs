//! Questions answered by the running service.

use std::sync::PoisonError;

use base::clock;

use super::message::{
    Answer, LevelStanding, LimitStatus, ListStatus, Overridden, Past, Question, Raised, Standing, Status,
    Tried,
};
use crate::action::wait_text;
use crate::active::{Shared, lock};
use crate::condition::Listing;
use crate::config::settings::{ListSource, StoreDriver};
use crate::decide::{self, Context, Plan, Planned};
use crate::key::{shown, unshown};
use crate::limiter::{Algorithm, Level, Moment, SECOND, Unit};
use crate::limits::{ActiveLimit, Limits};
use crate::messages::{Messages, ServiceId};
use crate::pipeline;
use crate::protocol::{Attribute, Request};
use crate::store::{self, Held, Raise, Use};

/// The most that `top` shows of a limit.
const MOST: usize = 1000;
/// Refusals that `explain` shows.
const REFUSALS: usize = 20;
/// How long lists are asked for one question.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
/// The longest raise: ten years.
const LONGEST_RAISE: u64 = 10 * 366 * 86_400;

/// A level in words.
pub(super) fn rate(level: &Level) -> String {
    match level.algorithm {
        Algorithm::Calendar(unit) => {
            let unit = match unit {
                Unit::Hour => "hour",
                Unit::Day => "day",
                Unit::Week => "week",
                Unit::Month => "month",
            };
            format!("{} a {unit}, by the calendar", level.limit)
        }
        Algorithm::Gcra { burst } if burst != level.limit => {
            format!("{} in {}, {burst} at once", level.limit, wait_text(level.period))
        }
        _ => format!("{} in {}", level.limit, wait_text(level.period)),
    }
}

fn failed(text: impl Into<String>) -> Answer {
    Answer::Failed { text: text.into(), yours: true }
}

fn away(why: &store::Unavailable) -> Answer {
    Answer::Failed { text: format!("the store does not answer: {why}"), yours: false }
}

/// Answers a question.
pub(super) async fn answer(shared: &Shared, question: Question) -> Answer {
    match question {
        Question::Status => status(shared).await,
        Question::Top { limit, count } => top(shared, limit.as_deref(), count).await,
        Question::Reset { limit, key } => reset(shared, limit.as_deref(), &key).await,
        Question::Raise { limit, key, hundredths, secs } => {
            raise(shared, &limit, &key, hundredths, secs).await
        }
        Question::Explain { who } => explain(shared, &who).await,
        Question::Try { attributes } => attempt(shared, &attributes).await,
    }
}

/// The limits of this name, or all.
fn chosen<'a>(limits: &'a Limits, name: Option<&str>) -> Result<Vec<&'a ActiveLimit>, Answer> {
    let Some(name) = name else { return Ok(limits.all.iter().collect()) };
    let names = || limits.all.iter().map(|limit| limit.settings.name.as_str()).collect::<Vec<_>>().join(", ");
    match limits.named(name) {
        Some(limit) => Ok(vec![limit]),
        None => Err(failed(format!("there is no limit {name}; there is {}", names()))),
    }
}

fn moment(shared: &Shared) -> Moment {
    lock(&shared.books).moment()
}

async fn raises(shared: &Shared) -> Result<Vec<Raise>, store::Unavailable> {
    let now = clock::unix_now();
    match &shared.remote {
        Some(remote) => remote.raises(now).await,
        None => Ok(lock(&shared.books).store.raises(now)),
    }
}

async fn status(shared: &Shared) -> Answer {
    let settings = shared.settings.load();
    let limits = shared.limits.load();
    let (figures, messages) = {
        let books = lock(&shared.books);
        (books.store.figures(), books.messages.len())
    };
    let keys = |name: &str| figures.keys.iter().find(|(known, _)| **known == *name).map(|(_, keys)| *keys);
    let redis = shared.equipment.redis.as_ref().map(|redis| redis.state());
    let greylist = shared.equipment.greylist.load();
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let raised = raises(shared).await.unwrap_or_default();
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: shared.equipment.host.clone(),
        store: match settings.store.driver {
            StoreDriver::Memory => "memory",
            StoreDriver::File { .. } => "file",
            StoreDriver::Redis(_) => "redis",
        }
        .to_owned(),
        connected: redis.map(|state| state.connected),
        hosts: redis.map(|state| state.hosts),
        limits: limits
            .all
            .iter()
            .map(|limit| LimitStatus {
                name: limit.settings.name.clone(),
                count: limit.settings.count.word().to_owned(),
                rates: limit.settings.levels.iter().map(rate).collect(),
                keys: if redis.is_none() { Some(keys(&limit.settings.name).unwrap_or(0)) } else { None },
                dry_run: limit.settings.dry_run,
            })
            .collect(),
        messages: number(messages),
        greylist: greylist.as_ref().filter(|_| redis.is_none()).map(|greylist| number(greylist.len())),
        lists: settings.lists.iter().map(list_status).collect(),
        raises: raised
            .into_iter()
            .map(|raise| Raised {
                limit: raise.limit.to_string(),
                key: shown(&raise.key),
                hundredths: raise.hundredths,
                until: raise.until,
            })
            .collect(),
        recent: number(shared.equipment.recent.lock().unwrap_or_else(PoisonError::into_inner).len()),
    };
    Answer::Status(Box::new(status))
}

fn list_status(source: &ListSource) -> ListStatus {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let name = source.name.clone();
    match &source.content {
        Listing::Read(list) => {
            let entries = number(list.load().len());
            ListStatus { name, driver: "file".to_owned(), entries, ..ListStatus::default() }
        }
        Listing::Asked(list) => {
            let health = list.health();
            let [listed, unlisted] = health.entries;
            ListStatus {
                name,
                driver: list.settings().origin.driver().to_owned(),
                entries: number(listed.saturating_add(unlisted)),
                connected: Some(health.trouble.is_none()),
                trouble: health.trouble,
            }
        }
    }
}

fn overridden(limit: &ActiveLimit, key: &[u8]) -> Option<Overridden> {
    let found = limit.override_of(key)?;
    Some(Overridden { list: found.list, text: found.text })
}

/// Asks lists for the rates of keys, those of which too little is known, for a second at most.
async fn learn(keys: impl Iterator<Item = (&ActiveLimit, &[u8])>) {
    let began = clock::monotonic_now();
    for (limit, key) in keys {
        let now = clock::monotonic_now();
        if now.saturating_duration_since(began) > PATIENCE {
            return;
        }
        if let Some((list, sought)) = limit.asks(key)
            && list.is_asked_for(&sought, now)
        {
            list.learn(sought).await;
        }
    }
}

fn standing(limit: &ActiveLimit, held: &Held) -> Standing {
    let rule = limit.rule(&held.key, clock::unix_now());
    let level = |(at, one): (usize, &Use)| LevelStanding {
        rate: rule.as_ref().and_then(|rule| rule.levels.get(at)).map_or_else(String::new, rate),
        used: one.used,
        allowed: one.allowed,
        retry_after: one.retry_after.div_ceil(SECOND),
    };
    Standing {
        limit: held.limit.to_string(),
        key: shown(&held.key),
        count: limit.settings.count.word().to_owned(),
        levels: held.levels.iter().enumerate().map(level).collect(),
        overridden: overridden(limit, &held.key),
    }
}

async fn top(shared: &Shared, name: Option<&str>, count: usize) -> Answer {
    let at = moment(shared);
    let limits = shared.limits.load_full();
    let chosen = match chosen(&limits, name) {
        Ok(chosen) => chosen,
        Err(answer) => return answer,
    };
    let mut all = Vec::new();
    for limit in chosen {
        let count = count.clamp(1, MOST);
        let held = match &shared.remote {
            Some(remote) => match remote.top(&limit.rule, count, &at).await {
                Ok(held) => held,
                Err(why) => return away(&why),
            },
            None => lock(&shared.books).store.top(&limit.rule, count, &at),
        };
        learn(held.iter().map(|one| (limit, &*one.key))).await;
        for mut one in held {
            // With the levels that hold for this key, not the limit's own.
            if let Some(rule) = limit.rule(&one.key, clock::unix_now())
                && let Ok(levels) = stands(shared, &rule, &one.key, &at).await
            {
                one.levels = levels;
            }
            all.push(standing(limit, &one));
        }
    }
    all.sort_by_key(|standing| std::cmp::Reverse(standing.levels.iter().map(share).max()));
    Answer::Top { held: all }
}

fn share(level: &LevelStanding) -> u128 {
    u128::from(level.used) * 1_000_000 / u128::from(level.allowed.max(1))
}

async fn stands(
    shared: &Shared,
    rule: &store::Rule,
    key: &[u8],
    at: &Moment,
) -> Result<Vec<Use>, store::Unavailable> {
    match &shared.remote {
        Some(remote) => remote.stands(rule, key, at).await,
        None => Ok(lock(&shared.books).store.stands(rule, key, at)),
    }
}

/// The key of a limit that a person writes so: in the form that requests give it.
fn key_of(limits: &Limits, limit: &ActiveLimit, text: &str) -> Vec<u8> {
    let mut fields = limit.settings.key.fields();
    if let (Some(field), false) = (fields.next(), text.contains(',')) {
        let mut key = Vec::new();
        let value = text.rsplit_once('@').filter(|_| matches!(field, crate::key::Field::Domain(_)));
        let value = value.map_or(text, |(_, domain)| domain);
        limits.form(limit).write(field, value.as_bytes(), &mut key);
        if !key.is_empty() {
            return key;
        }
    }
    unshown(text)
}

async fn reset(shared: &Shared, name: Option<&str>, text: &str) -> Answer {
    let limits = shared.limits.load_full();
    let chosen = match chosen(&limits, name) {
        Ok(chosen) => chosen,
        Err(answer) => return answer,
    };
    let mut done = Vec::new();
    for limit in chosen {
        // Who resets a user does not mean the whole domain.
        let by_domain =
            limit.settings.key.fields().any(|field| matches!(field, crate::key::Field::Domain(_)));
        if name.is_none() && by_domain && text.contains('@') {
            continue;
        }
        let key = key_of(&limits, limit, text);
        let was = match &shared.remote {
            Some(remote) => match remote.reset(&limit.rule, &key).await {
                Ok(was) => was,
                Err(why) => return away(&why),
            },
            None => lock(&shared.books).store.reset(limit.rule.id, &key),
        };
        if was {
            log::warn!("control: limit {} reset for {}", limit.settings.name, base::log::escaped(&key, 200));
            done.push(limit.settings.name.as_str());
        }
    }
    if done.is_empty() {
        return failed(format!("nothing is counted of {text}; postrider-policyd top shows keys"));
    }
    Answer::Done { text: format!("{text} begins anew at {}", done.join(", ")) }
}

async fn raise(shared: &Shared, name: &str, text: &str, hundredths: u32, secs: u64) -> Answer {
    let limits = shared.limits.load_full();
    let limit = match chosen(&limits, Some(name)) {
        Ok(chosen) => match chosen.first() {
            Some(limit) => *limit,
            None => return failed("there is no limit"),
        },
        Err(answer) => return answer,
    };
    if hundredths == 0 || hundredths > 100_000 {
        return failed("a limit can be raised to between a hundredth and a thousand times");
    }
    let ends = hundredths == 100;
    let now = clock::unix_now();
    let raise = Raise {
        limit: limit.settings.name.as_str().into(),
        key: key_of(&limits, limit, text).into(),
        hundredths,
        until: now.saturating_add(secs.min(LONGEST_RAISE)),
    };
    log::warn!(
        "control: limit {name} times {}.{:02} for {} until {}",
        hundredths / 100,
        hundredths % 100,
        base::log::escaped(&raise.key, 200),
        raise.until
    );
    match &shared.remote {
        Some(remote) => {
            if let Err(why) = remote.raise(raise).await {
                return away(&why);
            }
            if let Ok(all) = remote.raises(now).await {
                limits.set_raises(&all);
            }
        }
        None => {
            let mut books = lock(&shared.books);
            books.store.raise(raise);
            limits.set_raises(&books.store.raises(now));
        }
    }
    let text = match ends {
        true => format!("{text} has the usual limit {name} again"),
        false => {
            let period = wait_text(secs.saturating_mul(SECOND));
            format!("{text} has {}.{:02} times limit {name} for {period}", hundredths / 100, hundredths % 100)
        }
    };
    Answer::Done { text }
}

async fn explain(shared: &Shared, who: &str) -> Answer {
    let at = moment(shared);
    let limits = shared.limits.load_full();
    let keys: Vec<Vec<u8>> = limits.all.iter().map(|limit| key_of(&limits, limit, who)).collect();
    learn(limits.all.iter().zip(&keys).map(|(limit, key)| (limit, key.as_slice()))).await;
    let mut standings = Vec::new();
    for (limit, key) in limits.all.iter().zip(keys) {
        let Some(rule) = limit.rule(&key, clock::unix_now()) else { continue };
        let levels = match stands(shared, &rule, &key, &at).await {
            Ok(levels) => levels,
            Err(why) => return away(&why),
        };
        if levels.iter().any(|level| level.used > 0) {
            let held = Held { limit: limit.settings.name.as_str().into(), key: key.into(), levels };
            standings.push(standing(limit, &held));
        }
    }
    let recent = shared.equipment.recent.lock().unwrap_or_else(PoisonError::into_inner);
    let refusals = recent.about(who, REFUSALS).into_iter().map(Past::from).collect();
    Answer::Explained { standings, refusals }
}

/// Why a limit does not apply to a request; `None` when it does, as far as conditions and key go.
fn why_not(limits: &Limits, limit: &ActiveLimit, request: &Request<'_>) -> Option<String> {
    if let Some(condition) = limits.exempt.iter().find(|condition| condition.holds(request)) {
        return Some(format!("does not apply: exempt, {}", condition.text()));
    }
    if let Some(condition) = limit.settings.when.iter().find(|condition| !condition.holds(request)) {
        return Some(format!("does not apply: when {} does not hold", condition.text()));
    }
    if let Some(condition) = limit.settings.except.iter().find(|condition| condition.holds(request)) {
        return Some(format!("does not apply: except {} holds", condition.text()));
    }
    let mut key = Vec::new();
    if !limit.settings.key.write(request, &limits.form(limit), &mut key) {
        let fields: Vec<&str> = limit.settings.key.fields().map(crate::key::Field::name).collect();
        return Some(format!("does not apply: {} is empty", fields.join(" or ")));
    }
    if limit.rule(&key, clock::unix_now()).is_none() {
        let list = limit.override_of(&key).map(|found| format!("list {}", found.list));
        let list = list.unwrap_or_else(|| "an override".to_owned());
        return Some(format!("{} is unlimited by {list}", shown(&key)));
    }
    None
}

async fn attempt(shared: &Shared, attributes: &[(String, String)]) -> Answer {
    let mut request = Request::default();
    request.set(Attribute::ProtocolState, b"RCPT");
    for (name, value) in attributes {
        let Some(attribute) = Attribute::of(name.as_bytes()) else {
            return failed(format!("{name} is no attribute of the policy protocol"));
        };
        request.set(attribute, value.as_bytes());
    }
    // As if it were a message of its own.
    request.set(Attribute::Instance, b"explain");
    pipeline::learn(pipeline::needs(shared, &request)).await;
    let at = moment(shared);
    let limits = shared.limits.load_full();
    let mut messages = Messages::new(std::time::Duration::from_secs(1));
    let mut plan = Plan::default();
    let planned =
        decide::plan(&request, &limits, &mut messages, ServiceId::default(), clock::unix_now(), &mut plan);
    let mut answer = store::Answer::default();
    if planned == Planned::Ask && plan.asks() {
        let looked = match &shared.remote {
            Some(remote) => remote.peek(&plan.ask, &at).await.map(|found| answer = found),
            None => {
                lock(&shared.books).store.peek(&plan.ask, &at, &mut answer);
                Ok(())
            }
        };
        if let Err(why) = looked {
            return away(&why);
        }
    }
    let context = Context { request: &request, limits: &limits, at: &at };
    let (mut back, mut settled) = (Vec::new(), store::Ask::default());
    let verdict = decide::conclude(&plan, &answer, &context, &mut messages, &mut back, &mut settled);
    let mut said = Vec::new();
    for (place, limit) in limits.all.iter().enumerate() {
        let counter = plan.limits.iter().position(|known| usize::from(*known) == place);
        let found = counter.and_then(|at| Some((plan.ask.counters().get(at)?, answer.outcomes.get(at)?)));
        said.push(match found {
            Some((counter, outcome)) => {
                let refuses = !counter.rule.dry_run && !counter.rule.passes(outcome.step);
                let what = match (outcome.step, refuses, counter.rule.dry_run) {
                    (None, ..) => "passes",
                    (Some(_), true, _) => "refuses",
                    (Some(_), false, true) => "would refuse (dry run)",
                    (Some(_), false, false) => "is over, and lets pass",
                };
                let count = limit.settings.count.word();
                Tried {
                    limit: limit.settings.name.clone(),
                    key: Some(shown(plan.ask.key(counter))),
                    says: format!("{what}: {} of {} {count} used", outcome.used, outcome.allowed),
                    refuses,
                    overridden: overridden(limit, plan.ask.key(counter)),
                }
            }
            None => Tried {
                limit: limit.settings.name.clone(),
                key: None,
                says: why_not(&limits, limit, &request).unwrap_or_else(|| {
                    format!("counts nothing at {}", request.text(Attribute::ProtocolState))
                }),
                refuses: false,
                overridden: None,
            },
        });
    }
    Answer::Tried { action: verdict.action.unwrap_or_else(|| "DUNNO".to_owned()), limits: said }
}
