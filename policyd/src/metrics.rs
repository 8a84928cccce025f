//! What is counted, for Prometheus. The only file that knows prometheus-client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::store::Figures;

/// All figures of the service.
pub struct Metrics {
    registry: Registry,
    /// Requests answered, of each state: RCPT, DATA, END-OF-MESSAGE, others.
    requests: [Counter; 4],
    over: Family<Over, Counter>,
    repeated: Counter,
    unavailable: Family<Why, Counter>,
    store_seconds: Histogram,
    connections: Gauge,
    disconnects: Counter,
    keys: Family<Limit, Gauge>,
    store_bytes: Gauge,
    store_full: Followed,
    write_errors: Followed,
    written: Gauge,
    messages: Gauge,
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
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Over {
    limit: String,
    action: String,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Limit(String);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Why(&'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State(&'static str);

impl EncodeLabelSet for Over {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("limit", self.limit.as_str()), ("action", self.action.as_str()), ("mode", self.mode)]
            .encode(encoder)
    }
}

impl EncodeLabelSet for Limit {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("limit", self.0.as_str())].encode(encoder)
    }
}

impl EncodeLabelSet for Why {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("reason", self.0)].encode(encoder)
    }
}

impl EncodeLabelSet for State {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("state", self.0)].encode(encoder)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postrider_policyd");
        let requests = Family::<State, Counter>::default();
        let states = ["rcpt", "data", "end-of-message", "other"];
        let counters = states.map(|state| requests.get_or_create(&State(state)).clone());
        registry.register("requests", "Requests answered, by protocol state", requests);
        // From a fifth of a millisecond to a second.
        let buckets = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
        let metrics = Self {
            requests: counters,
            over: Family::default(),
            repeated: Counter::default(),
            unavailable: Family::default(),
            store_seconds: Histogram::new(buckets),
            connections: Gauge::default(),
            disconnects: Counter::default(),
            keys: Family::default(),
            store_bytes: Gauge::default(),
            store_full: Followed::default(),
            write_errors: Followed::default(),
            written: Gauge::default(),
            messages: Gauge::default(),
            registry,
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let to = &mut self.registry;
        to.register("over", "Requests that a limit was over for, by its action", self.over.clone());
        to.register(
            "repeated",
            "Requests answered as before, because they were refused before",
            self.repeated.clone(),
        );
        to.register("unavailable", "Requests that could not be counted", self.unavailable.clone());
        to.register(
            "store_seconds",
            "Time that a shared store took for a decision",
            self.store_seconds.clone(),
        );
        to.register("connections", "Open connections", self.connections.clone());
        to.register(
            "disconnects",
            "Connections closed because of what the client did",
            self.disconnects.clone(),
        );
        to.register("keys", "Counters held, by limit", self.keys.clone());
        to.register("store_bytes", "Memory of the counters", self.store_bytes.clone());
        to.register("store_full", "Decisions that a limit had no room for", self.store_full.counter.clone());
        to.register("store_write_errors", "Writes to disk that failed", self.write_errors.counter.clone());
        to.register(
            "store_written_timestamp_seconds",
            "When counters were written to disk last",
            self.written.clone(),
        );
        to.register("messages", "Messages under way or remembered", self.messages.clone());
        self
    }

    /// A request was answered.
    pub fn request(&self, stage: crate::protocol::Stage) {
        let [rcpt, data, end, other] = &self.requests;
        match stage {
            crate::protocol::Stage::Rcpt => rcpt,
            crate::protocol::Stage::Data => data,
            crate::protocol::Stage::EndOfMessage => end,
            crate::protocol::Stage::Other => other,
        }
        .inc();
    }

    /// A limit was over. `mode` is `refused`, `passed` or `dry_run`.
    pub fn over(&self, limit: &str, action: &str, mode: &'static str) {
        self.over.get_or_create(&Over { limit: limit.to_owned(), action: action.to_owned(), mode }).inc();
    }

    /// A request was answered as before.
    pub fn repeated(&self) {
        self.repeated.inc();
    }

    /// A request could not be counted: `full` or `away`.
    pub fn unavailable(&self, reason: &'static str) {
        self.unavailable.get_or_create(&Why(reason)).inc();
    }

    /// A shared store has answered.
    pub fn store_took(&self, took: Duration) {
        self.store_seconds.observe(took.as_secs_f64());
    }

    /// A client has connected (1) or gone (-1).
    pub fn connections(&self, change: i64) {
        self.connections.inc_by(change);
    }

    /// A client has broken the protocol, or does not read.
    pub fn disconnect(&self) {
        self.disconnects.inc();
    }

    /// What the store and the messages are by now.
    pub fn state(&self, figures: &Figures, messages: usize) {
        let narrow = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (limit, keys) in &figures.keys {
            self.keys.get_or_create(&Limit(limit.to_string())).set(narrow(*keys));
        }
        self.store_bytes.set(narrow(figures.bytes));
        self.store_full.follow(figures.full);
        self.write_errors.follow(figures.write_errors);
        self.written.set(narrow(figures.written.unwrap_or(0)));
        self.messages.set(i64::try_from(messages).unwrap_or(i64::MAX));
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

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.request(crate::protocol::Stage::Data);
        metrics.over("per-user", "DEFER", "refused");
        metrics.unavailable("full");
        metrics.connections(2);
        let figures = Figures { keys: vec![("per-user".into(), 7)], write_errors: 3, ..Figures::default() };
        metrics.state(&figures, 4);
        metrics.state(&figures, 4);
        let text = metrics.text();
        for line in [
            "postrider_policyd_requests_total{state=\"data\"} 1",
            "postrider_policyd_over_total{limit=\"per-user\",action=\"DEFER\",mode=\"refused\"} 1",
            "postrider_policyd_unavailable_total{reason=\"full\"} 1",
            "postrider_policyd_connections 2",
            "postrider_policyd_keys{limit=\"per-user\"} 7",
            "postrider_policyd_store_write_errors_total 3",
            "postrider_policyd_messages 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
