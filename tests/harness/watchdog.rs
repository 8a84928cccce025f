//! The last resort against a test that hangs: a test that lasts for ten minutes ends the whole run, by its name.
//!
//! Each wait has a limit of its own; this is for the one that somebody has forgotten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// How long a test may last.
const LIMIT: Duration = Duration::from_secs(600);

/// What is watched: the test's name, and since when.
type Watched = HashMap<u64, (String, Instant)>;

static WATCHED: Mutex<Option<Watched>> = Mutex::new(None);

/// Watches the test that this thread runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Option<u64>);

impl Watch {
    /// Begins. Threads without a test's name are let be: the main thread, which benchmarks and the demo run on.
    pub(crate) fn new() -> Self {
        static STARTED: Once = Once::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let thread = std::thread::current();
        let Some(name) = thread.name().filter(|name| *name != "main") else { return Self(None) };
        STARTED.call_once(|| drop(std::thread::spawn(watch)));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        with(|watched| watched.insert(number, (name.to_owned(), Instant::now())));
        Self(Some(number))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            with(|watched| watched.remove(&number));
        }
    }
}

fn with<T>(change: impl FnOnce(&mut Watched) -> T) -> T {
    change(WATCHED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// The tests that have lasted for `limit`.
fn overdue(limit: Duration) -> Vec<String> {
    with(|watched| {
        watched.values().filter(|(_, since)| since.elapsed() >= limit).map(|(name, _)| name.clone()).collect()
    })
}

fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let names = overdue(LIMIT);
        if !names.is_empty() {
            eprintln!("hung for {} s, so the run is given up: {}", LIMIT.as_secs(), names.join(", "));
            // The daemons that are left behind are ended by the next run.
            std::process::exit(101);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_watched_as_long_as_it_lasts() {
        let own = "watchdog::tests::a_test_is_watched_as_long_as_it_lasts";
        let seen = || overdue(Duration::ZERO).iter().any(|name| name == own);
        let watch = Watch::new();
        assert!(seen());
        drop(watch);
        assert!(!seen());
    }
}
