//! Answers that were worth having, for a while: keyed by an HMAC of user and password, bounded. No clock.
//!
//! Nothing here can be turned back into a password: the key of the HMAC is random and lives in memory.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use aws_lc_rs::hmac;

use crate::config::settings::Cache as Settings;
use crate::fields::Fields;

/// What an answer is remembered under.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The password was right; the passdb's fields.
    Right(Fields),
    /// It was wrong.
    Wrong,
    /// There was no such user.
    Unknown,
}

/// A bounded memory of answers.
#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    secret: hmac::Key,
    entries: HashMap<Key, Entry>,
    /// Oldest first; an entry that was written again is in here twice, with its old and new serial.
    order: VecDeque<(Key, u64)>,
    serial: u64,
    bytes: u64,
    figures: Figures,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    at: Instant,
    serial: u64,
    bytes: u64,
}

/// How the cache does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Questions answered from here.
    pub hits: u64,
    /// Questions that had to be asked.
    pub misses: u64,
    /// Answers served past their time because the back end was away.
    pub stale: u64,
    /// Answers held.
    pub entries: u64,
    /// What they take, about.
    pub bytes: u64,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(<hidden>)")
    }
}

/// What an entry takes besides its fields: key, maps, times.
const OVERHEAD: u64 = 200;

impl Cache {
    /// An empty cache; `secret` is random.
    #[must_use]
    pub fn new(settings: Settings, secret: &[u8; 32]) -> Self {
        Self {
            settings,
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            entries: HashMap::new(),
            order: VecDeque::new(),
            serial: 0,
            bytes: 0,
            figures: Figures::default(),
        }
    }

    /// The key of these parts; their borders count.
    #[must_use]
    pub fn key(&self, parts: &[&[u8]]) -> Key {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        Key(key)
    }

    /// An answer that is still good.
    pub fn fresh(&mut self, key: Key, now: Instant) -> Option<Answer> {
        let found = self.entries.get(&key).filter(|entry| {
            let ttl = match entry.answer {
                Answer::Right(_) => self.settings.ttl,
                Answer::Wrong | Answer::Unknown => self.settings.negative_ttl,
            };
            now.saturating_duration_since(entry.at) < ttl
        });
        let answer = found.map(|entry| entry.answer.clone());
        if answer.is_some() {
            self.figures.hits += 1;
        } else {
            self.figures.misses += 1;
        }
        answer
    }

    /// While the back end is away: the fields of a password that was right not too long ago.
    pub fn stale(&mut self, key: Key, now: Instant) -> Option<Fields> {
        let entry = self.entries.get(&key)?;
        let Answer::Right(fields) = &entry.answer else { return None };
        if now.saturating_duration_since(entry.at) >= self.settings.stale_ttl {
            return None;
        }
        self.figures.stale += 1;
        Some(fields.clone())
    }

    /// Remembers an answer; the oldest ones make room.
    pub fn put(&mut self, key: Key, answer: Answer, now: Instant) {
        if !matches!(answer, Answer::Right(_)) && self.settings.negative_ttl.is_zero() {
            self.remove(key);
            return;
        }
        let bytes = OVERHEAD + size(&answer);
        if bytes > self.settings.size_bytes {
            self.remove(key);
            return;
        }
        self.remove(key);
        self.serial += 1;
        self.bytes += bytes;
        self.entries.insert(key, Entry { answer, at: now, serial: self.serial, bytes });
        self.order.push_back((key, self.serial));
        while self.bytes > self.settings.size_bytes {
            let Some((oldest, serial)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.serial == serial) {
                self.remove(oldest);
            }
        }
        // Entries that were written again leave their old place in the queue behind.
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order.retain(|(key, serial)| entries.get(key).is_some_and(|entry| entry.serial == *serial));
        }
    }

    /// Forgets one answer.
    pub fn forget(&mut self, key: Key) {
        self.remove(key);
    }

    /// Forgets everything, and tells how many answers that were.
    pub fn clear(&mut self) -> usize {
        let count = self.entries.len();
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
        count
    }

    /// How the cache does.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            entries: u64::try_from(self.entries.len()).unwrap_or(u64::MAX),
            bytes: self.bytes,
            ..self.figures
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(old) = self.entries.remove(&key) {
            self.bytes -= old.bytes;
        }
    }
}

fn size(answer: &Answer) -> u64 {
    let length = match answer {
        Answer::Wrong | Answer::Unknown => 0,
        Answer::Right(fields) => {
            fields.iter().map(|(name, value)| 64 + name.len() + value.map_or(0, str::len)).sum()
        }
    };
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cache(size_bytes: u64) -> Cache {
        let settings = Settings {
            size_bytes,
            ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(60),
            stale_ttl: Duration::from_secs(3600),
        };
        Cache::new(settings, &[7; 32])
    }

    #[test]
    fn answers_age() {
        let now = base::clock::monotonic_now();
        let mut cache = cache(1 << 20);
        let (good, bad) = (cache.key(&[b"bob", b"right"]), cache.key(&[b"bob", b"wrong"]));
        cache.put(good, Answer::Right(Fields::new()), now);
        cache.put(bad, Answer::Wrong, now);
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(cache.fresh(good, at(299)), Some(Answer::Right(Fields::new())));
        assert_eq!(cache.fresh(good, at(300)), None);
        assert_eq!(cache.fresh(bad, at(59)), Some(Answer::Wrong));
        assert_eq!(cache.fresh(bad, at(60)), None);
        assert_eq!(cache.stale(good, at(3599)), Some(Fields::new()));
        assert_eq!(cache.stale(good, at(3600)), None);
        assert_eq!(cache.stale(bad, at(1)), None);
        let figures = cache.figures();
        assert_eq!((figures.hits, figures.misses, figures.stale, figures.entries), (2, 2, 1, 2));
    }

    #[test]
    fn the_borders_of_parts_count() {
        let cache = cache(1000);
        assert_ne!(cache.key(&[b"ab", b"c"]), cache.key(&[b"a", b"bc"]));
        assert_eq!(cache.key(&[b"ab", b"c"]), cache.key(&[b"ab", b"c"]));
        let other = Cache::new(cache.settings, &[8; 32]);
        assert_ne!(cache.key(&[b"ab"]), other.key(&[b"ab"]));
    }

    #[test]
    fn it_stays_within_its_size() {
        let now = base::clock::monotonic_now();
        let mut cache = cache(50 * OVERHEAD);
        for n in 0..1000u32 {
            let key = cache.key(&[&n.to_be_bytes()]);
            cache.put(key, Answer::Wrong, now);
            cache.put(key, Answer::Wrong, now);
        }
        assert_eq!(cache.figures().entries, 50);
        assert!(cache.order.len() <= 116, "{}", cache.order.len());
        let (old, new) = (cache.key(&[&0u32.to_be_bytes()]), cache.key(&[&999u32.to_be_bytes()]));
        assert!(cache.fresh(old, now).is_none() && cache.fresh(new, now).is_some());
        let mut big = Fields::new();
        big.set("x", Some("y".repeat(100_000)));
        let key = cache.key(&[b"big"]);
        cache.put(key, Answer::Right(big), now);
        assert!(cache.fresh(key, now).is_none());
        cache.forget(new);
        assert!(cache.fresh(new, now).is_none());
        assert_eq!(cache.clear(), 49);
        assert_eq!(cache.figures().bytes, 0);
    }

    #[test]
    fn keys_print_nothing() {
        assert_eq!(format!("{:?}", cache(1).key(&[b"x"])), "Key(<hidden>)");
    }
}
