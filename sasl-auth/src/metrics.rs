//! What is counted, for Prometheus. The only file that knows prometheus-client.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::active::lock;
use crate::cache;
use crate::hashing;

/// All figures of the service.
pub struct Metrics {
    registry: Registry,
    drivers: Mutex<HashMap<String, &'static str>>,
    usual: Mutex<Option<Usual>>,
    attempts: Family<Attempt, Counter>,
    seconds: Family<Mechanism, Histogram, fn() -> Histogram>,
    lookups: Family<Lookup, Counter>,
    connections: Gauge,
    disconnects: Counter,
    new_networks: Counter,
    new_countries: Counter,
    hashing: Pool,
    cache: CacheFigures,
}

#[derive(Default)]
struct Pool {
    waiting: Gauge,
    running: Gauge,
    memory: Gauge,
    done: Followed,
    refused: Followed,
}

#[derive(Default)]
struct CacheFigures {
    hits: Followed,
    misses: Followed,
    stale: Followed,
    entries: Gauge<u64, AtomicU64>,
    bytes: Gauge<u64, AtomicU64>,
}

/// A counter that goes up with a count that is kept elsewhere.
#[derive(Default)]
struct Followed {
    counter: Counter,
    last: AtomicU64,
}

impl Followed {
    /// The count is `now`. One that is lower than before was read earlier by another scrape.
    fn follow(&self, now: u64) {
        let before = self.last.fetch_max(now, Ordering::Relaxed);
        self.counter.inc_by(now.saturating_sub(before));
    }

    /// The count starts at 0 again; this counter stays where it is.
    fn restart(&self) {
        self.last.store(0, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    mechanism: &'static str,
    result: &'static str,
    passdb: String,
    driver: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Mechanism(&'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lookup {
    command: &'static str,
    result: &'static str,
}

impl EncodeLabelSet for Attempt {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [
            ("mechanism", self.mechanism),
            ("result", self.result),
            ("passdb", self.passdb.as_str()),
            ("driver", &*self.driver),
        ]
        .encode(encoder)
    }
}

impl EncodeLabelSet for Mechanism {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("mechanism", self.0)].encode(encoder)
    }
}

impl EncodeLabelSet for Lookup {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("command", self.command), ("result", self.result)].encode(encoder)
    }
}

/// The last attempt and where it is counted: most are like the one before, and finding a counter by four
/// labels costs more than counting.
struct Usual {
    attempt: Attempt,
    attempts: Counter,
    seconds: Histogram,
}

impl Usual {
    fn is_of(&self, mechanism: &str, result: &str, passdb: &str) -> bool {
        let Attempt { mechanism: m, result: r, passdb: p, driver: _ } = &self.attempt;
        *m == mechanism && *r == result && p == passdb
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Upper ends of the histogram's classes, in seconds: a cached login takes microseconds, a failure is
/// held back for seconds, at 8 s we have given up.
const CLASSES: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postrider_sasl_auth");
        let attempts = Family::<Attempt, Counter>::default();
        let new_histogram: fn() -> Histogram = || Histogram::new(CLASSES);
        let seconds = Family::<Mechanism, Histogram, fn() -> Histogram>::new_with_constructor(new_histogram);
        let lookups = Family::<Lookup, Counter>::default();
        let (connections, disconnects) = (Gauge::default(), Counter::default());
        let (new_networks, new_countries) = (Counter::default(), Counter::default());
        let (hashing, cache) = (Pool::default(), CacheFigures::default());
        registry.register(
            "attempts",
            "Authentications by mechanism, result, passdb and its driver",
            attempts.clone(),
        );
        registry.register(
            "attempt_seconds",
            "From the last line of the client to the verdict, without the delay of failures",
            seconds.clone(),
        );
        registry.register("lookups", "Look-ups on userdb sockets by command and result", lookups.clone());
        registry.register("connections", "Open client connections", connections.clone());
        registry.register(
            "disconnects",
            "Connections closed because the client broke the protocol",
            disconnects.clone(),
        );
        registry.register(
            "new_network_logins",
            "Logins from a network that is new for the user",
            new_networks.clone(),
        );
        registry.register(
            "new_country_logins",
            "Logins from a country that is new for the user",
            new_countries.clone(),
        );
        registry.register(
            "hashing_waiting",
            "Password checks that wait for a thread or memory",
            hashing.waiting.clone(),
        );
        registry.register("hashing_running", "Password checks at work", hashing.running.clone());
        registry.register("hashing_memory_bytes", "Memory of the checks at work", hashing.memory.clone());
        registry.register("hashing_done", "Password checks since the start", hashing.done.counter.clone());
        registry.register(
            "hashing_refused",
            "Password checks that were refused or came too late",
            hashing.refused.counter.clone(),
        );
        registry.register("cache_hits", "Answers from the cache since the start", cache.hits.counter.clone());
        registry.register(
            "cache_misses",
            "Questions that the cache could not answer",
            cache.misses.counter.clone(),
        );
        registry.register(
            "cache_stale",
            "Answers past their time while a passdb was away",
            cache.stale.counter.clone(),
        );
        registry.register("cache_entries", "Answers in the cache", cache.entries.clone());
        registry.register("cache_bytes", "What they take, about", cache.bytes.clone());
        Self {
            registry,
            drivers: Mutex::default(),
            usual: Mutex::default(),
            attempts,
            seconds,
            lookups,
            connections,
            disconnects,
            new_networks,
            new_countries,
            hashing,
            cache,
        }
    }

    /// The passdbs in force: their names and their drivers' words. Replaces those told before.
    pub fn drivers(&self, passdbs: impl IntoIterator<Item = (String, &'static str)>) {
        *lock(&self.drivers) = passdbs.into_iter().collect();
        *lock(&self.usual) = None;
    }

    /// An authentication has its verdict. `result` is `ok`, `unavailable` or [`crate::outcome::Why::word`].
    ///
    /// `passdb` is the name of the one that decided, or the part of this service (`auth`, `oauth2`,
    /// `anonymous`), which is its own driver.
    pub fn attempt(&self, mechanism: &'static str, result: &'static str, passdb: &str, took: Duration) {
        let mut usual = lock(&self.usual);
        if let Some(usual) = usual.as_ref().filter(|usual| usual.is_of(mechanism, result, passdb)) {
            usual.attempts.inc();
            usual.seconds.observe(took.as_secs_f64());
            return;
        }
        let driver = lock(&self.drivers).get(passdb).copied();
        let driver = driver.map_or_else(|| Cow::Owned(passdb.to_owned()), Cow::Borrowed);
        let attempt = Attempt { mechanism, result, passdb: passdb.to_owned(), driver };
        let attempts = self.attempts.get_or_create(&attempt).clone();
        let seconds = self.seconds.get_or_create(&Mechanism(mechanism)).clone();
        attempts.inc();
        seconds.observe(took.as_secs_f64());
        *usual = Some(Usual { attempt, attempts, seconds });
    }

    /// A look-up was answered. `result` is `found`, `unknown`, `refused` or `unavailable`.
    pub fn lookup(&self, command: &'static str, result: &'static str) {
        self.lookups.get_or_create(&Lookup { command, result }).inc();
    }

    /// A client has connected (1) or gone (-1).
    pub fn connections(&self, change: i64) {
        self.connections.inc_by(change);
    }

    /// A client has broken the protocol.
    pub fn disconnect(&self) {
        self.disconnects.inc();
    }

    /// A login from a network or country that is new for its user.
    pub fn new_place(&self, new: crate::networks::New) {
        self.new_networks.inc_by(u64::from(new.network));
        self.new_countries.inc_by(u64::from(new.country));
    }

    /// What the hashing pool has counted by now.
    pub fn hashing(&self, pool: &hashing::Figures) {
        let narrow = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let wide = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.hashing.waiting.set(wide(pool.queued));
        self.hashing.running.set(wide(pool.running));
        self.hashing.memory.set(narrow(pool.memory_bytes));
        self.hashing.done.follow(pool.done);
        self.hashing.refused.follow(pool.refused.saturating_add(pool.late));
    }

    /// What the cache has counted by now; to be called with the cache locked.
    pub fn cache(&self, cache: &cache::Figures) {
        self.cache.hits.follow(cache.hits);
        self.cache.misses.follow(cache.misses);
        self.cache.stale.follow(cache.stale);
        self.cache.entries.set(cache.entries);
        self.cache.bytes.set(cache.bytes);
    }

    /// The cache, whose last figures these are, gives way to one that counts from 0; to be called with the
    /// cache locked.
    pub fn cache_restarts(&self, last: &cache::Figures) {
        self.cache(last);
        for followed in [&self.cache.hits, &self.cache.misses, &self.cache.stale] {
            followed.restart();
        }
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            log::error!("metrics: {error}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.text();
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.attempt("PLAIN", "mismatch", "auth", Duration::from_millis(3));
        metrics.attempt("PLAIN", "ok", "auth", Duration::from_millis(3));
        metrics.lookup("USER", "found");
        metrics.connections(2);
        metrics.new_place(crate::networks::New { network: true, country: false });
        let lines = [
            "postrider_sasl_auth_attempts_total{mechanism=\"PLAIN\",result=\"ok\",passdb=\"auth\",driver=\"auth\"} 1",
            "postrider_sasl_auth_attempt_seconds_count{mechanism=\"PLAIN\"} 2",
            "postrider_sasl_auth_lookups_total{command=\"USER\",result=\"found\"} 1",
            "postrider_sasl_auth_connections 2",
            "postrider_sasl_auth_new_network_logins_total 1",
            "# EOF",
        ];
        has(&metrics, &lines);
    }

    #[test]
    fn a_passdb_counts_by_its_driver() {
        let metrics = Metrics::new();
        metrics.drivers([("staff".to_owned(), "sql"), ("others".to_owned(), "pam")]);
        metrics.attempt("PLAIN", "ok", "staff", Duration::ZERO);
        metrics.drivers([("staff".to_owned(), "ldap")]);
        metrics.attempt("PLAIN", "ok", "staff", Duration::ZERO);
        metrics.attempt("PLAIN", "ok", "others", Duration::ZERO);
        let line = |passdb: &str, driver: &str| {
            format!(
                "postrider_sasl_auth_attempts_total{{mechanism=\"PLAIN\",result=\"ok\",passdb=\"{passdb}\",driver=\"{driver}\"}} 1"
            )
        };
        has(&metrics, &[&line("staff", "sql"), &line("staff", "ldap"), &line("others", "others")]);
    }

    #[test]
    fn totals_are_counters_and_never_go_back() {
        let metrics = Metrics::new();
        let cache = |hits| cache::Figures { hits, misses: 2, stale: 1, ..Default::default() };
        for hits in [3, 5, 4, 5] {
            metrics.cache(&cache(hits));
        }
        for done in [4, 7, 7] {
            metrics.hashing(&hashing::Figures {
                done,
                refused: 1,
                late: 2,
                running: 1,
                ..Default::default()
            });
        }
        let lines = [
            "# TYPE postrider_sasl_auth_cache_hits counter",
            "postrider_sasl_auth_cache_hits_total 5",
            "postrider_sasl_auth_cache_misses_total 2",
            "postrider_sasl_auth_cache_stale_total 1",
            "# TYPE postrider_sasl_auth_hashing_done counter",
            "postrider_sasl_auth_hashing_done_total 7",
            "postrider_sasl_auth_hashing_refused_total 3",
            "postrider_sasl_auth_hashing_running 1",
        ];
        has(&metrics, &lines);
        metrics.cache_restarts(&cache(6));
        metrics.cache(&cache(2));
        has(
            &metrics,
            &["postrider_sasl_auth_cache_hits_total 8", "postrider_sasl_auth_cache_misses_total 4"],
        );
    }
}
