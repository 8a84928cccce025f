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

use crate::lookup::Health;
use crate::store::{Figures, redis};

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
    /// Whether a shared store answers; 1 for one of this process.
    store_connected: Gauge,
    store_hosts: Gauge,
    store_failures: Followed,
    store_alone: Followed,
    /// Notices begun, dropped, failed.
    notices: [Followed; 3],
    /// What has become of attempts.
    greylist: [Followed; 5],
    lookups: Family<Lookup, Counter>,
    lookup_seconds: Family<List, Histogram, fn() -> Histogram>,
    lists_connected: Family<List, Gauge>,
    list_entries: Family<ListKind, Gauge>,
    list_bytes: Family<List, Gauge>,
}

/// What has become of look-ups in a list, in this order: the answer was known; was asked for; nobody answered; an
/// old answer had to do; there was none.
const LOOKUPS: [&str; 5] = ["hit", "answered", "failed", "stale", "unknown"];

/// The figures of a list that is asked.
#[derive(Debug, Clone)]
pub struct ListFigures {
    counters: [Counter; 5],
    seconds: Histogram,
}

impl ListFigures {
    fn count(&self, place: usize) {
        if let Some(counter) = self.counters.get(place) {
            counter.inc();
        }
    }

    /// An answer was known.
    pub fn hit(&self) {
        self.count(0);
    }

    /// The database has answered, after so long.
    pub fn answered(&self, took: Duration) {
        self.count(1);
        self.seconds.observe(took.as_secs_f64());
    }

    /// The database has not answered, or not in time.
    pub fn failed(&self) {
        self.count(2);
    }

    /// An answer had to do that was older than it should be.
    pub fn stale(&self) {
        self.count(3);
    }

    /// Nothing was known of a value.
    pub fn unknown(&self) {
        self.count(4);
    }
}

/// What has become of attempts at greylisting, in this order.
const GREYLIST: [&str; 5] = ["new", "early", "waited", "known", "unplaced"];
/// What has become of notices, in this order.
const NOTICES: [&str; 3] = ["begun", "dropped", "failed"];

/// A counter that goes up with a count that is kept elsewhere.
#[derive(Default)]
struct Followed {
    counter: Counter,
    /// The counter in its stead, of a family.
    also: std::sync::OnceLock<Counter>,
    last: AtomicU64,
}

impl Followed {
    /// The count is `now`. One that is lower than before was read earlier by another scrape.
    fn follow(&self, now: u64) {
        let before = self.last.fetch_max(now, Ordering::Relaxed);
        self.also.get().unwrap_or(&self.counter).inc_by(now.saturating_sub(before));
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
struct List(String);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ListKind(String, &'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lookup(String, &'static str);

impl EncodeLabelSet for List {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("list", self.0.as_str())].encode(encoder)
    }
}

impl EncodeLabelSet for ListKind {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("list", self.0.as_str()), ("kind", self.1)].encode(encoder)
    }
}

impl EncodeLabelSet for Lookup {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("list", self.0.as_str()), ("result", self.1)].encode(encoder)
    }
}

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

/// From a fifth of a millisecond to a second.
fn seconds() -> Histogram {
    Histogram::new([0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
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
        let metrics = Self {
            requests: counters,
            over: Family::default(),
            repeated: Counter::default(),
            unavailable: Family::default(),
            store_seconds: seconds(),
            connections: Gauge::default(),
            disconnects: Counter::default(),
            keys: Family::default(),
            store_bytes: Gauge::default(),
            store_full: Followed::default(),
            write_errors: Followed::default(),
            written: Gauge::default(),
            messages: Gauge::default(),
            store_connected: Gauge::default(),
            store_hosts: Gauge::default(),
            store_failures: Followed::default(),
            store_alone: Followed::default(),
            notices: Default::default(),
            greylist: Default::default(),
            lookups: Family::default(),
            lookup_seconds: Family::new_with_constructor(seconds),
            lists_connected: Family::default(),
            list_entries: Family::default(),
            list_bytes: Family::default(),
            registry,
        };
        metrics.registered()
    }

    /// The figures of a list that is asked.
    #[must_use]
    pub fn list(&self, name: &str) -> ListFigures {
        let counter = |result| self.lookups.get_or_create(&Lookup(name.to_owned(), result)).clone();
        let seconds = self.lookup_seconds.get_or_create(&List(name.to_owned())).clone();
        ListFigures { counters: LOOKUPS.map(counter), seconds }
    }

    /// What the lists that are asked are by now; those of a former configuration are left out.
    pub fn lists(&self, lists: &[(&str, Health)]) {
        self.lists_connected.clear();
        self.list_bytes.clear();
        self.list_entries.clear();
        for (name, health) in lists {
            self.list_health(name, health);
        }
    }

    fn list_health(&self, name: &str, health: &Health) {
        let narrow = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let list = List(name.to_owned());
        self.lists_connected.get_or_create(&list).set(i64::from(health.trouble.is_none()));
        self.list_bytes.get_or_create(&list).set(i64::try_from(health.bytes).unwrap_or(i64::MAX));
        for (kind, count) in ["listed", "unlisted"].into_iter().zip(health.entries) {
            self.list_entries.get_or_create(&ListKind(name.to_owned(), kind)).set(narrow(count));
        }
    }

    fn register_lists(&mut self) {
        let to = &mut self.registry;
        to.register(
            "list_lookups",
            "Look-ups in lists of databases, by what became of them",
            self.lookups.clone(),
        );
        to.register("list_seconds", "Time that a database took for an answer", self.lookup_seconds.clone());
        to.register("list_connected", "Whether the database of a list answers", self.lists_connected.clone());
        to.register("list_entries", "Answers that are remembered", self.list_entries.clone());
        to.register("list_bytes", "Memory for these answers, about", self.list_bytes.clone());
    }

    fn registered(mut self) -> Self {
        self.register_lists();
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
        let connected = self.store_connected.clone();
        to.register("store_connected", "Whether the store answers; 0 while a shared one is away", connected);
        to.register("store_hosts", "Hosts that share the limits", self.store_hosts.clone());
        let failures = self.store_failures.counter.clone();
        to.register("store_failures", "Questions that a shared store did not answer in time", failures);
        let alone = self.store_alone.counter.clone();
        to.register("store_alone", "Questions decided by this host's share", alone);
        for (all, words, name, help) in [
            (self.notices.as_slice(), NOTICES.as_slice(), "notices", "Notices of incidents"),
            (self.greylist.as_slice(), GREYLIST.as_slice(), "greylist", "Attempts at greylisting"),
        ] {
            let family = Family::<State, Counter>::default();
            to.register(name, help, family.clone());
            for (one, word) in all.iter().zip(words) {
                // Each counter is both in the family and here.
                let counter = family.get_or_create(&State(word)).clone();
                drop(one.also.set(counter));
            }
        }
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

    /// What the shared store, notices and greylisting are by now.
    pub fn equipment(&self, redis: Option<redis::State>, notices: [u64; 3], greylist: [u64; 5]) {
        let redis = redis.unwrap_or(redis::State { connected: true, hosts: 1, ..redis::State::default() });
        self.store_connected.set(i64::from(redis.connected));
        self.store_hosts.set(redis.hosts.into());
        self.store_failures.follow(redis.failures);
        self.store_alone.follow(redis.alone);
        for (followed, now) in self.notices.iter().zip(notices).chain(self.greylist.iter().zip(greylist)) {
            followed.follow(now);
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

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.request(crate::protocol::Stage::Data);
        metrics.over("per-user", "DEFER", "refused");
        metrics.unavailable("full");
        metrics.connections(2);
        let figures = Figures { keys: vec![("per-user".into(), 7)], write_errors: 3, ..Figures::default() };
        metrics.state(&figures, 4);
        let list = metrics.list("vip");
        list.hit();
        list.answered(Duration::from_millis(3));
        list.stale();
        let health = Health { trouble: Some("gone".into()), entries: [3, 4], bytes: 700 };
        metrics.lists(&[("gone", Health::default())]);
        metrics.lists(&[("vip", health)]);
        metrics.state(&figures, 4);
        let away = redis::State { failures: 3, hosts: 2, ..redis::State::default() };
        metrics.equipment(Some(away), [5, 0, 1], [1, 2, 3, 4, 0]);
        metrics.equipment(Some(away), [6, 0, 1], [1, 2, 3, 4, 0]);
        let text = metrics.text();
        for line in [
            "postrider_policyd_store_connected 0",
            "postrider_policyd_store_failures_total 3",
            "postrider_policyd_notices_total{state=\"begun\"} 6",
            "postrider_policyd_greylist_total{state=\"waited\"} 3",
            "postrider_policyd_requests_total{state=\"data\"} 1",
            "postrider_policyd_over_total{limit=\"per-user\",action=\"DEFER\",mode=\"refused\"} 1",
            "postrider_policyd_unavailable_total{reason=\"full\"} 1",
            "postrider_policyd_connections 2",
            "postrider_policyd_keys{limit=\"per-user\"} 7",
            "postrider_policyd_store_write_errors_total 3",
            "postrider_policyd_messages 4",
            "postrider_policyd_list_lookups_total{list=\"vip\",result=\"hit\"} 1",
            "postrider_policyd_list_lookups_total{list=\"vip\",result=\"stale\"} 1",
            "postrider_policyd_list_lookups_total{list=\"vip\",result=\"unknown\"} 0",
            "postrider_policyd_list_seconds_count{list=\"vip\"} 1",
            "postrider_policyd_list_connected{list=\"vip\"} 0",
            "postrider_policyd_list_entries{list=\"vip\",kind=\"unlisted\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }
}
