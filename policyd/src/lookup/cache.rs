//! Answers of a list, for a while and within a bound: what is listed and what is not have half of it each, so that a
//! flood of made-up names pushes out none that is listed. No clock: times are arguments.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::template::Sought;

/// What a list says of a value: the text that it has there; `None` when it is not listed.
pub type Answer = Option<Arc<str>>;

/// How long answers hold, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// What is listed is asked again after so long.
    pub listed: Duration,
    /// What is not listed is asked again after so long.
    pub unlisted: Duration,
    /// An answer is forgotten after so long, asked again or not.
    pub stale: Duration,
    /// Memory for all of them, about.
    pub bytes: u64,
}

/// The memory.
#[derive(Debug)]
pub struct Cache {
    lifetimes: Lifetimes,
    listed: Half,
    unlisted: Half,
    /// Answers of before count as old: they are asked again, and hold while nobody answers.
    fresh_from: Option<Instant>,
}

/// One half: it gives up what was put there first.
#[derive(Debug, Default)]
struct Half {
    entries: HashMap<Sought, Entry>,
    /// Oldest first. What was put again is in here twice, with its old number and its new one.
    order: VecDeque<(Sought, u64)>,
    number: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    at: Instant,
    number: u64,
    bytes: u64,
}

/// What an answer takes besides its texts, which are held twice.
const OVERHEAD: u64 = 160;

impl Cache {
    /// An empty one.
    #[must_use]
    pub fn new(lifetimes: Lifetimes) -> Self {
        Self { lifetimes, listed: Half::default(), unlisted: Half::default(), fresh_from: None }
    }

    /// An answer that still holds at `now`.
    #[must_use]
    pub fn fresh(&self, sought: &Sought, now: Instant) -> Option<&Answer> {
        let entry = self.entry(sought)?;
        let lifetime = if entry.answer.is_some() { self.lifetimes.listed } else { self.lifetimes.unlisted };
        let asked_since = self.fresh_from.is_none_or(|from| entry.at >= from);
        (asked_since && now.saturating_duration_since(entry.at) < lifetime).then_some(&entry.answer)
    }

    /// The last answer, however old.
    #[must_use]
    pub fn known(&self, sought: &Sought) -> Option<&Answer> {
        self.entry(sought).map(|entry| &entry.answer)
    }

    fn entry(&self, sought: &Sought) -> Option<&Entry> {
        self.listed.entries.get(sought).or_else(|| self.unlisted.entries.get(sought))
    }

    /// Remembers an answer; the oldest of its kind make room.
    pub fn put(&mut self, sought: Sought, answer: Answer, now: Instant) {
        let most = self.lifetimes.bytes / 2;
        let (into, from) = match answer {
            Some(_) => (&mut self.listed, &mut self.unlisted),
            None => (&mut self.unlisted, &mut self.listed),
        };
        from.remove(&sought);
        into.put(sought, answer, now, most);
    }

    /// Has everything asked again, which holds until somebody answers.
    pub fn expire(&mut self, now: Instant) {
        self.fresh_from = Some(now);
    }

    /// Forgets what is older than everything may become.
    pub fn sweep(&mut self, now: Instant) {
        let stale = self.lifetimes.stale.max(self.lifetimes.listed).max(self.lifetimes.unlisted);
        for half in [&mut self.listed, &mut self.unlisted] {
            while let Some((oldest, number)) = half.order.front() {
                let current = half.entries.get(oldest).filter(|entry| entry.number == *number);
                if current.is_some_and(|entry| now.saturating_duration_since(entry.at) < stale) {
                    break;
                }
                half.drop_oldest();
            }
        }
    }

    /// How many answers there are: listed, not listed.
    #[must_use]
    pub fn entries(&self) -> [usize; 2] {
        [self.listed.entries.len(), self.unlisted.entries.len()]
    }

    /// What they take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.listed.bytes + self.unlisted.bytes
    }
}

impl Half {
    fn put(&mut self, sought: Sought, answer: Answer, now: Instant, most: u64) {
        self.remove(&sought);
        let length = 2 * sought.len() + answer.as_ref().map_or(0, |text| text.len());
        let bytes = OVERHEAD + u64::try_from(length).unwrap_or(u64::MAX / 2);
        if bytes > most {
            return;
        }
        self.number += 1;
        self.bytes += bytes;
        self.order.push_back((sought.clone(), self.number));
        self.entries.insert(sought, Entry { answer, at: now, number: self.number, bytes });
        while self.bytes > most && self.drop_oldest() {}
        // What was put again has left its old place in the queue behind.
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order
                .retain(|(sought, number)| entries.get(sought).is_some_and(|entry| entry.number == *number));
        }
    }

    fn remove(&mut self, sought: &Sought) {
        if let Some(old) = self.entries.remove(sought) {
            self.bytes -= old.bytes;
        }
    }

    /// Takes the first of the queue out; false when there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some((oldest, number)) = self.order.pop_front() else { return false };
        if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
            self.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;
    use super::*;
    use crate::key::Field;
    use crate::protocol::{Attribute, Request};

    fn sought(name: &str) -> Sought {
        let mut request = Request::default();
        request.set(Attribute::Sender, name.as_bytes());
        Template::parse("%u").unwrap().of_request(Field::of("sender").unwrap(), &request).unwrap()
    }

    fn cache(bytes: u64) -> Cache {
        let secs = Duration::from_secs;
        Cache::new(Lifetimes { listed: secs(60), unlisted: secs(10), stale: secs(3600), bytes })
    }

    #[test]
    fn answers_age_become_stale_and_are_forgotten() {
        let start = base::clock::monotonic_now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut cache = cache(1 << 20);
        let (vip, nobody) = (sought("vip"), sought("nobody"));
        cache.put(vip.clone(), Some("5/hour".into()), start);
        cache.put(nobody.clone(), None, start);
        assert_eq!(cache.fresh(&vip, after(59)), Some(&Some("5/hour".into())));
        assert_eq!(cache.fresh(&vip, after(60)), None);
        assert_eq!(cache.fresh(&nobody, after(9)), Some(&None));
        assert_eq!(cache.fresh(&nobody, after(10)), None);
        assert_eq!(cache.known(&vip), Some(&Some("5/hour".into())));
        cache.sweep(after(3599));
        assert_eq!(cache.entries(), [1, 1]);
        cache.sweep(after(3600));
        assert_eq!((cache.known(&vip), cache.entries(), cache.bytes()), (None, [0, 0], 0));
        assert!(cache.listed.order.is_empty() && cache.unlisted.order.is_empty());
    }

    #[test]
    fn a_changed_answer_takes_the_place_of_the_other() {
        let start = base::clock::monotonic_now();
        let mut cache = cache(1 << 20);
        let one = sought("one");
        cache.put(one.clone(), Some("1".into()), start);
        cache.put(one.clone(), None, start);
        assert_eq!((cache.known(&one), cache.entries()), (Some(&None), [0, 1]));
        cache.put(one.clone(), Some("2".into()), start);
        assert_eq!((cache.known(&one), cache.entries()), (Some(&Some("2".into())), [1, 0]));
    }

    #[test]
    fn a_reload_has_everything_asked_again() {
        let start = base::clock::monotonic_now();
        let mut cache = cache(1 << 20);
        let one = sought("one");
        cache.put(one.clone(), None, start);
        let later = start + Duration::from_secs(1);
        cache.expire(later);
        assert_eq!((cache.fresh(&one, later), cache.known(&one)), (None, Some(&None)));
        cache.put(one.clone(), None, later);
        assert_eq!(cache.fresh(&one, later), Some(&None));
    }

    #[test]
    fn it_is_bounded_and_floods_push_out_nobody_who_is_listed() {
        let start = base::clock::monotonic_now();
        let mut cache = cache(100 * 200);
        cache.put(sought("vip"), Some("x".into()), start);
        for number in 0..10_000 {
            cache.put(sought(&format!("{number}@a.example")), None, start);
            cache.put(sought(&format!("{}@a.example", number % 7)), None, start);
        }
        assert!(cache.known(&sought("vip")).is_some());
        assert!(
            cache.bytes() <= 100 * 200 && cache.entries()[1] > 30,
            "{} {:?}",
            cache.bytes(),
            cache.entries()
        );
        assert!(cache.unlisted.order.len() <= 2 * cache.unlisted.entries.len() + 17);
        let long = sought(&"x".repeat(1000));
        let mut small = self::cache(2000);
        small.put(long.clone(), None, start);
        assert_eq!(small.known(&long), None, "what is larger than its half is not kept");
    }
}
