//! One TCP connection and one TLS handshake, and what came of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use echkit::connect::{Guarded, HandshakeFault, HandshakeLimits, WireLog, handshake};
use echkit::rustls::pki_types::CertificateDer;
use echkit::rustls::{self, AlertDescription, HandshakeKind};
use echkit::tls::{ClientTls, OfferOutcome, TlsTarget};
use echkit::wire::WireRecorder;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::finding::Location;

/// For close_notify: a peer that does not read it loses nothing.
const CLOSE: Duration = Duration::from_millis(500);

/// What came of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// What became of the ECH offer.
    pub(crate) offer: OfferOutcome,
    pub(crate) end: AttemptEnd,
    /// What a finished handshake came with.
    pub(crate) session: Option<Session>,
}

/// What is known of a connection once its handshake has finished.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The server's certificate; that of the first handshake where the session was resumed.
    pub(crate) leaf: Option<CertificateDer<'static>>,
    /// Whether the server resumed an earlier session.
    pub(crate) resumed: bool,
    /// How many bytes the server had sent by then: the size of its first flight.
    pub(crate) first_flight: u64,
}

/// A connection under TLS.
pub(crate) type Connected = TlsStream<Guarded<TcpStream>>;

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
            session: None,
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
    /// Connects, performs the handshake, and closes.
    pub(crate) async fn dial(&self, tls: &ClientTls, target: &TlsTarget, at: &Location) -> Attempt {
        let (attempt, stream) = self.open(tls, target, at).await;
        if let Some(mut stream) = stream {
            let _ = timeout(CLOSE, stream.shutdown()).await;
        }
        attempt
    }

    /// Connects and performs the handshake; the connection is there when it has finished.
    pub(crate) async fn open(
        &self,
        tls: &ClientTls,
        target: &TlsTarget,
        at: &Location,
    ) -> (Attempt, Option<Connected>) {
        let tcp = match self.connect(at.address).await {
            Ok(tcp) => tcp,
            Err(end) => return (Attempt::without_offer(end), None),
        };
        let made = match tls.handshake(target) {
            Ok(made) => made,
            Err(error) => {
                let end = AttemptEnd::Failed(error.to_string());
                return (Attempt::without_offer(end), None);
            }
        };
        let limits = HandshakeLimits::default().with_whole(self.limit);
        let log = self.wire_log(&at.to_string(), &tcp);
        match handshake(made.connection, made.guard, tcp, &log, limits).await {
            Ok(stream) => {
                let (io, connection) = stream.get_ref();
                let leaf = connection.peer_certificates().and_then(<[_]>::first);
                let attempt = Attempt {
                    offer: OfferOutcome::read(connection, None),
                    end: AttemptEnd::Finished {
                        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
                    },
                    session: Some(Session {
                        leaf: leaf.cloned(),
                        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
                        first_flight: io.counts().snapshot().received,
                    }),
                };
                (attempt, Some(stream))
            }
            Err(error) => {
                let attempt = Attempt {
                    end: match &error.fault {
                        HandshakeFault::Tls(tls) => tls_end(tls),
                        fault => AttemptEnd::Failed(fault.to_string()),
                    },
                    offer: error.offer,
                    session: None,
                };
                (attempt, None)
            }
        }
    }

    /// Connects without TLS, for what is sent in the clear.
    pub(crate) async fn open_plain(
        &self,
        address: SocketAddr,
        label: &str,
    ) -> Result<Guarded<TcpStream>, AttemptEnd> {
        let tcp = self.connect(address).await?;
        let log = self.wire_log(label, &tcp);
        Ok(Guarded::counting(tcp, log))
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, AttemptEnd> {
        let limit = self.limit;
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                let _ = tcp.set_nodelay(true);
                Ok(tcp)
            }
            Ok(Err(error)) => Err(no_connection(&error)),
            Err(_) => {
                let why = format!("no connection within {} ms", limit.as_millis());
                Err(AttemptEnd::NoConnection(why))
            }
        }
    }

    fn wire_log(&self, label: &str, tcp: &TcpStream) -> WireLog {
        let tap = self.recorder.as_ref().zip(tcp.peer_addr().ok());
        let tap = tap.map(|(recorder, peer)| recorder.begin(label, tcp.local_addr().ok(), peer));
        WireLog::default().recorded(tap)
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
