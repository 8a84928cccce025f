//! Each algorithm beside a slow and obvious model: a list of all that was let pass.

use proptest::prelude::*;

use super::calendar::Bound;
use super::{Algorithm, Bounds, Level, Moment, Nanos, SECOND, Unit};

const MILLI: Nanos = 1_000_000;
/// Some time in 2026.
const START: Nanos = 1_790_000_000 * SECOND;

/// What happens: time passes, then a cost is asked for, or an earlier one is taken back.
#[derive(Debug, Clone, Copy)]
struct Event {
    pause: Nanos,
    cost: u64,
    take_back: Option<usize>,
}

fn events(longest_pause: Nanos, greatest_cost: u64) -> impl Strategy<Value = Vec<Event>> {
    // Mostly bursts, now and then a long silence.
    let pause = prop_oneof![
        4 => 0..longest_pause / 50 + 1,
        1 => 0..longest_pause + 1,
        1 => Just(0),
    ];
    let back = prop_oneof![5 => Just(None), 1 => (0..20_usize).prop_map(Some)];
    let event = (pause, 0..=greatest_cost, back).prop_map(|(pause, cost, take_back)| Event {
        pause,
        cost,
        take_back,
    });
    prop::collection::vec(event, 1..120)
}

fn at(now: Nanos) -> Moment {
    Moment { now, bounds: Bounds::default() }
}

/// A limit under test, with what it let pass and did not take back.
struct Run {
    level: Level,
    state: Vec<u8>,
    passed: Vec<(Nanos, u64)>,
}

impl Run {
    fn new(level: Level) -> Self {
        let mut state = Vec::new();
        level.tag().nothing(&mut state);
        Self { level, state, passed: Vec::new() }
    }

    /// Asks, and counts if it fits.
    fn ask(&mut self, cost: u64, at: &Moment) -> bool {
        let standing = self.level.stands(&self.state, cost, at);
        let fits = standing.total <= standing.allowed;
        let wait = self.level.retry_after(&self.state, cost, at);
        assert_eq!(fits, wait == Some(0), "what stands and when to try again differ");
        assert_eq!(cost > standing.allowed, wait.is_none());
        if fits {
            let mut next = Vec::new();
            self.level.add(&self.state, cost, at, &mut next);
            let (one, rest) = self.level.tag().cut(&next);
            assert_eq!((one.len(), rest.len()), (next.len(), 0), "a state must know its length");
            self.state = next;
            self.passed.push((at.now, cost));
        }
        fits
    }

    fn take_back(&mut self, which: usize, at: &Moment) {
        if self.passed.is_empty() {
            return;
        }
        let which = which % self.passed.len();
        if self.passed[which].0 + self.level.period <= at.now + 2 * MILLI {
            // Its time is over: there is nothing to take back.
            return;
        }
        let (when, cost) = self.passed.remove(which);
        let mut next = Vec::new();
        self.level.take_back(&self.state, cost, when, at, &mut next);
        self.state = next;
    }

    /// Units that passed after `from`, up to now.
    fn since(&self, from: Nanos) -> u64 {
        self.passed.iter().filter(|(when, _)| *when > from).map(|(_, cost)| *cost).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_window_never_holds_more_than_the_limit(
        limit in 1..60_u64,
        period in prop_oneof![Just(SECOND), Just(30 * SECOND), Just(3600 * SECOND), Just(30 * 86_400 * SECOND)],
        events in events(2 * 3600 * SECOND, 12),
    ) {
        let mut run = Run::new(Level { algorithm: Algorithm::Window, limit, period });
        let mut now = START;
        for event in events {
            now += event.pause;
            if let Some(which) = event.take_back {
                run.take_back(which, &at(now));
            }
            let used = run.level.stands(&run.state, 0, &at(now)).used;
            prop_assert!(used >= run.since(now - period), "less counted than passed");
            let passes = run.ask(event.cost, &at(now));
            prop_assert!(run.since(now - period) <= limit);
            if !passes {
                // Nothing is refused that would fit by a twenty-fourth of the period later.
                let late = run.since(now - period - period / 24 - 2 * MILLI);
                prop_assert!(late + event.cost > limit, "{late} + {} fit", event.cost);
            }
            prop_assert!(run.state.len() <= 1 + 26 * 12);
            let expires = run.level.expires(&run.state, &at(now));
            prop_assert!((expires > now) == (run.level.stands(&run.state, 0, &at(now)).used > 0));
        }
    }

    #[test]
    fn after_the_time_to_try_again_it_fits(
        limit in 1..60_u64,
        gcra in any::<bool>(),
        events in events(3600 * SECOND, 12),
    ) {
        let algorithm = if gcra { Algorithm::Gcra { burst: limit } } else { Algorithm::Window };
        let mut run = Run::new(Level { algorithm, limit, period: 3600 * SECOND });
        let mut now = START;
        for event in events {
            now += event.pause;
            run.ask(event.cost, &at(now));
            if let Some(wait) = run.level.retry_after(&run.state, event.cost, &at(now)) {
                let then = at(now + wait);
                prop_assert_eq!(run.level.retry_after(&run.state, event.cost, &then), Some(0));
                if wait > 0 {
                    let before = at(now + wait - 1);
                    prop_assert!(run.level.retry_after(&run.state, event.cost, &before) != Some(0));
                }
            }
        }
    }

    #[test]
    fn a_rate_drains_as_a_bucket_does(
        limit in 1..1_000_000_u64,
        burst in 1..200_u64,
        events in events(3600 * SECOND, 60),
    ) {
        let period = 3600 * SECOND;
        let level = Level { algorithm: Algorithm::Gcra { burst }, limit, period };
        let mut run = Run::new(level);
        // What is in the bucket, in units of 1/period.
        let unit = u128::from(period);
        let (mut bucket, mut now) = (0_u128, START);
        // A millisecond of draining, which rounding may give away.
        let slack = u128::from(limit) * u128::from(MILLI) + unit / 1000;
        for event in events {
            now += event.pause;
            bucket = bucket.saturating_sub(u128::from(event.pause) * u128::from(limit));
            let full = bucket + u128::from(event.cost) * unit;
            let room = u128::from(burst) * unit;
            let passes = run.ask(event.cost, &at(now));
            if full <= room {
                prop_assert!(passes, "{full} fits in {room}");
            }
            if full > room + slack {
                prop_assert!(!passes, "{full} does not fit in {room}");
            }
            if passes {
                bucket = full;
            }
            prop_assert!(u128::from(run.since(now - period)) <= u128::from(burst + limit) + 1 + slack / unit);
        }
    }

    #[test]
    fn taking_back_from_a_rate_gives_no_more_than_was_taken(
        burst in 1..50_u64,
        events in events(1800 * SECOND, 10),
    ) {
        let level = Level { algorithm: Algorithm::Gcra { burst }, limit: burst, period: 3600 * SECOND };
        let (mut run, mut without) = (Run::new(level), Run::new(level));
        let mut now = START;
        for event in events {
            now += event.pause;
            if let Some(back) = event.take_back {
                // An attempt that comes to nothing some seconds later.
                if run.ask(event.cost, &at(now)) {
                    now += Nanos::try_from(back).unwrap() * SECOND;
                    let last = run.passed.len() - 1;
                    run.take_back(last, &at(now));
                }
                continue;
            }
            // Whatever it passes, one that never saw the attempts passes as well.
            let full = run.level.retry_after(&run.state, event.cost, &at(now)) == Some(0);
            if full {
                prop_assert!(without.ask(event.cost, &at(now)));
                run.ask(event.cost, &at(now));
            }
        }
    }

    #[test]
    fn a_calendar_counts_from_midnight_to_midnight(
        limit in 1..40_u64,
        events in events(86_400 * SECOND, 9),
        steps in prop::collection::vec(-43_000..43_000_i64, 0..5),
    ) {
        let level = Level { algorithm: Algorithm::Calendar(Unit::Day), limit, period: 86_400 * SECOND };
        let mut run = Run::new(level);
        let (mut now, mut set) = (START, 0_i64);
        let mut steps = steps.into_iter();
        let mut latest = 0;
        let mut passed = 0;
        let mut days = 0;
        for (index, event) in events.into_iter().enumerate() {
            now += event.pause;
            if index % 20 == 19 {
                // Somebody sets the clock, by less than a day.
                set = steps.next().unwrap_or(set);
            }
            let wall = u64::try_from(i64::try_from(now / SECOND).unwrap() + set).unwrap();
            let start = wall / 86_400 * 86_400;
            let end = now + (start + 86_400 - wall) * SECOND;
            let day = Bound { start, next: start + 86_400, end };
            let moment = Moment { now, bounds: Bounds([day; 4]) };
            if start > latest {
                latest = start;
                days += 1;
            }
            if run.ask(event.cost, &moment) {
                passed += event.cost;
            }
            // Each day that the clock has shown gives the limit once, in whichever order it shows them.
            prop_assert!(passed <= limit * days, "{passed} in {days} days");
        }
    }

    #[test]
    fn different_members_are_counted_once(
        limit in 1..6_u64,
        members in prop::collection::vec((0..4000_u64, 0..12_u64), 1..80),
    ) {
        let level = Level { algorithm: Algorithm::Distinct { memory: 0 }, limit, period: 3600 * SECOND };
        let mut run = Run::new(level);
        let mut seen: Vec<(u64, u64)> = Vec::new();
        let mut now = START;
        for (pause, member) in members {
            now += pause * SECOND;
            let secs = now / SECOND;
            seen.retain(|(_, last)| last + 3600 > secs);
            let standing = level.stands(&run.state, member, &at(now));
            let known = seen.iter().any(|(other, _)| *other == member);
            let used = u64::try_from(seen.len()).unwrap();
            prop_assert_eq!((standing.used, standing.total), (used, used + u64::from(!known)));
            if standing.total <= limit {
                let mut next = Vec::new();
                level.add(&run.state, member, &at(now), &mut next);
                run.state = next;
                seen.retain(|(other, _)| *other != member);
                seen.push((member, secs));
            } else {
                let wait = level.retry_after(&run.state, member, &at(now)).unwrap();
                prop_assert!(wait > 0);
                let then = level.stands(&run.state, member, &at(now + wait));
                prop_assert!(then.total <= limit);
            }
        }
    }

    #[test]
    fn broken_states_are_read_as_something(bytes in prop::collection::vec(any::<u8>(), 0..100), cost in any::<u64>()) {
        let day = Bound { start: 1_790_000_000, next: 1_790_086_400, end: START + 86_400 * SECOND };
        let moment = Moment { now: START, bounds: Bounds([day; 4]) };
        for algorithm in [
            Algorithm::Gcra { burst: 10 },
            Algorithm::Window,
            Algorithm::Calendar(Unit::Day),
            Algorithm::Distinct { memory: 0 },
            Algorithm::Distinct { memory: 90 * SECOND },
        ] {
            let level = Level { algorithm, limit: 10, period: 60 * SECOND };
            let (state, _) = level.tag().cut(&bytes);
            let found = (
                level.stands(state, cost, &moment),
                level.retry_after(state, cost, &moment),
                level.expires(state, &moment),
            );
            prop_assert!(found.0.total >= found.0.used);
            for step in 0..3 {
                let mut out = Vec::new();
                match step {
                    0 => level.add(state, cost, &moment, &mut out),
                    1 => level.take_back(state, cost, START - SECOND, &moment, &mut out),
                    _ => level.clamp(state, &moment, &mut out),
                }
                if out.len() >= state.len().min(1) {
                    let _cut = level.tag().cut(&out);
                }
            }
        }
    }
}

#[test]
fn a_wrong_clock_of_yesterday_does_not_last() {
    let day = Bound { start: 1_789_948_800, next: 1_790_035_200, end: START + 35_200 * SECOND };
    let moment = Moment { now: START, bounds: Bounds([day; 4]) };
    let years = at(START + 20 * 365 * 86_400 * SECOND);
    for (algorithm, longest) in [
        (Algorithm::Gcra { burst: 10 }, 3601),
        (Algorithm::Window, 3601),
        (Algorithm::Distinct { memory: 0 }, 3601),
        (Algorithm::Calendar(Unit::Day), 35_200),
    ] {
        let level = Level { algorithm, limit: 10, period: 3600 * SECOND };
        let ahead = Bound { start: years.now / SECOND, next: years.now / SECOND + 86_400, end: u64::MAX };
        let (mut state, mut mended) = (Vec::new(), Vec::new());
        level.add(&[], 7, &Moment { now: years.now, bounds: Bounds([ahead; 4]) }, &mut state);
        level.clamp(&state, &moment, &mut mended);
        assert!(level.stands(&mended, 1, &moment).used > 0, "{algorithm:?}: nothing is given away");
        let expires = level.expires(&mended, &moment);
        assert!(expires <= START + longest * SECOND, "{algorithm:?} lasts until {expires}");
    }
}

#[test]
fn large_numbers_are_exact() {
    // 100 GB a day: less than a nanosecond for a byte.
    let level = Level {
        algorithm: Algorithm::Gcra { burst: 100_000_000_000 },
        limit: 100_000_000_000,
        period: 86_400 * SECOND,
    };
    let mut run = Run::new(level);
    let mut passed = 0_u64;
    while run.ask(123_456_789, &at(START)) {
        passed += 123_456_789;
    }
    assert_eq!(passed, 100_000_000_000 / 123_456_789 * 123_456_789);
    // A third of a unit is no unit.
    let level = Level { algorithm: Algorithm::Gcra { burst: 7 }, limit: 7, period: 3600 * SECOND };
    let mut run = Run::new(level);
    assert_eq!((0..20).filter(|_| run.ask(1, &at(START))).count(), 7);
    assert!(!run.ask(1, &at(START + 3600 * SECOND / 7 - 100)));
    assert!(run.ask(1, &at(START + 3600 * SECOND / 7 + 1)));
}
