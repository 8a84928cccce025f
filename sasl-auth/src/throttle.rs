//! Failures per (address, user) and per address → how long answers wait. No clock, bounded memory.
//!
//! A failure is answered late, the later the more there were. A good password of a user who has not
//! failed from this address is never delayed, whatever others behind the same address do: that is
//! what locks whole offices out of Dovecot. After some failures the guesses at one user from one
//! address take turns; a password that was good before passes them by.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::settings::Throttle as Settings;

/// From this many failures on, checks for one user from one address come one after the other.
const PATIENT_FAILURES: u32 = 3;
/// The distance between them.
const GAP: Duration = Duration::from_secs(1);
/// So many of them are looked at at a time even before the first has failed.
const MOST_IN_FLIGHT: u32 = 16;
/// From this many failures on, an address's slow checks wait behind everybody else's.
const SUSPECT_FAILURES: u32 = 10;
/// Entries that share a place; the oldest of them gives way.
const WAYS: usize = 8;

/// Failures that are remembered, in a table of fixed size.
#[derive(Debug)]
pub struct Throttle {
    settings: Settings,
    seed: RandomState,
    entries: Vec<Option<Entry>>,
    /// Keyed hashes of names and passwords that have let somebody in.
    good: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    failures: u32,
    last: Instant,
    next_check: Instant,
    in_flight: u32,
}

/// Who is asking: an address (already cut to its prefix) and perhaps a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a> {
    address: Option<IpAddr>,
    user: Option<&'a str>,
}

/// What comes before a password is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It may be looked at then; now for all but those who have failed repeatedly. Followed by
    /// [`Throttle::done`].
    At(Instant),
    /// Too many wait already, or are being looked at: ask again, or give up.
    Later,
}

impl Throttle {
    /// An empty table.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let places = settings.entries.div_ceil(WAYS).max(1) * WAYS;
        Self { settings, seed: RandomState::new(), entries: vec![None; places], good: vec![0; places] }
    }

    /// Takes over changed settings; what is remembered stays, except when the size changes.
    pub fn reconfigure(&mut self, settings: Settings) {
        if settings.entries == self.settings.entries {
            self.settings = settings;
        } else {
            *self = Self::new(settings);
        }
    }

    /// Before a check of `user` from `address`: reserves its turn, if there is one before `latest`.
    pub fn before(&mut self, address: Option<IpAddr>, user: &str, now: Instant, latest: Instant) -> Before {
        let key = Key { address: self.network(address), user: Some(user) };
        let entry = self.entry_or_new(key, now);
        let Some(entry) = entry else { return Before::At(now) };
        if entry.in_flight >= MOST_IN_FLIGHT {
            return Before::Later;
        }
        let mut at = now;
        if entry.failures >= PATIENT_FAILURES {
            at = entry.next_check.max(now);
            if at > latest {
                return Before::Later;
            }
            entry.next_check = at + GAP;
        }
        entry.in_flight += 1;
        Before::At(at)
    }

    /// A check that [`Self::before`] has let pass is over.
    pub fn done(&mut self, address: Option<IpAddr>, user: &str, now: Instant) {
        let key = Key { address: self.network(address), user: Some(user) };
        if let Some(entry) = self.entry(key, now) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
    }

    /// Whether the address has failed often: its slow checks go last.
    pub fn is_suspect(&mut self, address: Option<IpAddr>, now: Instant) -> bool {
        let key = Key { address: self.network(address), user: None };
        self.entry(key, now).is_some_and(|entry| entry.failures >= SUSPECT_FAILURES)
    }

    /// Whether this password has let this user in before: it need not wait for those who guess.
    #[must_use]
    pub fn was_good(&self, user: &str, password: &[u8]) -> bool {
        let hash = self.seed.hash_one((user, password));
        self.good_place(hash).is_some_and(|place| self.good.get(place) == Some(&hash))
    }

    /// Remembers a password that has let its user in; only a keyed hash of both is kept.
    pub fn is_good(&mut self, user: &str, password: &[u8]) {
        let hash = self.seed.hash_one((user, password));
        if let Some(place) = self.good_place(hash)
            && let Some(place) = self.good.get_mut(place)
        {
            *place = hash;
        }
    }

    fn good_place(&self, hash: u64) -> Option<usize> {
        let places = u64::try_from(self.good.len()).ok()?;
        usize::try_from(hash.checked_rem(places)?).ok()
    }

    /// Counts a failure and tells how long after the request its answer goes out.
    pub fn failed(&mut self, address: Option<IpAddr>, user: &str, now: Instant) -> Duration {
        let address = self.network(address);
        let pair = self.count(Key { address, user: Some(user) }, now);
        let all = self.count(Key { address, user: None }, now);
        let steps = pair.saturating_sub(1).saturating_add(all / 4);
        let delay =
            self.settings.failure_delay.saturating_add(Duration::from_millis(500).saturating_mul(steps));
        if self.settings.failure_delay.is_zero() {
            Duration::ZERO
        } else {
            delay.min(self.settings.max_delay)
        }
    }

    /// A good password: what this user did wrong from this address is forgotten.
    pub fn succeeded(&mut self, address: Option<IpAddr>, user: &str, now: Instant) {
        let key = Key { address: self.network(address), user: Some(user) };
        if let Some(entry) = self.entry(key, now) {
            entry.failures = 0;
            entry.next_check = now;
        }
    }

    /// How long after a request a failure is answered that is not the user's fault.
    #[must_use]
    pub fn plain_delay(&self) -> Duration {
        self.settings.failure_delay.min(self.settings.max_delay)
    }

    fn network(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.map(|ip| prefix(ip, self.settings.ipv4_prefix, self.settings.ipv6_prefix))
    }

    fn count(&mut self, key: Key<'_>, now: Instant) -> u32 {
        let Some(entry) = self.entry_or_new(key, now) else { return 1 };
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
        entry.failures
    }

    /// The entry of `key`; a new one takes the place of one that is over or has no failures, else of the
    /// oldest.
    fn entry_or_new(&mut self, key: Key<'_>, now: Instant) -> Option<&mut Entry> {
        let forget = self.settings.forget_after;
        let hash = self.seed.hash_one(key);
        let is_live = move |entry: &Entry| now.saturating_duration_since(entry.last) < forget;
        let ways = self.ways(hash);
        let known =
            ways.iter().position(|entry| entry.is_some_and(|entry| entry.key == hash && is_live(&entry)));
        let place = match known {
            Some(place) => ways.get_mut(place)?,
            None => {
                let place = ways.iter_mut().min_by_key(|entry| {
                    entry.filter(is_live).map(|old| (old.failures > 0 || old.in_flight > 0, old.last))
                })?;
                *place = Some(Entry { key: hash, failures: 0, last: now, next_check: now, in_flight: 0 });
                place
            }
        };
        place.as_mut()
    }

    fn entry(&mut self, key: Key<'_>, now: Instant) -> Option<&mut Entry> {
        let key = self.seed.hash_one(key);
        let forget = self.settings.forget_after;
        self.ways(key)
            .iter_mut()
            .flatten()
            .find(|entry| entry.key == key && now.saturating_duration_since(entry.last) < forget)
    }

    fn ways(&mut self, key: u64) -> &mut [Option<Entry>] {
        let sets = self.entries.len() / WAYS;
        let set = usize::try_from(key % u64::try_from(sets.max(1)).unwrap_or(1)).unwrap_or(0);
        self.entries.get_mut(set * WAYS..(set + 1) * WAYS).unwrap_or_default()
    }
}

/// The network of `address`: its first `v4` or `v6` bits. An IPv4 address mapped into IPv6 counts as
/// what it is.
#[must_use]
pub fn prefix(address: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let keep = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(v4))).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & keep).into())
        }
        IpAddr::V6(ip) => {
            let keep = u128::MAX.checked_shl(128u32.saturating_sub(u32::from(v6))).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & keep).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: usize) -> Settings {
        Settings {
            failure_delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(6),
            forget_after: Duration::from_secs(600),
            entries,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
        }
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn before(throttle: &mut Throttle, address: &str, user: &str, now: Instant) -> Before {
        throttle.before(ip(address), user, now, now + Duration::from_secs(7))
    }

    #[test]
    fn others_failures_do_not_delay_a_good_user() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        for n in 0..100 {
            throttle.failed(ip("192.0.2.1"), &format!("user{}", n % 7), now);
        }
        assert_eq!(before(&mut throttle, "192.0.2.1", "good", now), Before::At(now));
        assert!(throttle.is_suspect(ip("192.0.2.1"), now));
        assert_eq!(before(&mut throttle, "192.0.2.1", "user1", now), Before::At(now));
        assert_eq!(before(&mut throttle, "192.0.2.1", "user1", now), Before::At(now + GAP));
        assert!(!throttle.is_suspect(ip("192.0.2.2"), now));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_the_bound() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        let delays: Vec<Duration> = (0..20).map(|_| throttle.failed(ip("192.0.2.1"), "bob", now)).collect();
        assert_eq!(delays.first(), Some(&Duration::from_secs(2)));
        assert!(delays.is_sorted());
        assert_eq!(delays.last(), Some(&Duration::from_secs(6)));
    }

    #[test]
    fn guesses_at_one_user_come_one_after_the_other() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        for _ in 0..3 {
            throttle.failed(ip("192.0.2.1"), "bob", now);
        }
        let turns: Vec<Before> = (0..600).map(|_| before(&mut throttle, "192.0.2.1", "bob", now)).collect();
        for (n, turn) in (0..8u32).zip(&turns) {
            assert_eq!(*turn, Before::At(now + GAP * n));
        }
        assert!(turns.iter().skip(8).all(|turn| *turn == Before::Later));
        for _ in 0..8 {
            throttle.done(ip("192.0.2.1"), "bob", now);
        }
        // Those who were sent away have taken nobody's turn.
        let later = now + GAP * 8;
        assert_eq!(before(&mut throttle, "192.0.2.1", "bob", later), Before::At(later));
        throttle.succeeded(ip("192.0.2.1"), "bob", now);
        assert_eq!(before(&mut throttle, "192.0.2.1", "bob", now), Before::At(now));
    }

    #[test]
    fn a_first_burst_is_not_looked_at_all_at_once() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        let turns: Vec<Before> = (0..100).map(|_| before(&mut throttle, "192.0.2.1", "bob", now)).collect();
        let most = usize::try_from(MOST_IN_FLIGHT).unwrap();
        assert_eq!(turns.iter().filter(|turn| **turn == Before::At(now)).count(), most);
        throttle.done(ip("192.0.2.1"), "bob", now);
        assert_eq!(before(&mut throttle, "192.0.2.1", "bob", now), Before::At(now));
        assert_eq!(before(&mut throttle, "192.0.2.1", "bob", now), Before::Later);
        assert_eq!(before(&mut throttle, "192.0.2.1", "eve", now), Before::At(now));
    }

    #[test]
    fn a_password_that_was_good_is_known_again() {
        let mut throttle = Throttle::new(settings(1024));
        assert!(!throttle.was_good("bob", b"secret"));
        throttle.is_good("bob", b"secret");
        assert!(throttle.was_good("bob", b"secret"));
        assert!(!throttle.was_good("bob", b"Secret") && !throttle.was_good("eve", b"secret"));
    }

    #[test]
    fn failures_are_forgotten() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        for _ in 0..9 {
            throttle.failed(ip("192.0.2.1"), "bob", now);
        }
        let later = now + Duration::from_secs(600);
        assert_eq!(before(&mut throttle, "192.0.2.1", "bob", later), Before::At(later));
        assert_eq!(throttle.failed(ip("192.0.2.1"), "bob", later), Duration::from_secs(2));
    }

    #[test]
    fn the_table_does_not_grow_and_keeps_the_newest() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(64));
        for n in 0..100_000u32 {
            throttle.failed(Some(IpAddr::V4(n.into())), "bob", now + Duration::from_micros(u64::from(n)));
        }
        assert_eq!(throttle.entries.len(), 64);
        let end = now + Duration::from_secs(1);
        for _ in 0..4 {
            throttle.failed(ip("192.0.2.1"), "bob", end);
        }
        before(&mut throttle, "192.0.2.1", "bob", end);
        assert_eq!(before(&mut throttle, "192.0.2.1", "bob", end), Before::At(end + GAP));
    }

    #[test]
    fn no_delay_means_none() {
        let mut throttle = Throttle::new(Settings { failure_delay: Duration::ZERO, ..settings(64) });
        assert_eq!(throttle.failed(ip("::1"), "bob", base::clock::monotonic_now()), Duration::ZERO);
    }

    #[test]
    fn prefixes() {
        let cut = |text: &str, v4, v6| prefix(text.parse().unwrap(), v4, v6).to_string();
        assert_eq!(cut("192.0.2.77", 24, 64), "192.0.2.0");
        assert_eq!(cut("::ffff:192.0.2.77", 32, 64), "192.0.2.77");
        assert_eq!(cut("2001:db8:1:2:3::4", 32, 64), "2001:db8:1:2::");
        assert_eq!((cut("192.0.2.77", 0, 0), cut("::1", 0, 0)), ("0.0.0.0".into(), "::".into()));
        assert_eq!(cut("192.0.2.77", 99, 200), "192.0.2.77");
    }
}
