//! When is the store away? A circuit breaker: closed, open for a while after some failures, then one probe.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// How long it stays open before a probe.
pub(super) const OPEN: Duration = Duration::from_secs(5);

/// The state of the connection to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is asked; so many failures in a row.
    Closed(u32),
    /// It is not asked until then.
    Open(Instant),
    /// One probe is under way.
    Probing,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Ask the store.
    Ask,
    /// Do without it.
    Without,
    /// Do without it, and start a probe.
    Probe,
}

/// The breaker.
#[derive(Debug)]
pub(crate) struct Breaker(State);

impl Breaker {
    pub(crate) fn new() -> Self {
        Self(State::Closed(0))
    }

    /// What to do at `now`.
    pub(crate) fn way(&mut self, now: Instant) -> Way {
        match self.0 {
            State::Closed(_) => Way::Ask,
            State::Open(until) if now >= until => {
                self.0 = State::Probing;
                Way::Probe
            }
            State::Open(_) | State::Probing => Way::Without,
        }
    }

    /// The store has answered.
    pub(crate) fn succeeded(&mut self) {
        if let State::Closed(_) = self.0 {
            self.0 = State::Closed(0);
        }
    }

    /// The store has not answered in time. True when this has opened it.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        let State::Closed(failures) = self.0 else { return false };
        if failures + 1 < FAILURES {
            self.0 = State::Closed(failures + 1);
            return false;
        }
        self.0 = State::Open(now + OPEN);
        true
    }

    /// The store answers and cannot be asked yet: what it has lost is given back first, as in a probe.
    pub(super) fn leave(&mut self) {
        self.0 = State::Probing;
    }

    /// The probe is over.
    pub(crate) fn probed(&mut self, well: bool, now: Instant) {
        self.0 = if well { State::Closed(0) } else { State::Open(now + OPEN) };
    }

    /// Whether the store is asked.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.0, State::Closed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_open_it_and_one_probe_closes_it() {
        let start = base::clock::monotonic_now();
        let after = |secs: u64| start + Duration::from_secs(secs);
        let mut breaker = Breaker::new();
        assert!(!breaker.failed(start) && !breaker.failed(start));
        breaker.succeeded();
        assert!(!breaker.failed(start) && !breaker.failed(start));
        assert_eq!(breaker.way(start), Way::Ask);
        assert!(breaker.failed(start));
        assert_eq!(breaker.way(after(4)), Way::Without);
        assert!(!breaker.failed(after(4)), "an answer that was still out changes nothing");
        assert_eq!(breaker.way(after(5)), Way::Probe);
        assert_eq!(breaker.way(after(5)), Way::Without, "one probe at a time");
        breaker.probed(false, after(6));
        assert_eq!((breaker.way(after(10)), breaker.way(after(11))), (Way::Without, Way::Probe));
        breaker.probed(true, after(12));
        assert!(breaker.is_closed());
        assert_eq!(breaker.way(after(12)), Way::Ask);
    }
}
