//! Which refusals begin an incident: one for each limit and key, until it has been quiet for a while. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::Refusal;

/// Incidents that are remembered; when there are more, those quiet longest are forgotten.
pub(super) const MOST: usize = 20_000;

/// The incidents that go on.
#[derive(Debug, Clone, Default)]
pub struct Incidents {
    known: HashMap<Place, Incident>,
}

/// For whom (by place in the configuration), limit, key, and whether it is a dry run.
type Place = (usize, Box<str>, Box<str>, bool);

#[derive(Debug, Clone, Copy)]
struct Incident {
    last: u64,
    step: u32,
}

impl Incidents {
    /// Whether a refusal begins an incident for the notice at this place, or reaches a further step of one.
    /// An incident is over when the limit has not been reached by the key for `quiet`.
    pub fn begins(&mut self, notice: usize, refusal: &Refusal, quiet: Duration) -> bool {
        let now = refusal.time;
        let place =
            (notice, Box::from(refusal.limit.as_str()), Box::from(refusal.key.as_str()), refusal.dry_run);
        if let Some(incident) = self.known.get_mut(&place) {
            // A clock that was set back makes nothing new.
            let over = now.saturating_sub(incident.last) > quiet.as_secs();
            let further = refusal.step > incident.step;
            incident.last = incident.last.max(now);
            incident.step = if over { refusal.step } else { incident.step.max(refusal.step) };
            return over || further;
        }
        if self.known.len() >= MOST {
            self.forget();
        }
        self.known.insert(place, Incident { last: now, step: refusal.step });
        true
    }

    /// Forgets the half that has been quiet longest.
    fn forget(&mut self) {
        let mut times: Vec<u64> = self.known.values().map(|incident| incident.last).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.known.retain(|_, incident| incident.last > median);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(3600);

    fn refusal(key: &str, step: u32, time: u64) -> Refusal {
        Refusal { key: key.into(), step, time, ..super::super::send::tests::refusal() }
    }

    #[test]
    fn one_notice_an_incident_and_one_a_step() {
        let mut incidents = Incidents::default();
        let mut at = |key: &str, step, time| incidents.begins(0, &refusal(key, step, time), QUIET);
        assert!(at("joe", 1, 1000));
        assert!(!at("joe", 1, 1001));
        assert!(!at("joe", 1, 4601), "it is quiet from the last refusal on");
        assert!(at("ann", 1, 4601));
        assert!(at("joe", 2, 4602), "it has become worse");
        assert!(!at("joe", 1, 4603) && !at("joe", 2, 4604));
        assert!(!at("joe", 1, 10), "a clock set back");
        assert!(at("joe", 1, 4604 + 3601), "a new one");
        assert!(at("joe", 2, 4604 + 3602));
    }

    #[test]
    fn notices_do_not_take_each_others_incidents() {
        let mut incidents = Incidents::default();
        assert!(incidents.begins(0, &refusal("joe", 1, 1), QUIET));
        assert!(incidents.begins(1, &refusal("joe", 1, 1), QUIET));
        let dry = Refusal { dry_run: true, ..refusal("joe", 1, 1) };
        assert!(incidents.begins(0, &dry, QUIET));
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_keeps_the_newest() {
        let mut incidents = Incidents::default();
        for time in 0..100_000_u64 {
            assert!(incidents.begins(0, &refusal(&format!("k{time}"), 1, time), QUIET));
            assert!(incidents.len() <= MOST);
        }
        assert!(!incidents.begins(0, &refusal("k99999", 1, 100_000), QUIET));
    }
}
