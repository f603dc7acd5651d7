//! What is counted, for Prometheus. No label has the name of a site.

use std::time::Duration;

use echkit::rustls::{AlertDescription, Error as TlsError};
use echkit::server::{AcceptError, EchOutcome};
use hyper::{StatusCode, Version};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::config::ServeConfig;
use super::key_source::key_directory;
use super::outcome::{outcome_word, reason_word};
use crate::KeyState;

type Labels = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// A connection that counts as open.
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Bounds of the histogram of handshakes, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The counts of a server.
pub(super) struct Metrics {
    registry: Registry,
    handshakes: Family<Labels, Counter>,
    rejected: Family<Labels, Counter>,
    handshake_failures: Family<Labels, Counter>,
    ech_required: Counter,
    handshake_seconds: Histogram,
    refused: Family<Labels, Counter>,
    connections: Gauge,
    requests: Family<TwoLabels, Counter>,
    log_lines_dropped: Counter,
    reloads: Family<Labels, Counter>,
    keys: Gauge,
    key_age: Family<Vec<(String, String)>, Gauge>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ech"),
            handshakes: Family::default(),
            rejected: Family::default(),
            handshake_failures: Family::default(),
            ech_required: Counter::default(),
            handshake_seconds: Histogram::new(BUCKETS),
            refused: Family::default(),
            connections: Gauge::default(),
            requests: Family::default(),
            log_lines_dropped: Counter::default(),
            reloads: Family::default(),
            keys: Gauge::default(),
            key_age: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "handshakes",
            "Handshakes by what became of the ECH offer",
            self.handshakes.clone(),
        );
        registry.register(
            "rejected",
            "ECH offers that were not opened, by reason",
            self.rejected.clone(),
        );
        registry.register(
            "handshake_failures",
            "Handshakes that failed, by where",
            self.handshake_failures.clone(),
        );
        registry.register(
            "required_alerts",
            "ech_required alerts of clients that were rejected",
            self.ech_required.clone(),
        );
        registry.register(
            "handshake_seconds",
            "Time of handshakes that succeeded",
            self.handshake_seconds.clone(),
        );
        registry.register(
            "refused_connections",
            "Connections beyond the limits of one address",
            self.refused.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "requests",
            "Requests by version and class of status",
            self.requests.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Lines of the access log that the disk had no time for",
            self.log_lines_dropped.clone(),
        );
        registry.register(
            "reloads",
            "Reloads of configuration, certificates and keys, by result",
            self.reloads.clone(),
        );
        registry.register("keys", "ECH keys that open hellos", self.keys.clone());
        registry.register(
            "key_age_seconds",
            "For how long keys have been in their state",
            self.key_age.clone(),
        );
    }

    /// A connection that is open until the returned value is dropped.
    pub(super) fn connected(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    pub(super) fn refused(&self, limit: &'static str) {
        self.refused.get_or_create(&[("limit", limit)]).inc();
    }

    pub(super) fn accepted(&self, outcome: &EchOutcome, took: Duration) {
        self.outcome(outcome);
        self.handshake_seconds.observe(took.as_secs_f64());
    }

    fn outcome(&self, outcome: &EchOutcome) {
        let word = outcome_word(outcome);
        self.handshakes.get_or_create(&[("ech", word)]).inc();
        if let EchOutcome::Rejected { reason, .. } = outcome {
            self.rejected
                .get_or_create(&[("reason", reason_word(reason))])
                .inc();
        }
    }

    /// A handshake that failed. A client whose offer was rejected may end it by the alert.
    pub(super) fn failed(&self, error: &AcceptError) {
        let place = match error {
            AcceptError::Timeout(_) => "time",
            AcceptError::Io(_) => "connection",
            AcceptError::Handshake(_) => "hello",
            AcceptError::Finishing { outcome, source } => {
                self.outcome(outcome);
                self.read_failed(source);
                "finish"
            }
            _ => "other",
        };
        self.handshake_failures
            .get_or_create(&[("at", place)])
            .inc();
    }

    /// Reading from a client failed: it may have sent an alert.
    pub(super) fn read_failed(&self, error: &std::io::Error) {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TlsError>());
        if let Some(TlsError::AlertReceived(AlertDescription::EncryptedClientHelloRequired)) = inner
        {
            self.ech_required.inc();
        }
    }

    pub(super) fn answered(&self, version: Version, status: StatusCode) {
        let version = match version {
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let labels = [("http", version), ("status", class)];
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn log_line_dropped(&self) {
        self.log_lines_dropped.inc();
    }

    pub(super) fn reloaded(&self, what: bool) {
        let result = match what {
            true => "done",
            false => "refused",
        };
        self.reloads.get_or_create(&[("result", result)]).inc();
    }

    /// The text that Prometheus reads. Blocks: the states of keys are read from their directory.
    pub(super) fn text(&self, config: &ServeConfig, keys: usize) -> String {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.key_age.clear();
        let status = key_directory(config).and_then(|directory| directory.status());
        for key in status.into_iter().flatten() {
            if key.entry.state == KeyState::Gone {
                continue;
            }
            let labels = vec![
                ("config_id".to_owned(), key.entry.config_id.to_string()),
                ("state".to_owned(), key.entry.state.as_str().to_owned()),
            ];
            let age = i64::try_from(key.in_state.as_secs()).unwrap_or(i64::MAX);
            self.key_age.get_or_create(&labels).set(age);
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
