//! What is counted, for Prometheus. The only file of this crate that knows prometheus-client.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::connection::End;
use crate::outcome::Outcome;

/// All figures of the service.
pub struct Metrics {
    registry: Registry,
    connections: Gauge,
    ended: Family<Labels, Counter>,
    recipients: Family<Labels, Counter>,
    deliveries: Family<Labels, Counter>,
    bytes: Counter,
    seconds: Histogram,
    panics: Counter,
}

/// One label and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels(&'static str, &'static str);

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [(self.0, self.1)].encode(encoder)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Upper ends of the histogram's classes, in seconds: three syncs take from tenths of a millisecond to seconds.
const CLASSES: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postrider_lmtp");
        let connections = Gauge::default();
        let (ended, recipients, deliveries) = (Family::default(), Family::default(), Family::default());
        let (bytes, panics) = (Counter::default(), Counter::default());
        let seconds = Histogram::new(CLASSES);
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register("connections_ended", "Connections that have ended, by how", ended.clone());
        registry.register("recipients", "Recipients named by RCPT, by result", recipients.clone());
        registry.register("deliveries", "Deliveries to one recipient, by result", deliveries.clone());
        registry.register("delivered_bytes", "Bytes of delivered messages as stored", bytes.clone());
        registry.register(
            "delivery_seconds",
            "From the end of a message to the reply for a recipient",
            seconds.clone(),
        );
        registry.register("panics", "Connections that a bug has ended", panics.clone());
        Self { registry, connections, ended, recipients, deliveries, bytes, seconds, panics }
    }

    /// A connection begins.
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// A connection has ended; `None` when its socket failed.
    pub fn disconnected(&self, end: Option<End>) {
        self.connections.dec();
        let how = match end {
            Some(End::Closed) => "closed",
            Some(End::Gone) => "gone",
            Some(End::TimedOut) => "timed_out",
            Some(End::Stopped) => "stopped",
            None => "failed",
        };
        self.ended.get_or_create(&Labels("how", how)).inc();
    }

    /// A bug has ended a connection.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A recipient was looked up; `code` is the reply's.
    pub fn recipient(&self, code: u16) {
        let result = match code {
            250 => "accepted",
            550 => "unknown",
            452 | 552 => "full",
            _ => "temporary",
        };
        self.recipients.get_or_create(&Labels("result", result)).inc();
    }

    /// A message was delivered to one recipient, or was not.
    pub fn delivery(&self, outcome: &Outcome, size: u64, took: Duration) {
        let result = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Rejected { quota: true, .. } | Outcome::Temporary { quota: true, .. } => "full",
            Outcome::Rejected { quota: false, .. } => "rejected",
            Outcome::Temporary { quota: false, .. } => "temporary",
        };
        self.deliveries.get_or_create(&Labels("result", result)).inc();
        if *outcome == Outcome::Delivered {
            self.bytes.inc_by(size);
        }
        self.seconds.observe(took.as_secs_f64());
    }

    /// The text for Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            log::error!("the metrics cannot be written: {error}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_names() {
        let metrics = Metrics::new();
        metrics.connected();
        metrics.connected();
        metrics.disconnected(Some(End::Gone));
        metrics.recipient(250);
        metrics.recipient(451);
        metrics.delivery(&Outcome::Delivered, 4096, Duration::from_millis(2));
        metrics.delivery(&Outcome::internal(), 4096, Duration::from_millis(2));
        metrics.panicked();
        let text = metrics.text();
        for line in [
            "postrider_lmtp_connections 1",
            "postrider_lmtp_connections_ended_total{how=\"gone\"} 1",
            "postrider_lmtp_recipients_total{result=\"accepted\"} 1",
            "postrider_lmtp_recipients_total{result=\"temporary\"} 1",
            "postrider_lmtp_deliveries_total{result=\"delivered\"} 1",
            "postrider_lmtp_deliveries_total{result=\"temporary\"} 1",
            "postrider_lmtp_delivered_bytes_total 4096",
            "postrider_lmtp_delivery_seconds_count 2",
            "postrider_lmtp_panics_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
