//! What is counted, for Prometheus. The only file that knows prometheus-client.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::cache;
use crate::hashing;

/// All figures of the service.
pub struct Metrics {
    registry: Registry,
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
    done: Gauge,
    refused: Gauge,
}

#[derive(Default)]
struct CacheFigures {
    hits: Gauge<u64, AtomicU64>,
    misses: Gauge<u64, AtomicU64>,
    stale: Gauge<u64, AtomicU64>,
    entries: Gauge<u64, AtomicU64>,
    bytes: Gauge<u64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    mechanism: &'static str,
    result: &'static str,
    passdb: String,
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
        [("mechanism", self.mechanism), ("result", self.result), ("passdb", self.passdb.as_str())]
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
        registry.register("attempts", "Authentications by mechanism, result and passdb", attempts.clone());
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
        registry.register("hashing_done", "Password checks since the start", hashing.done.clone());
        registry.register(
            "hashing_refused",
            "Password checks that were refused or came too late",
            hashing.refused.clone(),
        );
        registry.register("cache_hits", "Answers from the cache since the start", cache.hits.clone());
        registry.register("cache_misses", "Questions that the cache could not answer", cache.misses.clone());
        registry.register(
            "cache_stale",
            "Answers past their time while a passdb was away",
            cache.stale.clone(),
        );
        registry.register("cache_entries", "Answers in the cache", cache.entries.clone());
        registry.register("cache_bytes", "What they take, about", cache.bytes.clone());
        Self {
            registry,
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

    /// An authentication has its verdict. `result` is `ok`, `unavailable` or [`crate::outcome::Why::word`].
    pub fn attempt(&self, mechanism: &'static str, result: &'static str, passdb: &str, took: Duration) {
        let attempt = Attempt { mechanism, result, passdb: passdb.to_owned() };
        self.attempts.get_or_create(&attempt).inc();
        self.seconds.get_or_create(&Mechanism(mechanism)).observe(took.as_secs_f64());
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

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self, pool: &hashing::Figures, cache: &cache::Figures) -> String {
        let narrow = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let wide = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.hashing.waiting.set(wide(pool.queued));
        self.hashing.running.set(wide(pool.running));
        self.hashing.memory.set(narrow(pool.memory_bytes));
        self.hashing.done.set(narrow(pool.done));
        self.hashing.refused.set(narrow(pool.refused + pool.late));
        self.cache.hits.set(cache.hits);
        self.cache.misses.set(cache.misses);
        self.cache.stale.set(cache.stale);
        self.cache.entries.set(cache.entries);
        self.cache.bytes.set(cache.bytes);
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

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.attempt("PLAIN", "ok", "sql", Duration::from_millis(3));
        metrics.attempt("PLAIN", "mismatch", "sql", Duration::from_millis(3));
        metrics.lookup("USER", "found");
        metrics.connections(2);
        metrics.new_place(crate::networks::New { network: true, country: false });
        let text =
            metrics.text(&hashing::Figures::default(), &cache::Figures { hits: 5, ..Default::default() });
        for line in [
            "postrider_sasl_auth_attempts_total{mechanism=\"PLAIN\",result=\"ok\",passdb=\"sql\"} 1",
            "postrider_sasl_auth_attempt_seconds_count{mechanism=\"PLAIN\"} 2",
            "postrider_sasl_auth_lookups_total{command=\"USER\",result=\"found\"} 1",
            "postrider_sasl_auth_connections 2",
            "postrider_sasl_auth_new_network_logins_total 1",
            "postrider_sasl_auth_cache_hits 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
