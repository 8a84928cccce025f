//! A question as the arguments of the scripts, and their answers read. No sockets, no clock.

use std::sync::LazyLock;

use crate::limiter::{Algorithm, Level, Moment, Nanos, SECOND};
use crate::store::{Ask, Charge, Rule};

const COUNTERS: &str = include_str!("counters.lua");

/// Decides: see `decide.lua`.
pub(super) static DECIDE: LazyLock<String> =
    LazyLock::new(|| format!("{COUNTERS}{}", include_str!("decide.lua")));
/// Gives back what Redis may have lost: see `give.lua`.
pub(super) static GIVE: LazyLock<String> =
    LazyLock::new(|| format!("{COUNTERS}{}", include_str!("give.lua")));
/// Tells and begins reigns: see `begin.lua`.
pub(super) static BEGIN: LazyLock<String> = LazyLock::new(|| include_str!("begin.lua").to_owned());
/// Takes back: see `release.lua`.
pub(super) static RELEASE: LazyLock<String> =
    LazyLock::new(|| format!("{COUNTERS}{}", include_str!("release.lua")));

/// Keys and arguments of one call.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl Call {
    /// A call that holds in one reign only.
    fn within(prefix: &str, reign: &str) -> Self {
        Self { keys: vec![reign_name(prefix)], arguments: vec![reign.as_bytes().to_vec()] }
    }

    fn number(&mut self, number: u64) {
        self.arguments.push(number.to_string().into_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.number(u64::from(flag));
    }

    /// What a level is, in the order in which `counters.lua` reads it.
    fn level(&mut self, level: &Level, cost: u64, at: &Moment) {
        let whole_ms = level.period.div_ceil(1_000_000);
        match level.algorithm {
            Algorithm::Gcra { burst } => {
                let (limit, period) = (u128::from(level.limit.max(1)), u128::from(level.period));
                let narrow = |wide: u128| u64::try_from(wide).unwrap_or(u64::MAX);
                self.number(1);
                self.number(narrow((u128::from(cost) * period).div_ceil(limit)));
                self.number(narrow(u128::from(burst) * period / limit));
                self.number(level.limit);
                self.number(level.period.max(1));
                self.number(narrow(u128::from(burst.min(1_000_000)) * limit));
            }
            Algorithm::Window => {
                self.number(2);
                self.number(whole_ms);
                self.number((level.period / 24 / 1_000_000).max(1));
            }
            Algorithm::Calendar(unit) => {
                let bound = at.bounds.of(unit);
                self.number(3);
                self.number(bound.start);
                self.number(bound.next);
            }
            Algorithm::Distinct { memory } => {
                self.number(4);
                self.number(level.period.div_ceil(SECOND));
                self.number(memory.div_ceil(SECOND));
                self.number(level.period.max(memory).div_ceil(SECOND));
            }
        }
    }
}

/// What a cost is to the script: members of distinct limits are 32 bits of a hash.
fn cost_of(rule: &Rule, cost: u64) -> u64 {
    let distinct = rule.levels.iter().any(|level| matches!(level.algorithm, Algorithm::Distinct { .. }));
    if distinct { cost & 0xffff_ffff } else { cost }
}

/// The name of a level's state in Redis. What is in braces decides its place in a cluster: all of one
/// prefix are in one slot, or no script could read them at once.
///
/// It holds what two levels must share to read each other's state, and which of several like it this is: a
/// limit whose rate is changed goes on with what was counted.
pub(super) fn name(prefix: &str, rule: &Rule, index: usize, key: &[u8]) -> Vec<u8> {
    let tag = rule.levels.get(index).map_or(0, |level| level.tag().0);
    let same = rule.levels.iter().take(index).filter(|level| level.tag().0 == tag).count();
    let mut name = format!("{{{prefix}}}:{}:{tag:x}.{same}:", rule.name).into_bytes();
    name.extend_from_slice(key);
    name
}

/// The name of what tells the reign.
pub(super) fn reign_name(prefix: &str) -> Vec<u8> {
    format!("{{{prefix}}}:reign").into_bytes()
}

/// When a reign began; 0 when it is none.
pub(super) fn born(reign: &str) -> Nanos {
    let read = |(sec, micro): (&str, &str)| Some(time(sec.parse().ok()?, micro.parse().ok()?));
    reign.split_once('.').and_then(read).unwrap_or(0)
}

/// The call that tells the reign, and begins one where it is due; the arguments are as in `begin.lua`.
pub(super) fn begin(prefix: &str, known: &str, strange: bool, name: &str, hosts: u32, given: u8) -> Call {
    let mut call = Call::within(prefix, known);
    call.keys.push(format!("{{{prefix}}}:given").into_bytes());
    call.flag(strange);
    call.arguments.push(name.as_bytes().to_vec());
    call.number(hosts.into());
    call.number(given.into());
    call
}

/// The call about nothing, for each script: it shows whether the server knows the script, and makes it known.
pub(super) fn idle(prefix: &str, reign: &str) -> Call {
    let mut call = Call::within(prefix, reign);
    (0..3).for_each(|_| call.number(0));
    call
}

/// The call that gives back levels by their names, with what is remembered of them.
pub(super) fn give<'a>(
    prefix: &str,
    reign: &str,
    levels: impl ExactSizeIterator<Item = (&'a [u8], &'a Level, &'a [u8])>,
    at: &Moment,
) -> Call {
    let mut call = Call::within(prefix, reign);
    call.number(u64::try_from(levels.len()).unwrap_or(0));
    for (name, level, state) in levels {
        call.level(level, 0, at);
        call.arguments.push(state.to_vec());
        call.keys.push(name.to_vec());
    }
    call
}

/// The names of all levels of a rule for a key.
pub(super) fn names(prefix: &str, rule: &Rule, key: &[u8]) -> Vec<Vec<u8>> {
    (0..rule.levels.len()).map(|index| name(prefix, rule, index, key)).collect()
}

/// The call that decides. `remembered` gives what this host remembers of a level's state.
pub(super) fn decide(
    prefix: &str,
    reign: &str,
    ask: &Ask,
    write: bool,
    at: &Moment,
    mut remembered: impl FnMut(&Rule, &[u8], usize) -> Vec<u8>,
) -> Call {
    let mut call = Call::within(prefix, reign);
    call.flag(write);
    call.flag(ask.settled);
    call.number(u64::try_from(ask.counters().len()).unwrap_or(0));
    for counter in ask.counters() {
        let (rule, key) = (&counter.rule, ask.key(counter));
        let cost = cost_of(rule, counter.cost);
        call.number(cost);
        call.number(u64::try_from(rule.levels.len()).unwrap_or(0));
        call.flag(rule.count_refused);
        call.flag(rule.dry_run);
        call.number(u64::try_from(rule.steps.len()).unwrap_or(0));
        for step in &rule.steps {
            call.number(step.hundredths.into());
            call.flag(step.passes);
        }
        for (index, level) in rule.levels.iter().enumerate() {
            call.number(level.allowed());
            call.number(rule.ceiling(level.allowed()));
            call.level(level, cost, at);
            call.arguments.push(remembered(rule, key, index));
            call.keys.push(name(prefix, rule, index, key));
        }
    }
    call
}

/// The call that takes back. Charges of distinct limits stay: what was seen was seen.
pub(super) fn release(
    prefix: &str,
    reign: &str,
    charges: &[Charge],
    at: &Moment,
    mut remembered: impl FnMut(&Rule, &[u8], usize) -> Vec<u8>,
) -> Call {
    let mut call = Call::within(prefix, reign);
    call.number(u64::try_from(charges.len()).unwrap_or(0));
    for charge in charges {
        let cost = cost_of(&charge.rule, charge.cost);
        call.number(cost);
        call.number(u64::try_from(charge.rule.levels.len()).unwrap_or(0));
        call.number(charge.when >> 16);
        call.number(charge.when & 0xffff);
        for (index, level) in charge.rule.levels.iter().enumerate() {
            call.level(level, cost, at);
            call.arguments.push(remembered(&charge.rule, &charge.key, index));
            call.keys.push(name(prefix, &charge.rule, index, &charge.key));
        }
    }
    call
}

/// What `decide.lua` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    /// Redis' time.
    pub(super) now: Nanos,
    /// Whether the whole is refused.
    pub(super) refused: bool,
    /// Whether each counter has counted.
    pub(super) counted: Vec<bool>,
    /// The state of each level of each counter before.
    pub(super) states: Vec<Vec<u8>>,
}

/// What `give.lua` and `release.lua` answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    /// Redis' time.
    pub(super) now: Nanos,
    /// The state of each level after.
    pub(super) states: Vec<Vec<u8>>,
}

/// Redis' time from its two numbers.
pub(super) fn time(seconds: u64, microseconds: u64) -> Nanos {
    seconds.saturating_mul(SECOND).saturating_add(microseconds.saturating_mul(1000))
}
