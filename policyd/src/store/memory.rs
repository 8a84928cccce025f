//! Counters in this process's memory alone: the table with decisions on it.

use std::collections::HashMap;
use std::sync::Arc;

use super::table::Table;
use super::{
    Answer, Ask, Charge, Figures, Held, LimitId, Local, Outcome, Raise, Rule, Unavailable, Use, judge,
};
use crate::limiter::{Level, Moment};
use crate::store::arena::Place;

/// The counters of this process.
#[derive(Debug)]
pub struct Memory {
    pub(super) table: Table,
    /// The rules in force, by limit: what decides when a record is over.
    rules: Vec<Option<Arc<Rule>>>,
    found: Vec<(u64, Option<Place>)>,
    raises: HashMap<(Arc<str>, Box<[u8]>), Raise>,
    pub(super) notes: HashMap<String, Vec<u8>>,
    /// Names of notes and raises have changed since the file was told.
    pub(super) notes_changed: bool,
    full: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Table::new(),
            rules: Vec::new(),
            found: Vec::new(),
            raises: HashMap::new(),
            notes: HashMap::new(),
            notes_changed: false,
            full: 0,
        }
    }

    /// Remembers the rule of a limit, for the time when its records are over.
    fn learn(&mut self, rule: &Arc<Rule>) {
        let at = usize::from(rule.id.0);
        if self.rules.len() <= at {
            self.rules.resize(at + 1, None);
        }
        if let Some(known) = self.rules.get_mut(at)
            && !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, rule))
        {
            *known = Some(Arc::clone(rule));
        }
    }

    /// How a counter stands; the level that is over the most decides.
    fn look(&self, place: Option<Place>, rule: &Rule, cost: u64, at: &Moment) -> Outcome {
        let mut outcome = Outcome::default();
        let mut worst: Option<(u128, u128)> = None;
        self.table.states(place, rule, |index, state| {
            let Some(level) = rule.levels.get(index) else { return };
            let standing = level.stands(state, cost, at);
            let ratio = (u128::from(standing.total), u128::from(standing.allowed.max(1)));
            if worst.is_none_or(|(total, allowed)| ratio.0 * allowed > total * ratio.1) {
                worst = Some(ratio);
                outcome.level = u8::try_from(index).unwrap_or(0);
                (outcome.used, outcome.allowed) = (standing.used, standing.allowed);
                outcome.step = rule.step(standing.total, standing.allowed);
            }
        });
        outcome.retry_after = Some(0);
        if outcome.step.is_some() {
            self.table.states(place, rule, |index, state| {
                let wait = rule.levels.get(index).and_then(|level| level.retry_after(state, cost, at));
                outcome.retry_after = outcome.retry_after.zip(wait).map(|(one, other)| one.max(other));
            });
        }
        outcome
    }

    fn looks(&self, ask: &Ask, at: &Moment, found: &[(u64, Option<Place>)], answer: &mut Answer) {
        answer.outcomes.clear();
        for (counter, (_, place)) in ask.counters().iter().zip(found) {
            answer.outcomes.push(self.look(*place, &counter.rule, counter.cost, at));
        }
        judge(ask.counters().iter().map(|counter| &*counter.rule), ask.settled, answer);
    }

    fn find_all(&self, ask: &Ask, found: &mut Vec<(u64, Option<Place>)>) {
        found.clear();
        for counter in ask.counters() {
            let key = ask.key(counter);
            let hash = self.table.hash(counter.rule.id, key);
            found.push((hash, self.table.find(hash, counter.rule.id, key)));
        }
    }

    /// Adds what is counted of one counter.
    fn count(
        &mut self,
        rule: &Rule,
        key: &[u8],
        (hash, place): (u64, Option<Place>),
        cost: u64,
        refused: bool,
        at: &Moment,
    ) {
        self.table.write(place, hash, rule, key, |index, state, out| {
            let Some(level) = rule.levels.get(index) else { return };
            // What is refused is not counted without end.
            if refused && level.stands(state, cost, at).total > rule.ceiling(level.allowed()) {
                out.extend_from_slice(state);
            } else {
                level.add(state, cost, at, out);
            }
        });
    }

    /// Removes a record that is over, and mends one that lies ahead. Whether it is gone.
    fn sweep_one(&mut self, place: Place, at: &Moment) -> bool {
        let record = self.table.record(place);
        if !record.is_live() {
            return false;
        }
        // Of a limit that is no more, or not any more: it stays until its longest level is over.
        let Some(rule) = self.rules.get(usize::from(record.limit.0)).cloned().flatten() else { return false };
        let (lasts, ahead) = self.table.lasts(place, &rule, at);
        if !lasts && !ahead {
            self.table.remove(place);
            return true;
        }
        if ahead {
            let key: Box<[u8]> = record.key.into();
            let hash = self.table.hash(rule.id, &key);
            self.clamp(Some(place), hash, &rule, &key, at);
        }
        false
    }

    fn clamp(&mut self, place: Option<Place>, hash: u64, rule: &Rule, key: &[u8], at: &Moment) {
        self.table.write(place, hash, rule, key, |index, state, out| {
            if let Some(level) = rule.levels.get(index) {
                level.clamp(state, at, out);
            }
        });
    }

    /// Mends what lies ahead of now.
    fn clamp_all(&mut self, at: &Moment) {
        let mut mended = Vec::new();
        for shard in 0..Table::shards() {
            for place in self.table.shard_at(shard) {
                let record = self.table.record(place);
                let Some(rule) = self.rules.get(usize::from(record.limit.0)).cloned().flatten() else {
                    continue;
                };
                let mut differs = false;
                self.table.states(Some(place), &rule, |index, state| {
                    if let Some(level) = rule.levels.get(index)
                        && !state.is_empty()
                    {
                        mended.clear();
                        level.clamp(state, at, &mut mended);
                        differs |= mended != state;
                    }
                });
                if differs {
                    let key: Box<[u8]> = record.key.into();
                    let hash = self.table.hash(rule.id, &key);
                    self.clamp(Some(place), hash, &rule, &key, at);
                }
            }
        }
    }

    /// What is raised, as a text: a line for each, with limit, hundredths, until, key in hexadecimal.
    pub(super) fn raises_text(&self) -> Vec<u8> {
        let line = |raise: &Raise| {
            let key: String = raise.key.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {} {} {key}\n", raise.limit, raise.hundredths, raise.until)
        };
        self.raises.values().map(line).collect::<String>().into_bytes()
    }

    /// Reads what [`Memory::raises_text`] wrote; what cannot be read is left out.
    pub(super) fn load_raises(&mut self, text: &[u8]) {
        for line in String::from_utf8_lossy(text).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let &[limit, hundredths, until, key] = words.as_slice() else { continue };
            let bytes = key.as_bytes().chunks(2).map(|pair| {
                std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
            });
            let (Some(key), Ok(hundredths), Ok(until)) =
                (bytes.collect::<Option<Vec<u8>>>(), hundredths.parse(), until.parse())
            else {
                continue;
            };
            self.raise(Raise { limit: Arc::from(limit), key: key.into_boxed_slice(), hundredths, until });
        }
    }
}

/// How far a level is used up, for sorting: in millionths of what is allowed.
fn share(one: &Use) -> u64 {
    let share = u128::from(one.used) * 1_000_000 / u128::from(one.allowed.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn use_of(level: &Level, state: &[u8], at: &Moment) -> Use {
    let used = level.stands(state, 0, at).used;
    let one = match level.algorithm {
        crate::limiter::Algorithm::Distinct { .. } => u64::from(u32::MAX),
        _ => 1,
    };
    let retry_after = level.retry_after(state, one, at).unwrap_or(0);
    Use { used, allowed: level.allowed(), retry_after }
}

impl Local for Memory {
    fn limit(&mut self, name: &str) -> LimitId {
        self.table.limit(name)
    }

    fn in_force(&mut self, rules: &[Arc<Rule>], at: &Moment) {
        self.rules.clear();
        rules.iter().for_each(|rule| self.learn(rule));
        self.clamp_all(at);
    }

    fn decide(&mut self, ask: &Ask, at: &Moment, answer: &mut Answer) -> Result<(), Unavailable> {
        let mut found = std::mem::take(&mut self.found);
        self.find_all(ask, &mut found);
        self.looks(ask, at, &found, answer);
        let mut full = None;
        for ((counter, outcome), (_, place)) in ask.counters().iter().zip(&answer.outcomes).zip(&found) {
            let held = self.table.names.get(usize::from(counter.rule.id.0)).map_or(0, |name| name.keys);
            if outcome.counted && place.is_none() && held >= u64::from(counter.rule.max_keys) {
                full = Some(Arc::clone(&counter.rule.name));
            }
        }
        if let Some(name) = full {
            self.found = found;
            self.full += 1;
            return Err(Unavailable::Full(name));
        }
        for ((counter, outcome), place) in ask.counters().iter().zip(&answer.outcomes).zip(&found) {
            if outcome.counted && counter.cost > 0 {
                let refused = !ask.settled && !counter.rule.passes(outcome.step);
                self.count(&counter.rule, ask.key(counter), *place, counter.cost, refused, at);
            }
        }
        self.found = found;
        Ok(())
    }

    fn peek(&self, ask: &Ask, at: &Moment, answer: &mut Answer) {
        let mut found = Vec::new();
        self.find_all(ask, &mut found);
        self.looks(ask, at, &found, answer);
    }

    fn release(&mut self, charges: &[Charge], at: &Moment) {
        for charge in charges {
            let hash = self.table.hash(charge.rule.id, &charge.key);
            let Some(place) = self.table.find(hash, charge.rule.id, &charge.key) else { continue };
            self.table.write(Some(place), hash, &charge.rule, &charge.key, |index, state, out| {
                if let Some(level) = charge.rule.levels.get(index) {
                    level.take_back(state, charge.cost, charge.when, at, out);
                }
            });
        }
    }

    fn stands(&self, rule: &Rule, key: &[u8], at: &Moment) -> Vec<Use> {
        let hash = self.table.hash(rule.id, key);
        let place = self.table.find(hash, rule.id, key);
        let mut uses = Vec::new();
        self.table.states(place, rule, |index, state| {
            uses.extend(rule.levels.get(index).map(|level| use_of(level, state, at)));
        });
        uses
    }

    fn reset(&mut self, limit: LimitId, key: &[u8]) -> bool {
        let hash = self.table.hash(limit, key);
        let place = self.table.find(hash, limit, key);
        if let Some(place) = place {
            self.table.remove(place);
        }
        place.is_some()
    }

    fn top(&self, rule: &Rule, count: usize, at: &Moment) -> Vec<Held> {
        let mut best: Vec<(u64, Held)> = Vec::new();
        for record in self.table.all().filter(|record| record.limit == rule.id) {
            let levels = self.stands(rule, record.key, at);
            let most = levels.iter().map(share).max().unwrap_or(0);
            let full = best.len() >= count;
            if most == 0 || (full && best.last().is_none_or(|(least, _)| most <= *least)) {
                continue;
            }
            let place = best.partition_point(|(other, _)| *other >= most);
            let held = Held { limit: Arc::clone(&rule.name), key: record.key.into(), levels };
            best.insert(place, (most, held));
            best.truncate(count);
        }
        best.into_iter().map(|(_, held)| held).collect()
    }

    fn raise(&mut self, raise: Raise) {
        let key = (Arc::clone(&raise.limit), raise.key.clone());
        if raise.hundredths == 100 {
            self.raises.remove(&key);
        } else {
            self.raises.insert(key, raise);
        }
        self.notes_changed = true;
    }

    fn raises(&self, now: u64) -> Vec<Raise> {
        self.raises.values().filter(|raise| raise.until > now).cloned().collect()
    }

    fn sweep(&mut self, at: &Moment) {
        for place in self.table.next_shard() {
            self.sweep_one(place, at);
        }
    }

    fn wants_flush(&self, _at: &Moment) -> bool {
        false
    }

    fn flush(&mut self, _at: &Moment, _last: bool) {}

    fn noted(&self, name: &str) -> Option<Vec<u8>> {
        self.notes.get(name).cloned()
    }

    fn note(&mut self, name: &str, value: Vec<u8>) {
        if self.notes.get(name).is_none_or(|known| *known != value) {
            self.notes.insert(name.to_owned(), value);
            self.notes_changed |= !name.starts_with('.');
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            keys: self.table.names.iter().map(|name| (Arc::clone(&name.name), name.keys)).collect(),
            bytes: u64::try_from(self.table.bytes()).unwrap_or(u64::MAX),
            full: self.full,
            ..Figures::default()
        }
    }
}
