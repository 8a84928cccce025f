//! Waiting for something to become true, with a limit and a reason that a failed test can show.

use std::time::{Duration, Instant};

/// How long anything that normally takes a fraction of a second may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `ready` until it gives a value, and returns that.
///
/// Panics after [`PATIENCE`], naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    match wait_up_to(PATIENCE, ready) {
        Some(value) => value,
        None => panic!("waited {} s in vain for {what}", PATIENCE.as_secs()),
    }
}

/// Calls `ready` until it gives a value or `limit` has passed.
pub fn wait_up_to<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
