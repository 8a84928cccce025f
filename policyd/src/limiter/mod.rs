//! What a limit counts with: one level's state as bytes, and what becomes of it. Pure arithmetic.
//!
//! | algorithm | state | bound |
//! |---|---|---|
//! | [`gcra`] | the time at which all is drained | limit + burst in any period |
//! | [`window`] | up to 25 groups of events | limit in any period |
//! | [`calendar`] | count and beginning of its period | limit from one beginning to the next |
//! | [`distinct`] | the members seen | limit different ones in any period |
//!
//! All states are bytes, so that a key with its levels is one piece of memory, in a table and in a file.
//! A state of which nothing is left is empty. Broken bytes read as an empty state.

pub mod calendar;
pub mod distinct;
pub mod gcra;
pub mod window;

#[cfg(test)]
mod tests;

pub use calendar::{Bounds, Unit};

/// Nanoseconds since 1970, by the clock of whoever decides: see [`crate::store`].
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// `N per period` of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How it counts.
    pub algorithm: Algorithm,
    /// N: how many units are allowed; at least 1.
    pub limit: u64,
    /// The period; of [`Algorithm::Calendar`] for texts only.
    pub period: Nanos,
}

/// How a level counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// A rate, with this many units at once.
    Gcra {
        /// Units that may come at once; at least 1.
        burst: u64,
    },
    /// Never more than the limit in any period.
    Window,
    /// Never more than the limit between two beginnings of a calendar's unit.
    Calendar(Unit),
    /// Different members (networks, countries, recipients) within a period.
    Distinct {
        /// Count a member while it is new, and remember it for so long afterwards; 0: count a member from
        /// its last appearance on.
        memory: Nanos,
    },
}

/// When something happens: the store's time, and the calendar's periods around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The store's time.
    pub now: Nanos,
    /// The present hour, day, week and month.
    pub bounds: Bounds,
}

/// How a level would stand with a cost added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Units in use, without the cost.
    pub used: u64,
    /// Units in use with the cost.
    pub total: u64,
    /// What `total` must not exceed.
    pub allowed: u64,
}

impl Level {
    /// What may be in use at most.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        match self.algorithm {
            Algorithm::Gcra { burst } => burst,
            _ => self.limit,
        }
    }

    /// Whether states of this level can be read as states of the other.
    #[must_use]
    pub fn tag(&self) -> Tag {
        let (kind, length) = match self.algorithm {
            Algorithm::Gcra { .. } => (1, 0),
            Algorithm::Window => (2, self.period),
            Algorithm::Calendar(unit) => (3, unit as u64),
            Algorithm::Distinct { memory } => (4, self.period.max(memory)),
        };
        Tag((kind << 60) | (length / 1_000_000))
    }

    /// How the level stands. `cost` is a number of units, or the member of [`Algorithm::Distinct`].
    #[must_use]
    pub fn stands(&self, state: &[u8], cost: u64, at: &Moment) -> Standing {
        let used = match self.algorithm {
            Algorithm::Gcra { .. } => gcra::used(self, state, at.now),
            Algorithm::Window => window::used(state, self.period, at.now),
            Algorithm::Calendar(unit) => calendar::used(state, at.bounds.of(unit)),
            Algorithm::Distinct { memory } => {
                let (used, with) = distinct::used(state, self.period, memory, cost, at.now);
                return Standing { used, total: with, allowed: self.limit };
            }
        };
        Standing { used, total: used.saturating_add(cost), allowed: self.allowed() }
    }

    /// Writes the state with the cost added.
    pub fn add(&self, state: &[u8], cost: u64, at: &Moment, out: &mut Vec<u8>) {
        match self.algorithm {
            Algorithm::Gcra { .. } => gcra::add(self, state, cost, at.now, out),
            Algorithm::Window => window::add(state, self.period, cost, at.now, out),
            Algorithm::Calendar(unit) => calendar::add(state, at.bounds.of(unit), cost, out),
            Algorithm::Distinct { memory } => distinct::add(state, self.period, memory, cost, at.now, out),
        }
    }

    /// Writes the state without a cost that was added at `when`; never less than if it had not been added.
    pub fn take_back(&self, state: &[u8], cost: u64, when: Nanos, at: &Moment, out: &mut Vec<u8>) {
        match self.algorithm {
            Algorithm::Gcra { .. } => gcra::take_back(self, state, cost, when, at.now, out),
            Algorithm::Window => window::take_back(state, self.period, cost, when, at.now, out),
            Algorithm::Calendar(unit) => calendar::take_back(state, at.bounds.of(unit), cost, out),
            // What was seen was seen.
            Algorithm::Distinct { .. } => out.extend_from_slice(state),
        }
    }

    /// How long from now until a cost fits; `None` when it never does.
    #[must_use]
    pub fn retry_after(&self, state: &[u8], cost: u64, at: &Moment) -> Option<Nanos> {
        match self.algorithm {
            Algorithm::Distinct { memory } => {
                Some(distinct::retry_after(state, self.limit, self.period, memory, cost, at.now))
            }
            _ if cost > self.allowed() => None,
            Algorithm::Gcra { .. } => Some(gcra::retry_after(self, state, cost, at.now)),
            Algorithm::Window => Some(window::retry_after(state, self.limit, self.period, cost, at.now)),
            Algorithm::Calendar(unit) => {
                let used = calendar::used(state, at.bounds.of(unit));
                let fits = used.saturating_add(cost) <= self.limit;
                Some(if fits { 0 } else { at.bounds.of(unit).end.saturating_sub(at.now) })
            }
        }
    }

    /// When nothing will be left of the state; at most now for an empty one.
    #[must_use]
    pub fn expires(&self, state: &[u8], at: &Moment) -> Nanos {
        match self.algorithm {
            Algorithm::Gcra { .. } => gcra::drained(state),
            Algorithm::Window => window::expires(state, self.period),
            Algorithm::Calendar(unit) => calendar::expires(state, at.bounds.of(unit)),
            Algorithm::Distinct { memory } => distinct::expires(state, self.period.max(memory)),
        }
    }

    /// Whether the state is of a time to come, so that it may never end by itself: see [`Level::clamp`].
    #[must_use]
    pub fn is_ahead(&self, state: &[u8], at: &Moment) -> bool {
        match self.algorithm {
            Algorithm::Calendar(unit) => calendar::is_ahead(state, at.bounds.of(unit)),
            _ => false,
        }
    }

    /// Writes the state of a time that may lie ahead of now (the clock was wrong when it was stored) as one
    /// that does not: nothing lasts longer than if it had happened now.
    pub fn clamp(&self, state: &[u8], at: &Moment, out: &mut Vec<u8>) {
        match self.algorithm {
            Algorithm::Gcra { .. } => gcra::clamp(self, state, at.now, out),
            Algorithm::Window => window::clamp(state, self.period, at.now, out),
            Algorithm::Calendar(unit) => calendar::clamp(state, at.bounds.of(unit), out),
            Algorithm::Distinct { .. } => distinct::clamp(state, at.now, out),
        }
    }
}

/// What two levels must share so that the one may read the other's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

impl Tag {
    /// Cuts the state of a level with this tag off the beginning of `bytes`.
    #[must_use]
    pub fn cut(self, bytes: &[u8]) -> (&[u8], &[u8]) {
        let len = match self.0 >> 60 {
            1 => gcra::LEN,
            2 => window::len(bytes),
            3 => calendar::LEN,
            4 => distinct::len(bytes),
            _ => bytes.len(),
        };
        bytes.split_at_checked(len).unwrap_or((bytes, &[]))
    }

    /// Writes an empty state.
    pub fn nothing(self, out: &mut Vec<u8>) {
        let len = match self.0 >> 60 {
            1 => gcra::LEN,
            2 => 1,
            3 => calendar::LEN,
            4 => 2,
            _ => 0,
        };
        out.resize(out.len() + len, 0);
    }
}

/// The number in the first `N` bytes, least first; 0 when they are not there.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut whole = [0; 8];
    if let (Some(from), Some(to)) = (bytes.get(at..at + N), whole.get_mut(..N)) {
        to.copy_from_slice(from);
    }
    u64::from_le_bytes(whole)
}

/// Writes a number in `N` bytes; one that is too great becomes the greatest.
fn push<const N: usize>(number: u64, out: &mut Vec<u8>) {
    let most = if N >= 8 { u64::MAX } else { (1_u64 << (8 * N)) - 1 };
    out.extend(number.min(most).to_le_bytes().into_iter().take(N));
}
