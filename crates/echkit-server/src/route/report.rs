//! What became of a connection, and counts of that.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use echkit_proto::alert::Alert;
use echkit_proto::server::{ForwardError, ForwardedHello, RejectReason};

use super::backend::Backend;

/// A connection that has ended.
#[non_exhaustive]
pub struct RoutedConnection {
    /// The client, as a PROXY protocol header tells it where these are read.
    pub client: SocketAddr,
    /// What its hello was; `None` when there was none.
    pub hello: Option<ForwardedHello>,
    /// Where it was forwarded to.
    pub backend: Option<Arc<Backend>>,
    /// Bytes that the backend was sent: hellos as they were forwarded, and all that followed.
    pub to_server: u64,
    /// Bytes that the client was sent by the backend.
    pub to_client: u64,
    /// How long it lasted.
    pub duration: Duration,
    /// How it ended.
    pub end: RouteEnd,
}

impl RoutedConnection {
    /// Whether the backend tells the name that ECH hid: that of an accepted hello does, where names
    /// have backends of their own.
    pub fn backend_is_hidden(&self) -> bool {
        matches!(self.hello, Some(ForwardedHello::Accepted { .. }))
    }
}

/// Shows no name that ECH hides, and no backend that tells it.
impl fmt::Debug for RoutedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RoutedConnection");
        shown
            .field("client", &self.client)
            .field("hello", &self.hello);
        if !self.backend_is_hidden() {
            let name = self.backend.as_ref().map(|backend| backend.name());
            shown.field("backend", &name);
        }
        shown
            .field("to_server", &self.to_server)
            .field("to_client", &self.to_client)
            .field("duration", &self.duration)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// How a connection ended. No text names a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteEnd {
    /// Both sides have closed it.
    #[error("closed")]
    Closed,
    /// The client sent nothing.
    #[error("the client closed the connection before its ClientHello")]
    Nothing,
    /// The hello breaks a rule, and is not forwarded.
    #[error("{0}")]
    Refused(ForwardError),
    /// ECH was accepted, and no backend has the name inside.
    #[error("no backend is configured for the name in the accepted ClientHello")]
    UnknownName,
    /// ECH was accepted, and there is no host name inside.
    #[error("the accepted ClientHello has no server_name")]
    NoName,
    /// What came is no PROXY protocol header.
    #[error("no PROXY protocol header, version 2; forward with one, or do not expect it")]
    NoProxyHeader,
    /// The address has as many connections as it may.
    #[error("the client's address has too many connections")]
    TooMany,
    /// The hello, or the server's answer to it, did not come in time.
    #[error("the hellos took longer than {0:?}")]
    HelloTimeout(Duration),
    /// No address of the backend could be connected to.
    #[error("the backend cannot be reached: {0}")]
    NoBackend(io::Error),
    /// No byte has passed for too long.
    #[error("no data for {0:?}")]
    Idle(Duration),
    /// A connection failed.
    #[error("a connection failed: {0}")]
    Broken(io::Error),
}

impl RouteEnd {
    /// The alert that the client gets, where it gets one.
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Self::Refused(error) => Some(error.alert()),
            Self::UnknownName => Some(Alert::UNRECOGNIZED_NAME),
            Self::NoName => Some(Alert::MISSING_EXTENSION),
            Self::NoBackend(_) => Some(Alert::INTERNAL_ERROR),
            _ => None,
        }
    }

    /// One word for it, for logs and counts.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Nothing => "nothing",
            Self::Refused(_) => "refused",
            Self::UnknownName => "unknown_name",
            Self::NoName => "no_name",
            Self::NoProxyHeader => "no_proxy_header",
            Self::TooMany => "too_many",
            Self::HelloTimeout(_) => "hello_timeout",
            Self::NoBackend(_) => "no_backend",
            Self::Idle(_) => "idle",
            Self::Broken(_) => "broken",
        }
    }
}

/// The words of [`RouteEnd::as_str`], in the order of the counts.
const ENDS: [&str; 11] = [
    "closed",
    "nothing",
    "refused",
    "unknown_name",
    "no_name",
    "no_proxy_header",
    "too_many",
    "hello_timeout",
    "no_backend",
    "idle",
    "broken",
];

/// The words of hellos, in the order of the counts.
const HELLOS: [&str; 8] = [
    "accepted",
    "not_offered",
    "no_keys",
    "unknown_config_id",
    "suite_not_offered",
    "not_opened",
    "offered_late",
    "rejected",
];

/// One word for what a hello was: `accepted`, `not_offered`, or why its offer was rejected.
pub fn hello_word(hello: &ForwardedHello) -> &'static str {
    match hello {
        ForwardedHello::Accepted { .. } => "accepted",
        ForwardedHello::NotOffered { .. } => "not_offered",
        ForwardedHello::Rejected { reason, .. } => match reason {
            RejectReason::NoKeys => "no_keys",
            RejectReason::UnknownConfigId => "unknown_config_id",
            RejectReason::SuiteNotOffered => "suite_not_offered",
            RejectReason::NotOpened => "not_opened",
            RejectReason::OfferedLate => "offered_late",
            _ => "rejected",
        },
        _ => "rejected",
    }
}

/// Counts of a router, for monitoring. They name no host.
#[derive(Debug, Default)]
pub struct RouteCounts {
    open: AtomicU64,
    hellos: [AtomicU64; HELLOS.len()],
    ends: [AtomicU64; ENDS.len()],
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl RouteCounts {
    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hello(&self, hello: &ForwardedHello) {
        count(&HELLOS, &self.hellos, hello_word(hello));
    }

    pub(super) fn ended(&self, connection: &RoutedConnection) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        count(&ENDS, &self.ends, connection.end.as_str());
        let add = |to: &AtomicU64, bytes| to.fetch_add(bytes, Ordering::Relaxed);
        add(&self.to_server, connection.to_server);
        add(&self.to_client, connection.to_client);
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Hellos so far, by the words of [`hello_word`].
    pub fn hellos(&self) -> impl Iterator<Item = (&'static str, u64)> {
        pairs(&HELLOS, &self.hellos)
    }

    /// Connections that have ended, by the words of [`RouteEnd::as_str`].
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, u64)> {
        pairs(&ENDS, &self.ends)
    }

    /// The counts in the text format of Prometheus.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, samples: Vec<(String, u64)>| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            for (labels, value) in samples {
                text.push_str(&format!("{name}{labels} {value}\n"));
            }
        };
        let labelled = |label: &str, pairs: &mut dyn Iterator<Item = (&'static str, u64)>| {
            let sample = |(word, value)| (format!("{{{label}=\"{word}\"}}"), value);
            pairs.map(sample).collect()
        };
        metric(
            "ech_route_connections_open",
            "gauge",
            "Connections that are open.",
            vec![(String::new(), self.open())],
        );
        metric(
            "ech_route_hellos_total",
            "counter",
            "ClientHellos, by what became of their ECH offer.",
            labelled("ech", &mut self.hellos()),
        );
        metric(
            "ech_route_connections_total",
            "counter",
            "Connections that have ended, by how.",
            labelled("end", &mut self.ends()),
        );
        let load = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        metric(
            "ech_route_bytes_total",
            "counter",
            "Bytes that have passed in connections that have ended.",
            vec![
                ("{to=\"backend\"}".to_owned(), load(&self.to_server)),
                ("{to=\"client\"}".to_owned(), load(&self.to_client)),
            ],
        );
        text
    }
}

fn count(words: &[&str], counts: &[AtomicU64], word: &str) {
    if let Some(at) = words.iter().position(|known| *known == word) {
        counts[at].fetch_add(1, Ordering::Relaxed);
    }
}

fn pairs<'a>(
    words: &'a [&'static str],
    counts: &'a [AtomicU64],
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
    words.iter().copied().zip(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use echkit_proto::server::Misbehaviour;

    #[test]
    fn every_end_is_counted_under_its_word() {
        let io = || io::Error::from(io::ErrorKind::ConnectionReset);
        let ends = [
            RouteEnd::Closed,
            RouteEnd::Nothing,
            RouteEnd::Refused(ForwardError::Client(Misbehaviour::SecondChanged)),
            RouteEnd::UnknownName,
            RouteEnd::NoName,
            RouteEnd::NoProxyHeader,
            RouteEnd::TooMany,
            RouteEnd::HelloTimeout(Duration::ZERO),
            RouteEnd::NoBackend(io()),
            RouteEnd::Idle(Duration::ZERO),
            RouteEnd::Broken(io()),
        ];
        let words: Vec<&str> = ends.iter().map(RouteEnd::as_str).collect();
        assert_eq!(words, ENDS);
    }

    #[test]
    fn counts_are_shown_and_name_no_host() {
        let counts = RouteCounts::default();
        let hello = ForwardedHello::Rejected {
            reason: RejectReason::NotOpened,
            outer_name: Some("public.test".to_owned()),
        };
        counts.opened();
        counts.opened();
        counts.hello(&hello);
        counts.ended(&RoutedConnection {
            client: ([127, 0, 0, 1], 1).into(),
            hello: Some(hello),
            backend: None,
            to_server: 5,
            to_client: 7,
            duration: Duration::ZERO,
            end: RouteEnd::UnknownName,
        });
        let text = counts.prometheus();
        for line in [
            "ech_route_connections_open 1",
            "ech_route_hellos_total{ech=\"not_opened\"} 1",
            "ech_route_connections_total{end=\"unknown_name\"} 1",
            "ech_route_bytes_total{to=\"client\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("public.test"));
    }
}
