//! What this host remembers of a shared store, and how it decides alone while the store is away. No sockets.
//!
//! Of each counter that the store has told, its state is remembered. While the store is away this host may
//! use up its share of what was left: of `hosts` hosts each counts every unit `hosts` times on top of what it
//! remembers. So if all remember the same, all of them together let through what was left and no more; if a
//! host remembers less than was used, its share of the difference on top; in all never more than twice the
//! limit, and that only where no host knew anything. What was counted alone is written in a journal, and
//! counted in the store when it is back.
//!
//! When a reign begins (see `begin.lua`) the store may have lost what it held. All that is remembered is given
//! back to it then, what was told last first, and with each question about it before that. What was told last
//! to any host holds all that was told before to any; so the greatest of what the hosts remember is what the
//! store held, but for what it has told nobody, and that has let nothing pass.

use std::collections::HashMap;
use std::sync::Arc;

use super::script;
use crate::limiter::{Algorithm, Level, Moment, Nanos};
use crate::store::{Answer, Ask, Charge, Outcome, Rule, judge, look};

/// Counters that are remembered at most, each level by itself.
pub(super) const MOST_KNOWN: usize = 200_000;
/// Counters in the journal at most.
pub(super) const MOST_JOURNAL: usize = 100_000;
/// Different members of one counter in the journal at most.
const MOST_MEMBERS: usize = 64;

/// A level's state.
#[derive(Debug, Clone)]
struct Kept {
    level: Level,
    state: Box<[u8]>,
    expires: Nanos,
    /// When the store has told it, by the store's time.
    told: Nanos,
    /// The reign in which the store has told it or was told it.
    epoch: u32,
}

/// The state of a level, to be given back.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: Arc<[u8]>,
    pub(super) level: Level,
    pub(super) state: Box<[u8]>,
}

/// What was counted alone on one counter.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) rule: Arc<Rule>,
    pub(super) key: Box<[u8]>,
    /// Units, or the members one by one.
    pub(super) costs: Vec<u64>,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Away {
    known: HashMap<Arc<[u8]>, Kept>,
    /// Names of what is to be given back, the last first.
    to_give: Vec<Arc<[u8]>>,
    alone: HashMap<Box<[u8]>, Kept>,
    journal: HashMap<(Arc<str>, Box<[u8]>), Entry>,
    releases: Vec<Charge>,
    /// The number of the reign.
    epoch: u32,
    /// Since when there is something in the journal.
    since: Nanos,
    /// What the journal had no room for.
    pub(super) lost: u64,
}

fn is_distinct(rule: &Rule) -> bool {
    rule.levels.iter().any(|level| matches!(level.algorithm, Algorithm::Distinct { .. }))
}

impl Away {
    /// The state to send along with a question, where the store may have lost it.
    pub(super) fn unconfirmed(&self, name: &[u8]) -> Vec<u8> {
        match self.known.get(name) {
            Some(kept) if kept.epoch < self.epoch => kept.state.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The store has told the state of a level, at that moment of its own.
    pub(super) fn learn(&mut self, name: Vec<u8>, level: &Level, state: &[u8], at: &Moment) {
        let kept = Kept {
            level: *level,
            state: state.into(),
            expires: level.expires(state, at),
            told: at.now,
            epoch: self.epoch,
        };
        if let Some(known) = self.known.get_mut(name.as_slice()) {
            let used = |state| level.stands(state, 0, at).used;
            // Answers may overtake each other, and the store's clock may be set back.
            if known.epoch < kept.epoch || known.told <= kept.told || used(state) > used(&known.state) {
                *known = kept;
            }
            return;
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.retain(|_, kept| kept.expires > at.now);
        }
        // Where there is no room this host decides alone without knowing it: the bound is twice the limit.
        if self.known.len() < MOST_KNOWN && !state.is_empty() {
            self.known.insert(name.into(), kept);
        }
    }

    /// Forgets a level that was reset.
    pub(super) fn forget(&mut self, name: &[u8]) {
        self.known.remove(name);
        self.alone.remove(name);
    }

    fn state(&self, name: &[u8]) -> &[u8] {
        self.alone.get(name).or_else(|| self.known.get(name)).map_or(&[], |kept| &kept.state)
    }

    /// The states of all levels of a counter, as this host knows them.
    pub(super) fn states(&self, prefix: &str, rule: &Rule, key: &[u8]) -> Vec<Vec<u8>> {
        script::names(prefix, rule, key).iter().map(|name| self.state(name).to_vec()).collect()
    }

    /// Decides alone, as one of `hosts`; with `write`, counts.
    pub(super) fn decide(&mut self, prefix: &str, ask: &Ask, hosts: u32, write: bool, at: &Moment) -> Answer {
        let mut answer = Answer::default();
        let mut states = Vec::new();
        for counter in ask.counters() {
            let (rule, key) = (&counter.rule, ask.key(counter));
            let cost = share_cost(rule, counter.cost, hosts);
            let known = self.states(prefix, rule, key);
            let mut outcome = look(rule, cost, at, |each| {
                known.iter().enumerate().for_each(|(index, state)| each(index, state));
            });
            let least = rule.levels.iter().map(Level::allowed).min().unwrap_or(0);
            if outcome.retry_after.is_none() && (is_distinct(rule) || counter.cost <= least) {
                // It fits when the store is back.
                outcome.retry_after = u64::try_from(super::breaker::OPEN.as_nanos()).ok();
            }
            answer.outcomes.push(outcome);
            states.push(known);
        }
        judge(ask.counters().iter().map(|counter| &*counter.rule), ask.settled, &mut answer);
        if write {
            for ((counter, outcome), states) in ask.counters().iter().zip(&answer.outcomes).zip(&states) {
                let refused = !ask.settled && !counter.rule.passes(outcome.step);
                if outcome.counted && counter.cost > 0 && !refused {
                    self.count(prefix, &counter.rule, ask.key(counter), counter.cost, hosts, states, at);
                }
            }
        }
        answer
    }

    #[allow(clippy::too_many_arguments, reason = "one counter of a question, taken apart")]
    fn count(
        &mut self,
        prefix: &str,
        rule: &Arc<Rule>,
        key: &[u8],
        cost: u64,
        hosts: u32,
        states: &[Vec<u8>],
        at: &Moment,
    ) {
        for ((level, name), state) in rule.levels.iter().zip(script::names(prefix, rule, key)).zip(states) {
            let mut new = Vec::new();
            level.add(state, share_cost(rule, cost, hosts), at, &mut new);
            let expires = level.expires(&new, at);
            let kept = Kept { level: *level, expires, state: new.into(), told: at.now, epoch: self.epoch };
            if self.alone.len() < MOST_KNOWN {
                self.alone.insert(name.into(), kept);
            }
        }
        let place = (Arc::clone(&rule.name), Box::from(key));
        if !self.journal.contains_key(&place) && self.journal.len() >= MOST_JOURNAL {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        if self.journal.is_empty() {
            self.since = at.now;
        }
        let entry = self.journal.entry(place).or_insert_with(|| Entry {
            rule: Arc::clone(rule),
            key: key.into(),
            costs: Vec::new(),
        });
        entry.rule = Arc::clone(rule);
        if is_distinct(rule) {
            if entry.costs.len() >= MOST_MEMBERS {
                self.lost = self.lost.saturating_add(1);
            } else if !entry.costs.contains(&cost) {
                entry.costs.push(cost);
            }
        } else if let Some(sum) = entry.costs.first_mut() {
            *sum = sum.saturating_add(cost);
        } else {
            entry.costs.push(cost);
        }
    }

    /// Takes back alone: from the journal what was counted alone, and later from the store what it counted.
    pub(super) fn release(&mut self, prefix: &str, charges: Vec<Charge>, hosts: u32, at: &Moment) {
        for charge in charges {
            let place = (Arc::clone(&charge.rule.name), charge.key.clone());
            let journal = self.journal.get_mut(&place).filter(|_| charge.when >= self.since);
            match journal.and_then(|entry| entry.costs.first_mut()) {
                Some(_) if is_distinct(&charge.rule) => continue,
                Some(sum) => *sum = sum.saturating_sub(charge.cost),
                None if self.releases.len() < MOST_JOURNAL => self.releases.push(charge.clone()),
                None => self.lost = self.lost.saturating_add(1),
            }
            let names = script::names(prefix, &charge.rule, &charge.key);
            for (level, name) in charge.rule.levels.iter().zip(names) {
                if let Some(kept) = self.alone.get_mut(name.as_slice()) {
                    let mut new = Vec::new();
                    let cost = share_cost(&charge.rule, charge.cost, hosts);
                    level.take_back(&kept.state, cost, charge.when, at, &mut new);
                    kept.state = new.into();
                }
            }
        }
    }

    /// Another reign has begun at that moment of the store's, and the store may have lost all that it has told.
    pub(super) fn reigns(&mut self, born: Nanos) {
        self.epoch = self.epoch.saturating_add(1);
        // What has drained since counts all the same: what was counted since would be on top of it.
        let lasted = self.known.iter().filter(|(_, kept)| kept.expires > born);
        let mut names: Vec<_> = lasted.map(|(name, kept)| (kept.told, Arc::clone(name))).collect();
        names.sort_unstable_by_key(|(told, _)| *told);
        self.to_give = names.into_iter().map(|(_, name)| name).collect();
    }

    /// The next levels to be given back, at most so many; none when all is given back.
    pub(super) fn next_views(&mut self, most: usize) -> Vec<View> {
        let mut views = Vec::new();
        while views.len() < most
            && let Some(name) = self.to_give.pop()
        {
            // What a question had with it is back already.
            let kept = self.known.get(&name).filter(|kept| kept.epoch < self.epoch);
            if let Some(kept) = kept {
                views.push(View { level: kept.level, state: kept.state.clone(), name });
            }
        }
        views
    }

    /// The store has taken them back, in the reign with this number, and has told what it holds now.
    pub(super) fn given(&mut self, views: Vec<View>, states: &[Vec<u8>], epoch: u32, at: &Moment) {
        for (view, state) in views.into_iter().zip(states) {
            if self.epoch == epoch && self.known.contains_key(&view.name) {
                self.learn(view.name.to_vec(), &view.level, state, at);
            }
        }
    }

    /// The store has not taken them back.
    pub(super) fn not_given(&mut self, views: Vec<View>, epoch: u32) {
        if self.epoch == epoch {
            self.to_give.extend(views.into_iter().map(|view| view.name));
        }
    }

    /// The number of the reign.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether there is something to give back.
    pub(super) fn has_views(&self) -> bool {
        !self.to_give.is_empty()
    }

    /// Whether there is something to tell.
    pub(super) fn is_pending(&self) -> bool {
        !(self.journal.is_empty() && self.releases.is_empty())
    }

    /// Whether nothing is known that a store could have lost.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && !self.is_pending()
    }

    /// Takes what is to be told.
    pub(super) fn drain(&mut self) -> (Vec<Entry>, Vec<Charge>) {
        let entries = self.journal.drain().map(|(_, entry)| entry).collect();
        (entries, std::mem::take(&mut self.releases))
    }

    /// The store has been told all, and decides from now on.
    pub(super) fn told(&mut self) {
        self.alone.clear();
    }

    /// Puts back what could not be told.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>, releases: Vec<Charge>) {
        for entry in entries {
            let place = (Arc::clone(&entry.rule.name), entry.key.clone());
            match self.journal.get_mut(&place) {
                None => {
                    self.journal.insert(place, entry);
                }
                Some(newer) if is_distinct(&entry.rule) => newer.costs.extend(entry.costs),
                Some(newer) => {
                    let more = entry.costs.first().copied().unwrap_or(0);
                    if let Some(sum) = newer.costs.first_mut() {
                        *sum = sum.saturating_add(more);
                    }
                }
            }
        }
        self.releases.extend(releases);
    }

    /// Names of counters of a rule that are remembered, by key.
    pub(super) fn keys(&self, prefix: &str, rule: &Rule) -> Vec<Box<[u8]>> {
        let start = script::name(prefix, rule, 0, b"");
        self.known.keys().filter_map(|name| name.strip_prefix(start.as_slice())).map(Box::from).collect()
    }

    /// How many counters are remembered, levels counted one by one.
    pub(super) fn len(&self) -> usize {
        self.known.len() + self.alone.len()
    }
}

/// What a cost is to one of several hosts: see the head of this file.
fn share_cost(rule: &Rule, cost: u64, hosts: u32) -> u64 {
    if is_distinct(rule) { cost } else { cost.saturating_mul(hosts.max(1).into()) }
}

/// How a counter stands by states in a list.
pub(super) fn stands(rule: &Rule, cost: u64, at: &Moment, states: &[Vec<u8>]) -> Outcome {
    look(rule, cost, at, |each| states.iter().enumerate().for_each(|(index, state)| each(index, state)))
}
