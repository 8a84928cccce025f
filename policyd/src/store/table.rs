//! Records of counters in memory: found by limit and key, each one piece of an arena.
//!
//! A record is `limit u16, shape u16, key's length u16, flags u8, 0`, the key, and the states of its levels
//! one after the other. The shape says which levels they are ([`Tag`]); shapes are few and kept aside. The
//! hash has a random seed: keys are chosen by strangers.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

use super::arena::{Arena, Place, size_of};
use super::{LimitId, Rule};
use crate::limiter::{Moment, Tag};

/// Shards: each grows by itself, so that no growth takes long, and is swept by itself.
const SHARDS: usize = 1024;
/// Bytes before the key.
const HEAD: usize = 8;
/// The record is in the table.
const LIVE: u8 = 1;
/// The record has changed since it was handed on.
const CHANGED: u8 = 2;

/// A limit's name and how many records it has.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: Arc<str>,
    pub(super) keys: u64,
}

/// All records.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[HashTable<u32>]>,
    arena: Arena,
    seed: RandomState,
    pub(super) names: Vec<Name>,
    shapes: Vec<Box<[Tag]>>,
    scratch: Vec<u8>,
    /// Whether changes are to be kept for [`Table::changes`].
    pub(super) follow: bool,
    changed: Vec<u32>,
    removed: Vec<(LimitId, Box<[u8]>)>,
    next_swept: usize,
}

/// A record, as it lies in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) limit: LimitId,
    pub(super) shape: u16,
    pub(super) key: &'a [u8],
    pub(super) states: &'a [u8],
    flags: u8,
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes)
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let len = usize::from(short(bytes, 4));
        let rest = bytes.get(HEAD..).unwrap_or_default();
        let (key, states) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        Self {
            limit: LimitId(short(bytes, 0)),
            shape: short(bytes, 2),
            key,
            states,
            flags: bytes.get(6).copied().unwrap_or(0),
        }
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            arena: Arena::default(),
            seed: RandomState::new(),
            names: Vec::new(),
            shapes: Vec::new(),
            scratch: Vec::new(),
            follow: false,
            changed: Vec::new(),
            removed: Vec::new(),
            next_swept: 0,
        }
    }

    /// The number of a name, new or known.
    pub(super) fn limit(&mut self, name: &str) -> LimitId {
        let known = self.names.iter().position(|known| &*known.name == name);
        let at = known.unwrap_or_else(|| {
            self.names.push(Name { name: Arc::from(name), keys: 0 });
            self.names.len() - 1
        });
        LimitId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// The levels of a shape.
    pub(super) fn shape(&self, shape: u16) -> &[Tag] {
        self.shapes.get(usize::from(shape)).map_or(&[], |tags| tags)
    }

    fn shape_of(&mut self, rule: &Rule) -> u16 {
        let same = |tags: &[Tag]| {
            tags.len() == rule.levels.len()
                && tags.iter().zip(&rule.levels).all(|(tag, level)| *tag == level.tag())
        };
        let known = self.shapes.iter().position(|tags| same(tags));
        let at = known.unwrap_or_else(|| {
            self.shapes.push(rule.levels.iter().map(super::super::limiter::Level::tag).collect());
            self.shapes.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    pub(super) fn hash(&self, limit: LimitId, key: &[u8]) -> u64 {
        hash(&self.seed, limit, key)
    }

    fn shard(hash: u64) -> usize {
        usize::try_from(hash >> 32).unwrap_or(0) % SHARDS
    }

    pub(super) fn find(&self, hash: u64, limit: LimitId, key: &[u8]) -> Option<Place> {
        let shard = self.shards.get(Self::shard(hash))?;
        let same = |packed: &u32| {
            let record = Record::read(self.arena.bytes(Place::unpack(*packed)));
            record.limit == limit && record.key == key
        };
        shard.find(hash, same).map(|packed| Place::unpack(*packed))
    }

    pub(super) fn record(&self, place: Place) -> Record<'_> {
        Record::read(self.arena.bytes(place))
    }

    /// Hands each level of a rule with its state in the record, empty where the record has none.
    pub(super) fn states<'a>(
        &'a self,
        place: Option<Place>,
        rule: &Rule,
        mut each: impl FnMut(usize, &'a [u8]),
    ) {
        let Some(place) = place else {
            (0..rule.levels.len()).for_each(|index| each(index, &[]));
            return;
        };
        let record = self.record(place);
        let tags = self.shape(record.shape);
        let mut rest = record.states;
        let same = tags.len() == rule.levels.len();
        if same && tags.iter().zip(&rule.levels).all(|(tag, level)| *tag == level.tag()) {
            for (index, tag) in tags.iter().enumerate() {
                let (state, after) = tag.cut(rest);
                rest = after;
                each(index, state);
            }
            return;
        }
        // The limit has other levels than when this was written: what is the same goes on.
        for (index, level) in rule.levels.iter().enumerate() {
            let mut rest = record.states;
            let mut found: &[u8] = &[];
            for tag in tags {
                let (state, after) = tag.cut(rest);
                rest = after;
                if *tag == level.tag() {
                    found = state;
                    break;
                }
            }
            each(index, found);
        }
    }

    /// Writes the record of a key: `write` puts the state of each level of the rule at the end of a buffer.
    pub(super) fn write(
        &mut self,
        place: Option<Place>,
        hash: u64,
        rule: &Rule,
        key: &[u8],
        mut write: impl FnMut(usize, &[u8], &mut Vec<u8>),
    ) {
        let shape = self.shape_of(rule);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        head(rule.id, shape, key, &mut scratch);
        self.states(place, rule, |index, state| {
            let before = scratch.len();
            write(index, state, &mut scratch);
            if scratch.len() == before
                && let Some(level) = rule.levels.get(index)
            {
                level.tag().nothing(&mut scratch);
            }
        });
        self.put(place, hash, &mut scratch);
        self.scratch = scratch;
    }

    /// Puts a record, as it will lie in memory, in the place of the one that was there.
    fn put(&mut self, old: Option<Place>, hash: u64, bytes: &mut [u8]) {
        let mut was_changed = false;
        if let Some(flags) = old.and_then(|place| self.arena.bytes_mut(place).get(6).copied()) {
            was_changed = flags & CHANGED != 0;
        }
        if let Some(flags) = bytes.get_mut(6) {
            *flags = LIVE | if self.follow { CHANGED } else { 0 };
        }
        let place = match old {
            Some(place) if self.arena.bytes(place).len() == size_of(bytes.len()) => place,
            _ => {
                was_changed = false;
                let place = self.arena.allocate(bytes.len());
                self.enter(old, place, hash, bytes);
                place
            }
        };
        if let Some(to) = self.arena.bytes_mut(place).get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        if self.follow && !was_changed {
            self.changed.push(place.pack());
        }
    }

    /// Enters a new place into the shard, for the old one or as a new key.
    fn enter(&mut self, old: Option<Place>, place: Place, hash: u64, bytes: &[u8]) {
        let Self { shards, arena, seed, names, .. } = self;
        let Some(shard) = shards.get_mut(Self::shard(hash)) else { return };
        if let Some(old) = old {
            if let Some(entry) = shard.find_mut(hash, |packed| *packed == old.pack()) {
                *entry = place.pack();
            }
            if let Some(flags) = arena.bytes_mut(old).get_mut(6) {
                *flags = 0;
            }
            arena.free(old);
            return;
        }
        let limit = Record::read(bytes).limit;
        if let Some(name) = names.get_mut(usize::from(limit.0)) {
            name.keys += 1;
        }
        // The record is not in its place yet, but no growth looks at it: it is entered last.
        shard.insert_unique(hash, place.pack(), |packed| {
            let record = Record::read(arena.bytes(Place::unpack(*packed)));
            self::hash(seed, record.limit, record.key)
        });
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, place: Place) {
        let record = self.record(place);
        let (limit, hash) = (record.limit, self.hash(record.limit, record.key));
        if self.follow {
            let key = Box::from(record.key);
            self.removed.push((limit, key));
        }
        if let Some(shard) = self.shards.get_mut(Self::shard(hash))
            && let Ok(entry) = shard.find_entry(hash, |packed| *packed == place.pack())
        {
            entry.remove();
        }
        if let Some(flags) = self.arena.bytes_mut(place).get_mut(6) {
            *flags = 0;
        }
        self.arena.free(place);
        if let Some(name) = self.names.get_mut(usize::from(limit.0)) {
            name.keys = name.keys.saturating_sub(1);
        }
    }

    /// All records of one shard, and of the next one the next time.
    pub(super) fn next_shard(&mut self) -> Vec<Place> {
        let at = self.next_swept;
        self.next_swept = (at + 1) % SHARDS;
        self.shard_at(at)
    }

    /// How many shards there are.
    pub(super) fn shards() -> usize {
        SHARDS
    }

    /// All records of a shard.
    pub(super) fn shard_at(&self, at: usize) -> Vec<Place> {
        self.shards
            .get(at)
            .map_or_else(Vec::new, |shard| shard.iter().map(|packed| Place::unpack(*packed)).collect())
    }

    /// All records.
    pub(super) fn all(&self) -> impl Iterator<Item = Record<'_>> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|packed| self.record(Place::unpack(*packed))))
    }

    /// Makes room for so many records, for [`Table::load`]: no table grows meanwhile.
    pub(super) fn expect(&mut self, records: usize) {
        let Self { shards, arena, seed, .. } = self;
        // Chance gives some shards more than the others.
        let each = records / SHARDS + records / SHARDS / 8;
        for shard in shards.iter_mut() {
            shard.reserve(each, |packed| {
                let record = Record::read(arena.bytes(Place::unpack(*packed)));
                hash(seed, record.limit, record.key)
            });
        }
    }

    /// The number of a shape, new or known.
    pub(super) fn shape_number(&mut self, tags: &[Tag]) -> u16 {
        let known = self.shapes.iter().position(|known| **known == *tags);
        let at = known.unwrap_or_else(|| {
            self.shapes.push(tags.into());
            self.shapes.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// Puts a record as it was handed on by [`Table::changes`], whose key must not be there yet.
    pub(super) fn load(&mut self, limit: LimitId, shape: u16, key: &[u8], states: &[u8]) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        head(limit, shape, key, &mut bytes);
        bytes.extend_from_slice(states);
        self.put(None, self.hash(limit, key), &mut bytes);
        self.scratch = bytes;
    }

    /// Whether there is anything for [`Table::changes`].
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.removed.is_empty()
    }

    /// Hands on what has changed since the last time: first what is gone, then what is there.
    pub(super) fn changes(
        &mut self,
        mut gone: impl FnMut(&str, Box<[u8]>),
        mut there: impl FnMut(&str, Record<'_>, &[Tag]),
    ) {
        for (limit, key) in self.removed.drain(..) {
            if let Some(name) = self.names.get(usize::from(limit.0)) {
                gone(&name.name, key);
            }
        }
        for packed in std::mem::take(&mut self.changed) {
            let place = Place::unpack(packed);
            let flags = match self.arena.bytes_mut(place).get_mut(6) {
                Some(flags) => std::mem::replace(flags, *flags & !CHANGED),
                None => 0,
            };
            // A place that was given up and not used again is not there; one that was used again is new.
            if flags & LIVE == 0 || flags & CHANGED == 0 {
                continue;
            }
            let record = self.record(place);
            if let Some(name) = self.names.get(usize::from(record.limit.0)) {
                there(&name.name, record, self.shape(record.shape));
            }
        }
    }

    /// Bytes of all records and of the tables that find them.
    pub(super) fn bytes(&self) -> usize {
        let tables: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        self.arena.held() + tables
    }

    /// Whether any level of a record is still in use at a moment, and whether one lies ahead of it, by the
    /// levels that the rule has now.
    pub(super) fn lasts(&self, place: Place, rule: &Rule, at: &Moment) -> (bool, bool) {
        let (mut lasts, mut ahead) = (false, false);
        self.states(Some(place), rule, |index, state| {
            if let Some(level) = rule.levels.get(index) {
                lasts |= level.expires(state, at) > at.now;
                ahead |= level.is_ahead(state, at);
            }
        });
        (lasts, ahead)
    }
}

impl Record<'_> {
    /// Whether it is in the table.
    pub(super) fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }
}

fn head(limit: LimitId, shape: u16, key: &[u8], out: &mut Vec<u8>) {
    let key = key.get(..usize::from(u16::MAX)).unwrap_or(key);
    out.extend_from_slice(&limit.0.to_le_bytes());
    out.extend_from_slice(&shape.to_le_bytes());
    out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(key);
}

fn hash(seed: &RandomState, limit: LimitId, key: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write_u16(limit.0);
    hasher.write(key);
    hasher.finish()
}
