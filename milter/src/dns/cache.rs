//! Answers of the DNS, kept for as long as their TTL says and bounded in number and bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dkim::KeyAnswer;

/// What one entry costs beside its name and data, roughly.
const ENTRY_OVERHEAD: usize = 128;

/// How much a cache may hold.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Entries at most.
    pub entries: usize,
    /// Bytes at most, names and data together.
    pub bytes: usize,
    /// Longest time that any answer is believed.
    pub longest: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 8 * 1024 * 1024, longest: Duration::from_secs(86_400) }
    }
}

/// Key answers by DNS name (lower case).
#[derive(Debug)]
pub struct Cache {
    limits: CacheLimits,
    entries: HashMap<Arc<str>, Entry>,
    /// Names in the order they came, to drop the oldest first; may name entries that were replaced.
    order: VecDeque<(Arc<str>, u64)>,
    bytes: usize,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<KeyAnswer>,
    expires: Instant,
    bytes: usize,
    serial: u64,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        Self { limits, entries: HashMap::new(), order: VecDeque::new(), bytes: 0, serial: 0 }
    }

    /// The answer for a name, if one is held that has not expired at `now`.
    #[must_use]
    pub fn find(&self, name: &str, now: Instant) -> Option<Arc<KeyAnswer>> {
        self.entries.get(name).filter(|entry| entry.expires > now).map(|entry| Arc::clone(&entry.answer))
    }

    /// Keeps an answer for `ttl`, dropping the oldest ones when there are too many. An answer that
    /// alone is larger than a sixteenth of the whole is not kept.
    pub fn keep(&mut self, name: &str, answer: Arc<KeyAnswer>, ttl: Duration, now: Instant) {
        let ttl = ttl.min(self.limits.longest);
        let bytes = name.len() + size(&answer) + ENTRY_OVERHEAD;
        let Some(expires) = now.checked_add(ttl) else { return };
        if ttl.is_zero() || bytes > self.limits.bytes / 16 {
            return;
        }
        let name: Arc<str> = Arc::from(name);
        self.serial += 1;
        let serial = self.serial;
        let entry = Entry { answer, expires, bytes, serial };
        if let Some(old) = self.entries.insert(Arc::clone(&name), entry) {
            self.bytes -= old.bytes;
        }
        self.bytes += bytes;
        self.order.push_back((name, serial));
        self.shrink();
    }

    fn shrink(&mut self) {
        let too_many = |cache: &Self| {
            cache.entries.len() > cache.limits.entries
                || cache.bytes > cache.limits.bytes
                || cache.order.len() > 2 * cache.limits.entries
        };
        while too_many(self) {
            let Some((name, serial)) = self.order.pop_front() else { return };
            if self.entries.get(&name).is_some_and(|entry| entry.serial == serial)
                && let Some(gone) = self.entries.remove(&name)
            {
                self.bytes -= gone.bytes;
            }
        }
    }

    /// Entries held now, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn size(answer: &KeyAnswer) -> usize {
    match answer {
        KeyAnswer::Records(records) => records.iter().map(|record| record.len() + 24).sum(),
        KeyAnswer::NotFound | KeyAnswer::TempFail(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::monotonic_now;

    fn record(bytes: usize) -> Arc<KeyAnswer> {
        Arc::new(KeyAnswer::Records(vec![vec![b'x'; bytes]]))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_lives_as_long_as_its_ttl() {
        let now = monotonic_now();
        let mut cache = Cache::new(CacheLimits::default());
        cache.keep("a", record(10), 60 * SECOND, now);
        cache.keep("gone", Arc::new(KeyAnswer::NotFound), 5 * SECOND, now);
        cache.keep("zero", record(10), Duration::ZERO, now);
        assert!(cache.find("a", now + 59 * SECOND).is_some());
        assert!(cache.find("a", now + 60 * SECOND).is_none());
        assert!(cache.find("gone", now + 4 * SECOND).is_some(), "negative answers are kept too");
        assert!(cache.find("gone", now + 5 * SECOND).is_none());
        assert!(cache.find("zero", now).is_none());
    }

    #[test]
    fn no_ttl_is_believed_beyond_the_longest() {
        let now = monotonic_now();
        let mut cache = Cache::new(CacheLimits { longest: 10 * SECOND, ..CacheLimits::default() });
        cache.keep("a", record(1), Duration::from_secs(u64::from(u32::MAX)), now);
        assert!(cache.find("a", now + 11 * SECOND).is_none());
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_oldest_goes_first() {
        let now = monotonic_now();
        let mut cache = Cache::new(CacheLimits { entries: 100, bytes: 100_000, longest: 100 * SECOND });
        for i in 0..100_000 {
            cache.keep(&format!("name{i}"), record(100), 60 * SECOND, now);
            // The same name again and again must not grow the order either.
            cache.keep("same", record(100), 60 * SECOND, now);
        }
        assert!(cache.len() <= 100 && cache.order.len() <= 200, "{} {}", cache.len(), cache.order.len());
        assert!(cache.bytes <= 100_000);
        assert!(cache.find("name99999", now).is_some());
        assert!(cache.find("name1", now).is_none());
        cache.keep("huge", record(50_000), 60 * SECOND, now);
        assert!(cache.find("huge", now).is_none(), "one answer must not push out all others");
        let total: usize = cache.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!(total, cache.bytes);
    }
}
