//! One TCP connection and one TLS handshake, and what came of them.

use std::io;
use std::time::Duration;

use echkit::connect::{HandshakeFault, HandshakeLimits, WireLog, handshake};
use echkit::rustls::{self, AlertDescription};
use echkit::tls::{ClientTls, OfferOutcome, TlsTarget};
use echkit::wire::WireRecorder;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::finding::Location;

/// For close_notify: a peer that does not read it loses nothing.
const CLOSE: Duration = Duration::from_millis(500);

/// What came of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// What became of the ECH offer.
    pub(crate) offer: OfferOutcome,
    pub(crate) end: AttemptEnd,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum AttemptEnd {
    /// The handshake finished, with this protocol.
    Finished { alpn: Option<Vec<u8>> },
    /// TCP did not connect.
    NoConnection(String),
    /// This machine has no route, as without IPv6: it says nothing of the server.
    NoRoute(String),
    /// The server's certificate is not valid.
    Certificate(String),
    /// The server has no version of TLS in common.
    Version(String),
    /// Anything else.
    Failed(String),
}

impl Attempt {
    pub(crate) fn is_accepted(&self) -> bool {
        self.offer == OfferOutcome::Accepted
    }

    /// Whether TCP connected.
    pub(crate) fn connected(&self) -> bool {
        !matches!(
            self.end,
            AttemptEnd::NoConnection(_) | AttemptEnd::NoRoute(_)
        )
    }

    /// Whether the server went as far as to show its certificate.
    pub(crate) fn answered(&self) -> bool {
        matches!(
            self.end,
            AttemptEnd::Finished { .. } | AttemptEnd::Certificate(_)
        )
    }

    /// Why it did not finish.
    pub(crate) fn why(&self) -> &str {
        match &self.end {
            AttemptEnd::Finished { .. } => "the handshake finished",
            AttemptEnd::NoConnection(why)
            | AttemptEnd::NoRoute(why)
            | AttemptEnd::Certificate(why)
            | AttemptEnd::Version(why)
            | AttemptEnd::Failed(why) => why,
        }
    }

    fn without_offer(end: AttemptEnd) -> Self {
        Self {
            offer: OfferOutcome::Undecided,
            end,
        }
    }
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    /// For each connection: TCP and TLS each.
    pub(crate) limit: Duration,
    /// What records the bytes.
    pub(crate) recorder: Option<WireRecorder>,
}

impl Dialer {
    /// Connects and performs the handshake.
    pub(crate) async fn dial(&self, tls: &ClientTls, target: &TlsTarget, at: &Location) -> Attempt {
        let limit = self.limit;
        let tcp = match timeout(limit, TcpStream::connect(at.address)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => return Attempt::without_offer(no_connection(&error)),
            Err(_) => {
                let why = format!("no connection within {} ms", limit.as_millis());
                return Attempt::without_offer(AttemptEnd::NoConnection(why));
            }
        };
        let _ = tcp.set_nodelay(true);
        let made = match tls.handshake(target) {
            Ok(made) => made,
            Err(error) => return Attempt::without_offer(AttemptEnd::Failed(error.to_string())),
        };
        let limits = HandshakeLimits::default().with_whole(limit);
        let tap = self
            .recorder
            .as_ref()
            .map(|recorder| recorder.begin(at.to_string(), tcp.local_addr().ok(), at.address));
        let log = WireLog::default().recorded(tap);
        match handshake(made.connection, made.guard, tcp, &log, limits).await {
            Ok(mut stream) => {
                let connection = stream.get_ref().1;
                let attempt = Attempt {
                    offer: OfferOutcome::read(connection, None),
                    end: AttemptEnd::Finished {
                        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
                    },
                };
                let _ = timeout(CLOSE, stream.shutdown()).await;
                attempt
            }
            Err(error) => Attempt {
                end: match &error.fault {
                    HandshakeFault::Tls(tls) => tls_end(tls),
                    fault => AttemptEnd::Failed(fault.to_string()),
                },
                offer: error.offer,
            },
        }
    }
}

fn no_connection(error: &io::Error) -> AttemptEnd {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, Unsupported};
    let why = error.to_string();
    match error.kind() {
        AddrNotAvailable | NetworkUnreachable | Unsupported => AttemptEnd::NoRoute(why),
        _ => AttemptEnd::NoConnection(why),
    }
}

fn tls_end(error: &rustls::Error) -> AttemptEnd {
    let why = error.to_string();
    match error {
        rustls::Error::InvalidCertificate(_) => AttemptEnd::Certificate(why),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13
            | rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => AttemptEnd::Version(why),
        _ => AttemptEnd::Failed(why),
    }
}
