//! The only reader of the clock; everything else takes the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 UTC, as `t=` and `x=` of a signature count them (RFC 6376 §3.5).
///
/// A clock set before 1970 reads as 0.
#[must_use]
pub fn unix_now() -> u64 {
    since_1970().as_secs()
}

/// The time since 1970-01-01 UTC, as exactly as the system knows it; zero before 1970.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// The time since the machine was started, also while it slept (`CLOCK_BOOTTIME`). Nobody can set it, and
/// all processes until the next start of the machine see the same.
#[must_use]
pub fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The time since 1970-01-01 UTC; zero for a clock set before.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// A point on the monotonic clock, for deadlines and latencies.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn monotonic_now() -> Instant {
    Instant::now()
}
