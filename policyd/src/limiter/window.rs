//! Never more than the limit in any period: a log of events, in which those of one twenty-fourth of the
//! period are one group.
//!
//! A group counts until its last event is a whole period old, so the bound is exact, and what is used is
//! given back late by a twenty-fourth of the period at most. State: the number of groups in one byte, then
//! each group's last event (milliseconds, 6 bytes) and count (6 bytes), oldest first.

use super::{Nanos, number, push};

/// Groups of a period.
const GROUPS: u64 = 24;
/// Length of a group.
const GROUP_LEN: usize = 12;
/// Groups that a state has at most.
const MOST: usize = 26;
const MILLI: Nanos = 1_000_000;

/// Length of the state at the beginning of `bytes`.
pub(super) fn len(bytes: &[u8]) -> usize {
    1 + usize::from(bytes.first().copied().unwrap_or(0)) * GROUP_LEN
}

/// The groups: when the last event was, in milliseconds rounded up, and how much.
fn groups(state: &[u8]) -> impl DoubleEndedIterator<Item = (u64, u64)> + Clone + '_ {
    let bytes = state.get(1..).unwrap_or_default();
    bytes.chunks_exact(GROUP_LEN).map(|group| (number::<6>(group, 0), number::<6>(group, 6)))
}

/// The first millisecond of now, rounded down, at which an event of then counts no more.
fn is_over(then_ms: u64, period: Nanos, now: Nanos) -> bool {
    then_ms.saturating_add(period.div_ceil(MILLI)) <= now / MILLI
}

pub(super) fn used(state: &[u8], period: Nanos, now: Nanos) -> u64 {
    groups(state)
        .filter(|(last, _)| !is_over(*last, period, now))
        .fold(0, |sum: u64, (_, count)| sum.saturating_add(count))
}

/// Writes groups, of which there may be more than a state holds: the oldest are then taken together.
fn write(found: impl Iterator<Item = (u64, u64)> + Clone, out: &mut Vec<u8>) {
    let total = found.clone().count();
    let together = total.saturating_sub(MOST - 1);
    let written = if together > 1 { total - together + 1 } else { total };
    out.push(u8::try_from(written).unwrap_or(u8::MAX));
    let mut sum = 0_u64;
    for (index, (last, count)) in found.enumerate() {
        sum = sum.saturating_add(count);
        if index + 1 < together {
            continue;
        }
        push::<6>(last, out);
        push::<6>(sum, out);
        sum = 0;
    }
}

pub(super) fn add(state: &[u8], period: Nanos, cost: u64, now: Nanos, out: &mut Vec<u8>) {
    let at = now.div_ceil(MILLI);
    let width = (period / GROUPS / MILLI).max(1);
    let live = groups(state).filter(|(last, _)| !is_over(*last, period, now));
    let newest = live.clone().next_back();
    // A group that lies ahead of now was made by a clock that was wrong.
    let same = |last: u64| last / width == at / width || last > at;
    match newest {
        _ if cost == 0 => write(live, out),
        Some((last, count)) if same(last) => {
            let all = live.clone().count();
            let kept = live.take(all.saturating_sub(1));
            write(kept.chain([(last.max(at), count.saturating_add(cost))]), out);
        }
        _ => write(live.chain([(at, cost)]), out),
    }
}

pub(super) fn take_back(state: &[u8], period: Nanos, cost: u64, when: Nanos, now: Nanos, out: &mut Vec<u8>) {
    // It is in the first group whose last event is not before it, unless that is gone with its time.
    let at = when.div_ceil(MILLI);
    let mut taken = is_over(at, period, now);
    let without: Vec<(u64, u64)> = groups(state)
        .map(|(last, count)| {
            if taken || last < at {
                return (last, count);
            }
            taken = true;
            (last, count.saturating_sub(cost))
        })
        .filter(|(last, count)| *count > 0 && !is_over(*last, period, now))
        .collect();
    write(without.iter().copied(), out);
}

pub(super) fn retry_after(state: &[u8], limit: u64, period: Nanos, cost: u64, now: Nanos) -> Nanos {
    let mut used = used(state, period, now);
    let mut wait = 0;
    for (last, count) in groups(state).filter(|(last, _)| !is_over(*last, period, now)) {
        if used.saturating_add(cost) <= limit {
            break;
        }
        used = used.saturating_sub(count);
        wait = last.saturating_add(period.div_ceil(MILLI)).saturating_mul(MILLI).saturating_sub(now);
    }
    wait
}

pub(super) fn expires(state: &[u8], period: Nanos) -> Nanos {
    groups(state)
        .next_back()
        .map_or(0, |(last, _)| last.saturating_add(period.div_ceil(MILLI)).saturating_mul(MILLI))
}

pub(super) fn clamp(state: &[u8], period: Nanos, now: Nanos, out: &mut Vec<u8>) {
    let live = groups(state).filter(|(last, _)| !is_over(*last, period, now));
    write(live.map(|(last, count)| (last.min(now.div_ceil(MILLI)), count)), out);
}
