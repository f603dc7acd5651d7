//! The load generator: clients of rustls and hyper, the same for every server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use echkit_test::in_memory::{SECRET, offer};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{EchStatus, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::servers::{Bed, LARGE, SMALL};

/// Over how many connections requests of HTTP/2 go.
const HTTP2_CONNECTIONS: usize = 4;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    EchHandshakes,
    Handshakes,
    Http1Requests,
    Http2Requests,
    Megabytes,
}

impl Measure {
    pub(crate) const ALL: [Self; 5] = [
        Self::EchHandshakes,
        Self::Handshakes,
        Self::Http1Requests,
        Self::Http2Requests,
        Self::Megabytes,
    ];
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EchHandshakes => "handshakes with ECH",
            Self::Handshakes => "handshakes without ECH",
            Self::Http1Requests => "requests over HTTP/1.1",
            Self::Http2Requests => "requests over HTTP/2",
            Self::Megabytes => "MB of a large file",
        })
    }
}

/// The clients.
pub(crate) struct Load {
    runtime: Runtime,
    clients: usize,
    ech: TlsConnector,
    http1: TlsConnector,
    http2: TlsConnector,
}

/// What the clients of one run share.
#[derive(Default)]
struct Run {
    over: AtomicBool,
    count: AtomicU64,
}

impl Run {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn add(&self, count: usize) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Load {
    pub(crate) fn new(bed: &Bed, clients: usize) -> Self {
        let connector = |ech: bool, alpn: &str| {
            let provider = Arc::new(provider());
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
            let builder = match ech {
                true => builder.with_ech(offer(&bed.key).unwrap()).unwrap(),
                false => builder
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .unwrap(),
            };
            let mut config = builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
                .with_no_client_auth();
            config.alpn_protocols = vec![alpn.into()];
            config.resumption = Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        };
        Self {
            runtime: Runtime::new().unwrap(),
            clients,
            ech: connector(true, "http/1.1"),
            http1: connector(false, "http/1.1"),
            http2: connector(false, "h2"),
        }
    }

    /// How many handshakes, requests or megabytes a server did in this time.
    pub(crate) fn run(&self, measure: Measure, at: SocketAddr, time: Duration) -> u64 {
        let run = Arc::new(Run::default());
        self.runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            match measure {
                Measure::EchHandshakes => {
                    for _ in 0..self.clients {
                        tasks.spawn(handshakes(self.ech.clone(), at, true, Arc::clone(&run)));
                    }
                }
                Measure::Handshakes => {
                    for _ in 0..self.clients {
                        tasks.spawn(handshakes(self.http1.clone(), at, false, Arc::clone(&run)));
                    }
                }
                Measure::Http1Requests => {
                    for _ in 0..self.clients {
                        tasks.spawn(requests(self.http1.clone(), at, Arc::clone(&run)));
                    }
                }
                Measure::Http2Requests => {
                    let streams = self.clients.div_ceil(HTTP2_CONNECTIONS);
                    for _ in 0..HTTP2_CONNECTIONS {
                        let connector = self.http2.clone();
                        tasks.spawn(multiplexed(connector, at, streams, Arc::clone(&run)));
                    }
                }
                Measure::Megabytes => {
                    tasks.spawn(download(self.http1.clone(), at, Arc::clone(&run)));
                }
            }
            tokio::time::sleep(time).await;
            run.over.store(true, Ordering::Relaxed);
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
        });
        let count = run.count.load(Ordering::Relaxed);
        match measure {
            Measure::Megabytes => count / 1_000_000,
            _ => count,
        }
    }
}

async fn connect(connector: &TlsConnector, at: SocketAddr) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(at).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(SECRET).unwrap();
    connector.connect(name, tcp).await.unwrap()
}

/// Full handshakes, each ended once the server has closed: it has seen the client's Finished.
async fn handshakes(connector: TlsConnector, at: SocketAddr, ech: bool, run: Arc<Run>) {
    let mut buffer = [0; 4096];
    while run.goes_on() {
        let mut stream = connect(&connector, at).await;
        assert!(!ech || stream.get_ref().1.ech_status() == EchStatus::Accepted);
        // Sends close_notify, and FIN.
        stream.shutdown().await.unwrap();
        // A server may also answer with a reset.
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        run.add(1);
    }
}

/// The small file again and again, over one connection of HTTP/1.1.
async fn requests(connector: TlsConnector, at: SocketAddr, run: Arc<Run>) {
    let stream = connect(&connector, at).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    while run.goes_on() {
        let response = sender.send_request(get(SMALL.0, false)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes().len(), SMALL.1);
        run.add(1);
    }
}

/// The same over one connection of HTTP/2, several at once.
async fn multiplexed(connector: TlsConnector, at: SocketAddr, streams: usize, run: Arc<Run>) {
    let stream = connect(&connector, at).await;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let (mut sender, run) = (sender.clone(), Arc::clone(&run));
        tasks.spawn(async move {
            while run.goes_on() {
                let response = sender.send_request(get(SMALL.0, true)).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                let body = response.into_body().collect().await.unwrap();
                assert_eq!(body.to_bytes().len(), SMALL.1);
                run.add(1);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// The large file over one connection of HTTP/1.1, until the time is over.
async fn download(connector: TlsConnector, at: SocketAddr, run: Arc<Run>) {
    let stream = connect(&connector, at).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    while run.goes_on() {
        let response = sender.send_request(get(LARGE.0, false)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        while run.goes_on() {
            let Some(frame) = body.frame().await else {
                break;
            };
            run.add(frame.unwrap().data_ref().map_or(0, Bytes::len));
        }
    }
}

fn get(path: &str, http2: bool) -> Request<Empty<Bytes>> {
    let request = match http2 {
        true => Request::get(format!("https://{SECRET}{path}")),
        false => Request::get(path).header("host", SECRET),
    };
    request.body(Empty::new()).unwrap()
}

/// X25519 alone and no verification: the cheaper the clients, the more of a rate is the server's.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    provider
}

/// Takes every certificate, and every signature.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
