//! Never more than the limit from one midnight (hour, Monday, first of the month) to the next.
//!
//! State: the beginning of the period (seconds, 4 bytes) and the count (6 bytes). What the calendar says is
//! an argument ([`Bounds`]); time zones are [`crate::timezone`]'s.

use super::{Nanos, number, push};

/// Length of a state.
pub(super) const LEN: usize = 10;

/// What a calendar has periods of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// From the full hour.
    Hour = 0,
    /// From local midnight.
    Day = 1,
    /// From Monday's midnight.
    Week = 2,
    /// From the midnight of the first.
    Month = 3,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];
}

/// A period of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// Its beginning, in seconds since 1970.
    pub start: u64,
    /// Its end, in seconds since 1970: the beginning of the next.
    pub next: u64,
    /// Its end, by the store's time.
    pub end: Nanos,
}

/// The present periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds(pub [Bound; 4]);

impl Bounds {
    /// The present period of a unit.
    #[must_use]
    pub fn of(&self, unit: Unit) -> Bound {
        let [hour, day, week, month] = self.0;
        match unit {
            Unit::Hour => hour,
            Unit::Day => day,
            Unit::Week => week,
            Unit::Month => month,
        }
    }
}

fn start(state: &[u8]) -> u64 {
    number::<4>(state, 0)
}

/// What was counted in the period. A count of a period that has not begun (the clock has been set back)
/// counts in the present one.
pub(super) fn used(state: &[u8], present: Bound) -> u64 {
    if start(state) >= present.start { number::<6>(state, 4) } else { 0 }
}

fn write(start: u64, count: u64, out: &mut Vec<u8>) {
    push::<4>(if count == 0 { 0 } else { start }, out);
    push::<6>(count, out);
}

pub(super) fn add(state: &[u8], present: Bound, cost: u64, out: &mut Vec<u8>) {
    write(counted_in(state, present), used(state, present).saturating_add(cost), out);
}

/// The period to write down: the present one, or the next if that has been counted in already, so that
/// setting the clock to and fro over midnight gives nothing. A beginning farther off is a wrong clock's.
fn counted_in(state: &[u8], present: Bound) -> u64 {
    let start = start(state);
    if start >= present.start && start <= present.next { start } else { present.start }
}

pub(super) fn take_back(state: &[u8], present: Bound, cost: u64, out: &mut Vec<u8>) {
    write(counted_in(state, present), used(state, present).saturating_sub(cost), out);
}

pub(super) fn expires(state: &[u8], present: Bound) -> Nanos {
    if used(state, present) > 0 { present.end } else { 0 }
}

pub(super) fn is_ahead(state: &[u8], present: Bound) -> bool {
    start(state) > present.next
}

pub(super) fn clamp(state: &[u8], present: Bound, out: &mut Vec<u8>) {
    if start(state) >= present.start {
        write(counted_in(state, present), used(state, present), out);
    } else {
        out.extend_from_slice(state.get(..LEN).unwrap_or(&[0; LEN]));
    }
}
