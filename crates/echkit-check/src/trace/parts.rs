//! The parts of a trace, and how they are read from recorded bytes.

use std::net::SocketAddr;

use echkit::Report;
use echkit::report::{DnsReport, EchReport};
use echkit::wire::{RecordedConnection, WireRecorder};
use echkit_proto::hello::{ClientHello, EchExtension, HelloReader, extension};
use echkit_proto::inner::{outer_extensions, padding_len};
use echkit_proto::key_log::{LoggedOffers, LoggedOpener};
use serde::Serialize;

use super::hello::{HelloField, HelloFields};
use super::server::{self, ServerAnswer};

/// The version of the JSON shape.
const TRACE_VERSION: u32 = 1;

/// The record that a client in compatibility mode sends before its second hello (RFC 8446 §D.4).
const CHANGE_CIPHER_SPEC: &[u8] = &[0x14, 3, 3, 0, 1, 1];

/// What the network saw of one visit.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Trace {
    /// Of this shape.
    pub version: u32,
    /// The origin that was visited.
    pub origin: String,
    /// The host's name, which ECH hides.
    pub name: String,
    /// Whether the name could be read in the bytes of a connection.
    pub name_in_tls: bool,
    /// Whether the name could be read in queries; `null` where none was sent.
    pub name_in_dns: Option<bool>,
    /// What became of ECH, as in the report of `ech get`.
    pub ech: EchReport,
    /// What DNS said.
    pub dns: Option<DnsReport>,
    /// The connections in the order in which they were made.
    pub connections: Vec<ConnectionTrace>,
    /// Why no connection came of it.
    pub error: Option<String>,
}

impl Trace {
    /// Puts the trace of one visit together, from its report and what was recorded. `name` is the
    /// host's.
    pub fn new(name: &str, report: &Report, recorder: &WireRecorder) -> Self {
        let offers = LoggedOffers::parse(&recorder.key_log());
        let connections: Vec<ConnectionTrace> = recorder
            .connections()
            .iter()
            .map(|recorded| ConnectionTrace::of(recorded, name, &offers))
            .collect();
        Self {
            version: TRACE_VERSION,
            origin: report.origin.clone(),
            name: name.to_owned(),
            name_in_tls: connections.iter().any(|c| !c.name_seen.is_empty()),
            name_in_dns: report.dns.as_ref().map(|dns| !dns.protected),
            ech: report.ech.clone(),
            dns: report.dns.clone(),
            connections,
            error: report.error.clone(),
        }
    }
}

/// One connection.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConnectionTrace {
    /// The server's address.
    pub peer: SocketAddr,
    /// The client's.
    pub local: Option<SocketAddr>,
    /// What became of ECH.
    pub ech: SeenEch,
    /// The ClientHellos: two after a HelloRetryRequest.
    pub hellos: Vec<HelloTrace>,
    /// What the server answered.
    pub answers: Vec<ServerAnswer>,
    /// Where the host's name could be read.
    pub name_seen: Vec<Sighting>,
    /// Bytes sent.
    pub sent: usize,
    /// Bytes received.
    pub received: usize,
    /// Whether there was more than the recorder kept.
    pub truncated: bool,
}

/// What became of ECH on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SeenEch {
    /// There was no ClientHello.
    NoHello,
    /// No extension was sent.
    NotOffered,
    /// GREASE: there is nothing inside. The client knows, others cannot tell.
    Grease,
    /// The server answered the ClientHelloInner.
    Accepted,
    /// The server answered the ClientHelloOuter.
    Rejected,
    /// It ended before the server had shown which it answers.
    Undecided,
}

impl SeenEch {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoHello => "no ClientHello was sent",
            Self::NotOffered => "ECH was not offered",
            Self::Grease => "GREASE: a made-up ECH extension without a hello inside",
            Self::Accepted => "ECH accepted",
            Self::Rejected => "ECH rejected",
            Self::Undecided => "ended before the server accepted or rejected ECH",
        }
    }
}

/// One ClientHello.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HelloTrace {
    /// What was on the wire: the ClientHelloOuter where ECH is offered.
    pub outer: HelloFields,
    /// What was sealed in it.
    pub inner: Option<HelloFields>,
    /// The extensions that the inner hello takes from the outer one (RFC 9849 §5.1).
    pub from_outer: Vec<u16>,
    /// How many zeros pad the EncodedClientHelloInner (RFC 9849 §6.1.3).
    pub padding: Option<usize>,
    /// Why the offer could not be opened.
    pub not_opened: Option<String>,
}

/// A place where the host's name can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sighting {
    /// Whether the client sent it, else it received it.
    pub sent: bool,
    /// Where, in words.
    pub place: String,
}

impl ConnectionTrace {
    fn of(recorded: &RecordedConnection, name: &str, offers: &LoggedOffers) -> Self {
        let (sent, received) = (recorded.sent(), recorded.received());
        let hellos = client_hellos(&sent);
        let mut opener = hellos
            .first()
            .and_then(|first| offers.opener(first).ok().flatten());
        let traced: Vec<HelloTrace> = hellos
            .iter()
            .map(|hello| HelloTrace::of(hello, opener.as_mut()))
            .collect();
        Self {
            peer: recorded.peer,
            local: recorded.local,
            ech: seen_ech(&hellos, &traced, offers),
            name_seen: sightings(name, &sent, &received, &traced),
            hellos: traced,
            answers: server::answers(&received),
            sent: sent.len() + recorded.sent_lost,
            received: received.len() + recorded.received_lost,
            truncated: recorded.sent_lost + recorded.received_lost > 0,
        }
    }
}

impl HelloTrace {
    fn of(hello: &ClientHello, opener: Option<&mut LoggedOpener<'_>>) -> Self {
        let mut trace = Self {
            outer: HelloFields::from(hello),
            inner: None,
            from_outer: Vec::new(),
            padding: None,
            not_opened: None,
        };
        match opener.map(|opener| opener.open(hello)) {
            Some(Ok(opened)) => {
                trace.from_outer = outer_extensions(&opened.encoded);
                trace.padding = Some(padding_len(&opened.encoded));
                trace.inner = Some(HelloFields::from(&opened.inner));
            }
            Some(Err(error)) => trace.not_opened = Some(error.to_string()),
            None => {}
        }
        trace
    }
}

/// The ClientHellos at the beginning of what a client sent.
pub(crate) fn client_hellos(sent: &[u8]) -> Vec<ClientHello> {
    let mut rest = sent;
    let mut hellos = Vec::new();
    while let Ok((taken, Some(message))) = HelloReader::default().read(rest) {
        let Ok(hello) = ClientHello::parse(message) else {
            break;
        };
        hellos.push(hello);
        rest = &rest[taken..];
        rest = rest.strip_prefix(CHANGE_CIPHER_SPEC).unwrap_or(rest);
    }
    hellos
}

fn seen_ech(hellos: &[ClientHello], traced: &[HelloTrace], offers: &LoggedOffers) -> SeenEch {
    let (Some(first), Some(trace)) = (hellos.first(), traced.first()) else {
        return SeenEch::NoHello;
    };
    let offered = matches!(first.ech(), Ok(Some(EchExtension::Outer(_))));
    let Some(inner) = &trace.inner else {
        return match offered {
            true => SeenEch::Grease,
            false => SeenEch::NotOffered,
        };
    };
    match ClientHello::parse(inner.message.as_slice()) {
        Ok(inner) if offers.has_handshake(&inner.random()) => SeenEch::Accepted,
        _ if offers.has_handshake(&first.random()) => SeenEch::Rejected,
        _ => SeenEch::Undecided,
    }
}

/// Where the name can be read: in any case of letters, as names are compared.
fn sightings(name: &str, sent: &[u8], received: &[u8], hellos: &[HelloTrace]) -> Vec<Sighting> {
    let mut seen = Vec::new();
    for (number, hello) in (1..).zip(hellos) {
        for field in &hello.outer.fields {
            if shows(&field.bytes, name) {
                let place = format!("ClientHello {number}, {}", field.name);
                seen.push(Sighting { sent: true, place });
            }
        }
    }
    if seen.is_empty() && shows(sent, name) {
        let place = "in what the client sent after its ClientHellos".to_owned();
        seen.push(Sighting { sent: true, place });
    }
    if shows(received, name) {
        let place = "in what the server sent".to_owned();
        seen.push(Sighting { sent: false, place });
    }
    seen
}

fn shows(bytes: &[u8], name: &str) -> bool {
    !name.is_empty()
        && bytes
            .windows(name.len())
            .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether a field of an outer hello is the ECH extension.
pub(super) fn is_ech(field: &HelloField) -> bool {
    field.extension == Some(extension::ENCRYPTED_CLIENT_HELLO)
}
