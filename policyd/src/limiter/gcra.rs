//! A rate with a burst, by the generic cell rate algorithm: one number, the time at which all is drained.
//!
//! A unit takes `period / limit` to drain, and what is in use must drain within `burst` times that. In any
//! period at most burst + limit units pass. Each event is rounded up to whole nanoseconds; a millisecond at
//! most is added to the burst so that this never refuses what fits.

use super::{Level, Nanos, number, push};

/// Length of a state.
pub(super) const LEN: usize = 8;

/// Added to the burst for what rounding adds to events: one nanosecond each.
const MOST_ROUNDING: u64 = 1_000_000;

/// When all is drained; 0 when nothing is in use.
pub(super) fn drained(state: &[u8]) -> Nanos {
    number::<8>(state, 0)
}

/// How long `cost` units take to drain, rounded up.
fn length(level: &Level, cost: u64) -> Nanos {
    let whole = (u128::from(cost) * u128::from(level.period)).div_ceil(u128::from(level.limit.max(1)));
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// How long what is in use may take to drain.
fn room(level: &Level) -> Nanos {
    let burst = level.allowed();
    let whole = u128::from(burst) * u128::from(level.period) / u128::from(level.limit.max(1));
    u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(burst.min(MOST_ROUNDING))
}

/// Whole units that drain in a time, rounded up, but for the part that rounding has added.
fn units(level: &Level, time: Nanos) -> u64 {
    if time == 0 {
        return 0;
    }
    let exact = u128::from(time) * u128::from(level.limit);
    let (whole, rest) = (exact / u128::from(level.period.max(1)), exact % u128::from(level.period.max(1)));
    let rounding = u128::from(level.allowed().min(MOST_ROUNDING)) * u128::from(level.limit);
    let more = u128::from(rest > rounding || whole == 0);
    u64::try_from(whole + more).unwrap_or(u64::MAX)
}

pub(super) fn used(level: &Level, state: &[u8], now: Nanos) -> u64 {
    units(level, drained(state).saturating_sub(now))
}

pub(super) fn add(level: &Level, state: &[u8], cost: u64, now: Nanos, out: &mut Vec<u8>) {
    push::<8>(drained(state).max(now).saturating_add(length(level, cost)), out);
}

pub(super) fn take_back(level: &Level, state: &[u8], cost: u64, when: Nanos, now: Nanos, out: &mut Vec<u8>) {
    // As much of it as may have drained by itself is gone already.
    let left = length(level, cost).saturating_sub(now.saturating_sub(when));
    push::<8>(drained(state).saturating_sub(left), out);
}

pub(super) fn retry_after(level: &Level, state: &[u8], cost: u64, now: Nanos) -> Nanos {
    let full = drained(state).max(now).saturating_add(length(level, cost));
    full.saturating_sub(now).saturating_sub(room(level))
}

pub(super) fn clamp(level: &Level, state: &[u8], now: Nanos, out: &mut Vec<u8>) {
    push::<8>(drained(state).min(now.saturating_add(room(level))), out);
}
