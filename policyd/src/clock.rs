//! The store's time: it never goes back and never jumps while the machine runs, whoever sets the clock.
//!
//! It begins as 1970's time and goes on with the time since the machine was started. A restart of this
//! service goes on exactly where it was; one of the machine goes on by the clock on the wall, and stands still
//! rather than going back. What follows the calendar looks at the wall.

use std::time::Duration;

use crate::limiter::{Bounds, Moment, Nanos, SECOND};
use crate::timezone::Zone;

/// What was written down of a clock, and what one is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which start of the machine: a hash of its boot id.
    pub boot: u64,
    /// The time since that start.
    pub since_boot: Nanos,
    /// The time since 1970 on the wall.
    pub wall: Nanos,
}

/// The store's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Reading,
    /// The store's time at the origin.
    base: Nanos,
    zone: Zone,
    bounds: Bounds,
    /// The moment that the bounds were made at, and the difference of wall and store time then.
    made: Option<(Nanos, i128)>,
}

impl Clock {
    /// A clock that goes on from what [`Clock::written`] gave before a restart.
    #[must_use]
    pub fn resume(written: Option<&[u8]>, now: Reading, zone: Zone) -> Self {
        let base = match written.and_then(read) {
            Some((then, store)) if then.boot == now.boot => {
                store.saturating_add(now.since_boot.saturating_sub(then.since_boot))
            }
            Some((then, store)) => store.saturating_add(now.wall.saturating_sub(then.wall)),
            None => now.wall,
        };
        Self { origin: now, base, zone, bounds: Bounds::default(), made: None }
    }

    /// What [`Clock::resume`] wants after a restart.
    #[must_use]
    pub fn written(&self, now: Reading) -> Vec<u8> {
        let store = self.now(now.since_boot);
        format!("{:x} {} {} {store}", now.boot, now.since_boot, now.wall).into_bytes()
    }

    /// The store's time.
    #[must_use]
    pub fn now(&self, since_boot: Nanos) -> Nanos {
        self.base.saturating_add(since_boot.saturating_sub(self.origin.since_boot))
    }

    /// Changes the time zone.
    pub fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
        self.made = None;
    }

    /// The store's time and the calendar's periods.
    pub fn moment(&mut self, since_boot: Nanos, wall: Nanos) -> Moment {
        let now = self.now(since_boot);
        let apart = i128::from(wall) - i128::from(now);
        let holds = self.made.is_some_and(|(made, then)| {
            let end = self.bounds.0.iter().map(|bound| bound.end).min().unwrap_or(0);
            // Slewing of the clock does not count, setting it does.
            (made..end).contains(&now) && (apart - then).unsigned_abs() < u128::from(SECOND)
        });
        if !holds {
            self.bounds = self.zone.bounds(wall, now);
            self.made = Some((now, apart));
        }
        Moment { now, bounds: self.bounds }
    }
}

/// The number of this start of the machine, of its boot id.
#[must_use]
pub fn boot_number(id: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    id.trim().bytes().fold(0xcbf2_9ce4_8422_2325, fnv)
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

fn read(written: &[u8]) -> Option<(Reading, Nanos)> {
    let text = std::str::from_utf8(written).ok()?;
    let mut words = text.split(' ');
    let boot = u64::from_str_radix(words.next()?, 16).ok()?;
    let mut next = || words.next()?.parse().ok();
    Some((Reading { boot, since_boot: next()?, wall: next()? }, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::named(Some("UTC")).unwrap()
    }

    const START: Reading = Reading { boot: 1, since_boot: 100 * SECOND, wall: 1_800_000_000 * SECOND };

    #[test]
    fn setting_the_clock_changes_nothing_but_the_calendar() {
        let mut clock = Clock::resume(None, START, zone());
        let day = |clock: &mut Clock, secs: u64, wall: u64| {
            let at = clock.moment((100 + secs) * SECOND, wall * SECOND);
            (at.now / SECOND, at.bounds.0[1].start, at.bounds.0[1].end / SECOND)
        };
        let midnight = 1_800_000_000 / 86_400 * 86_400;
        assert_eq!(day(&mut clock, 0, 1_800_000_000), (1_800_000_000, midnight, midnight + 86_400));
        // A day back, and a day ahead.
        assert_eq!(day(&mut clock, 1, 1_799_913_601).1, midnight - 86_400);
        assert_eq!(day(&mut clock, 2, 1_800_086_402), (1_800_000_002, midnight + 86_400, midnight + 86_400));
    }

    #[test]
    fn a_restart_goes_on_whatever_the_clock_says() {
        let clock = Clock::resume(None, START, zone());
        let at = |secs: u64| (100 + secs) * SECOND;
        let end = Reading { since_boot: at(50), wall: 5 * SECOND, ..START };
        let written = clock.written(end);
        let again = |boot, secs, wall| {
            let now = Reading { boot, since_boot: at(secs), wall };
            Clock::resume(Some(&written), now, zone()).now(at(secs)) / SECOND - 1_800_000_000
        };
        // The same start of the machine: exactly ten seconds later, with any clock.
        assert_eq!(again(1, 60, 0), 60);
        assert_eq!(again(1, 60, u64::MAX), 60);
        // Another: by the clock on the wall, and never back.
        assert_eq!(again(2, 1, 12 * SECOND), 57);
        assert_eq!(again(2, 1, 0), 50);
        assert_eq!(Clock::resume(Some(b"junk"), START, zone()).now(at(0)), START.wall);
    }
}
