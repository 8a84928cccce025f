//! Failures per (address, user) and per address → how long answers wait. No clock, bounded memory.
//!
//! A failure is answered late, the later the more there were. A good password of a user who has not
//! failed from this address is never delayed, whatever others behind the same address do: that is
//! what locks whole offices out of Dovecot.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::settings::Throttle as Settings;

/// From this many failures on, checks for one user from one address come one after the other.
const PATIENT_FAILURES: u32 = 3;
/// The distance between them.
const GAP: Duration = Duration::from_secs(1);
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
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    failures: u32,
    last: Instant,
    next_check: Instant,
}

/// Who is asking: an address (already cut to its prefix) and perhaps a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a> {
    address: Option<IpAddr>,
    user: Option<&'a str>,
}

/// What comes before a password is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// When it may be looked at; now for all but those who have failed repeatedly.
    pub check_at: Instant,
    /// The address has failed often: its slow checks go last.
    pub suspect: bool,
}

impl Throttle {
    /// An empty table.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let places = settings.entries.div_ceil(WAYS).max(1) * WAYS;
        Self { settings, seed: RandomState::new(), entries: vec![None; places] }
    }

    /// Takes over changed settings; what is remembered stays, except when the size changes.
    pub fn reconfigure(&mut self, settings: Settings) {
        if settings.entries == self.settings.entries {
            self.settings = settings;
        } else {
            *self = Self::new(settings);
        }
    }

    /// Before a check of `user` from `address`: reserves its turn.
    pub fn before(&mut self, address: Option<IpAddr>, user: &str, now: Instant) -> Before {
        let address = self.network(address);
        let suspect = self
            .entry(Key { address, user: None }, now)
            .is_some_and(|entry| entry.failures >= SUSPECT_FAILURES);
        let mut check_at = now;
        if let Some(entry) = self.entry(Key { address, user: Some(user) }, now)
            && entry.failures >= PATIENT_FAILURES
        {
            check_at = entry.next_check.max(now);
            entry.next_check = check_at + GAP;
        }
        Before { check_at, suspect }
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
        if let Some(entry) = self.entry(key, now) {
            entry.failures = entry.failures.saturating_add(1);
            entry.last = now;
            return entry.failures;
        }
        let key = self.seed.hash_one(key);
        let forget = self.settings.forget_after;
        let place = self.ways(key).iter_mut().min_by_key(|entry| {
            entry.filter(|old| now.saturating_duration_since(old.last) < forget).map(|old| old.last)
        });
        if let Some(place) = place {
            *place = Some(Entry { key, failures: 1, last: now, next_check: now });
        }
        1
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

    #[test]
    fn others_failures_do_not_delay_a_good_user() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        for n in 0..100 {
            throttle.failed(ip("192.0.2.1"), &format!("user{}", n % 7), now);
        }
        let good = throttle.before(ip("192.0.2.1"), "good", now);
        assert_eq!(good, Before { check_at: now, suspect: true });
        assert!(throttle.before(ip("192.0.2.1"), "user1", now + GAP).check_at >= now + GAP);
        assert!(!throttle.before(ip("192.0.2.2"), "user1", now).suspect);
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
        let turns: Vec<Duration> =
            (0..5).map(|_| throttle.before(ip("192.0.2.1"), "bob", now).check_at - now).collect();
        assert_eq!(turns, (0..5).map(|n| GAP * n).collect::<Vec<_>>());
        throttle.succeeded(ip("192.0.2.1"), "bob", now);
        assert_eq!(throttle.before(ip("192.0.2.1"), "bob", now).check_at, now);
    }

    #[test]
    fn failures_are_forgotten() {
        let now = base::clock::monotonic_now();
        let mut throttle = Throttle::new(settings(1024));
        for _ in 0..9 {
            throttle.failed(ip("192.0.2.1"), "bob", now);
        }
        let later = now + Duration::from_secs(600);
        assert_eq!(
            throttle.before(ip("192.0.2.1"), "bob", later),
            Before { check_at: later, suspect: false }
        );
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
        throttle.before(ip("192.0.2.1"), "bob", end);
        assert!(throttle.before(ip("192.0.2.1"), "bob", end).check_at > end);
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
