//! How many different members there were in a period: networks of a login, recipients it never wrote to.
//!
//! State: the number of members in two bytes, then each one's first and last appearance (seconds, 4 bytes
//! each) and itself (4 bytes of a hash), the longest unseen first. The hash is shorter than the thing: two
//! of a user's networks in 4,000,000,000 count as one.

use super::{Nanos, SECOND, number, push};

const MEMBER_LEN: usize = 12;
/// Members that a state has at most; the longest unseen gives way.
const MOST: usize = 256;

/// Length of the state at the beginning of `bytes`.
pub(super) fn len(bytes: &[u8]) -> usize {
    2 + usize::try_from(number::<2>(bytes, 0)).unwrap_or(0) * MEMBER_LEN
}

#[derive(Clone, Copy)]
struct Member {
    first: u64,
    last: u64,
    hash: u64,
}

fn members(state: &[u8]) -> impl Iterator<Item = Member> + Clone + '_ {
    state.get(2..).unwrap_or_default().chunks_exact(MEMBER_LEN).map(|bytes| Member {
        first: number::<4>(bytes, 0),
        last: number::<4>(bytes, 4),
        hash: number::<4>(bytes, 8),
    })
}

/// How long a member is kept.
fn kept(period: Nanos, memory: Nanos) -> u64 {
    period.max(memory).div_ceil(SECOND)
}

/// From when on a member counts: from its first appearance where new ones are counted, else from the last.
fn since(member: Member, memory: Nanos) -> u64 {
    if memory > 0 { member.first } else { member.last }
}

/// The number of members, and what it is with one more appearance of `hash`.
pub(super) fn used(state: &[u8], period: Nanos, memory: Nanos, hash: u64, now: Nanos) -> (u64, u64) {
    let (now, wide, hash) = (now / SECOND, period.div_ceil(SECOND), hash & 0xffff_ffff);
    let (mut used, mut known) = (0, false);
    for member in members(state) {
        let remembered = member.last + kept(period, memory) > now;
        let counts = since(member, memory) + wide > now;
        used += u64::from(counts);
        // An old acquaintance is not counted again.
        known |= member.hash == hash && (counts || (memory > 0 && remembered));
    }
    (used, used + u64::from(!known))
}

fn write(all: impl Iterator<Item = Member> + Clone, out: &mut Vec<u8>) {
    let total = all.clone().count();
    let over = total.saturating_sub(MOST);
    push::<2>(u64::try_from(total - over).unwrap_or(0), out);
    for member in all.skip(over) {
        push::<4>(member.first, out);
        push::<4>(member.last, out);
        push::<4>(member.hash, out);
    }
}

pub(super) fn add(state: &[u8], period: Nanos, memory: Nanos, hash: u64, now: Nanos, out: &mut Vec<u8>) {
    let (now, hash) = (now / SECOND, hash & 0xffff_ffff);
    let live = members(state).filter(|member| member.last + kept(period, memory) > now);
    let old = live.clone().find(|member| member.hash == hash);
    let first = old.map_or(now, |member| member.first);
    write(live.filter(|member| member.hash != hash).chain([Member { first, last: now, hash }]), out);
}

pub(super) fn retry_after(
    state: &[u8],
    limit: u64,
    period: Nanos,
    memory: Nanos,
    hash: u64,
    now: Nanos,
) -> Nanos {
    let (_, mut total) = used(state, period, memory, hash, now);
    let (secs, wide) = (now / SECOND, period.div_ceil(SECOND));
    let mut ends: Vec<u64> =
        members(state).map(|member| since(member, memory) + wide).filter(|end| *end > secs).collect();
    ends.sort_unstable();
    let mut wait = 0;
    for end in ends {
        if total <= limit {
            break;
        }
        total -= 1;
        wait = end.saturating_mul(SECOND).saturating_sub(now);
    }
    wait
}

pub(super) fn expires(state: &[u8], kept: Nanos) -> Nanos {
    members(state)
        .map(|member| member.last.saturating_add(kept.div_ceil(SECOND)).saturating_mul(SECOND))
        .max()
        .unwrap_or(0)
}

pub(super) fn clamp(state: &[u8], now: Nanos, out: &mut Vec<u8>) {
    let now = now / SECOND;
    write(
        members(state).map(|member| Member {
            first: member.first.min(now),
            last: member.last.min(now),
            ..member
        }),
        out,
    );
}
