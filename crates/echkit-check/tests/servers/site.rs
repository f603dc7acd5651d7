//! A server and a zone as a test wants them, and the check of both.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::server::{Acceptor, EchKeyHandle, EchKeys, EchServer};
use echkit::tls::{ClientTls, Trust};
use echkit_check::{Checker, CheckerBuilder, HostReport, ProbeSelection};
use echkit_proto::config::{EchConfig, EchConfigList};
use echkit_proto::hello::ClientHello;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::pki::Authority;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::server::{ClientHello as Asked, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const HOST: &str = "site.test";
pub(crate) const PUBLIC: &str = "public.test";

/// Whether a middlebox lets a hello through.
pub(crate) type Lets = fn(&ClientHello) -> bool;

/// What is answered to a request for a path of an authority.
pub(crate) type Answer = Arc<dyn Fn(&str, &str) -> Page + Send + Sync>;

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn new(status: u16) -> Self {
        let hsts = ("strict-transport-security", "max-age=300".to_owned());
        Self {
            status,
            headers: vec![hsts],
            body: String::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn to(status: u16, location: impl Into<String>) -> Self {
        Self::new(status).with("location", location)
    }
}

/// Bytes without end, until the client has enough.
#[derive(Clone)]
pub(crate) struct Raw {
    first: Vec<u8>,
    then: Vec<u8>,
    /// Between one piece and the next.
    pub(crate) pause: Option<Duration>,
    /// How many bytes were sent, over all connections.
    pub(crate) sent: Arc<AtomicUsize>,
}

impl Raw {
    /// Sends `first` once and then `then` again and again.
    pub(crate) fn new(first: impl Into<Vec<u8>>, then: impl Into<Vec<u8>>) -> Self {
        Self {
            first: first.into(),
            then: then.into(),
            pause: None,
            sent: Arc::default(),
        }
    }

    pub(crate) async fn send<IO>(self, mut io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // The client's first words; a request that is not waited for may be reset.
        let mut buffer = [0; 4096];
        let mut piece = &self.first;
        let _ = io.read(&mut buffer).await;
        while io.write_all(piece).await.is_ok() && io.flush().await.is_ok() {
            self.sent.fetch_add(piece.len(), Ordering::SeqCst);
            piece = &self.then;
            if let Some(pause) = self.pause {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// A page at `/`, and nothing else.
fn only_home(_: &str, path: &str) -> Page {
    Page::new(if path == "/" { 200 } else { 404 })
}

/// Serves HTTP over one connection, by what its first bytes are.
pub(crate) async fn serve<IO>(io: IO, answer: Answer)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let authority = match request.uri().authority() {
            Some(authority) => authority.to_string(),
            None => request.headers()["host"].to_str().unwrap().to_owned(),
        };
        let page = answer(&authority, request.uri().path());
        let mut response = Response::builder().status(page.status);
        for (name, value) in page.headers {
            response = response.header(name, value);
        }
        let response = response.body(Full::new(Bytes::from(page.body)));
        async move { Ok::<_, Infallible>(response.unwrap()) }
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

pub(crate) struct Site {
    pub(crate) keys: EchKeys,
    /// The names of each certificate, by the name asked for.
    pub(crate) certificates: Vec<(&'static str, &'static [&'static str])>,
    pub(crate) alpn: &'static [&'static str],
    pub(crate) lets: Lets,
    pub(crate) answer: Answer,
    /// What is changed of the TLS settings.
    pub(crate) tls: Box<dyn FnOnce(&mut ServerConfig) + Send>,
    /// The step to which the first flight is padded; 0 for none.
    pub(crate) padding: usize,
    /// What is sent in place of HTTP.
    pub(crate) raw: Option<Raw>,
}

impl Site {
    pub(crate) fn new(keys: EchKeys) -> Self {
        Self {
            keys,
            certificates: vec![(HOST, &[HOST]), (PUBLIC, &[PUBLIC])],
            alpn: &["h2", "http/1.1"],
            lets: |_| true,
            answer: Arc::new(only_home),
            tls: Box::new(|_| ()),
            padding: 0,
            raw: None,
        }
    }

    pub(crate) async fn start(self, ca: &Authority) -> SocketAddr {
        let provider = echkit::server::provider();
        let certified = self.certificates.iter().map(|(asked, named)| {
            let issued = ca.issue(named);
            let key = CertifiedKey::from_der(issued.chain(), issued.key.clone_key(), &provider);
            ((*asked).to_owned(), Arc::new(key.unwrap()))
        });
        let certified = Arc::new(ByName(certified.collect()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(certified);
        config.alpn_protocols = self.alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        (self.tls)(&mut config);
        let handle = EchKeyHandle::new(self.keys);
        let server = EchServer::new(Arc::new(config), handle).unwrap();
        let acceptor = Acceptor::from(server.with_flight_padding(self.padding));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let lets = self.lets;
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), self.answer.clone());
                let raw = self.raw.clone();
                tokio::spawn(async move {
                    if lets(&peeked(&tcp).await)
                        && let Ok(accepted) = acceptor.accept(tcp).await
                    {
                        match raw {
                            Some(raw) => raw.send(accepted.stream).await,
                            None => serve(accepted.stream, answer).await,
                        }
                    }
                });
            }
        });
        address
    }
}

#[derive(Debug)]
struct ByName(HashMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: Asked<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(hello.server_name()?).cloned()
    }
}

/// The first ClientHello, which stays where it is. The probes' hellos fit into one record.
async fn peeked(tcp: &TcpStream) -> ClientHello {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = tcp.peek(&mut buffer).await.unwrap();
        if len > 5 {
            let record = 5 + usize::from(u16::from_be_bytes([buffer[3], buffer[4]]));
            if len >= record {
                return ClientHello::parse(&buffer[5..record]).unwrap();
            }
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) fn key(public_name: &str, id: u8) -> EchKey {
    EchKey::generate(&KeyParams::new(public_name).unwrap().with_config_id(id)).unwrap()
}

pub(crate) fn ech(configs: Vec<EchConfig>) -> String {
    EchConfigList::from_configs(configs).unwrap().to_base64()
}

pub(crate) fn list(key: &EchKey) -> EchConfigList {
    key.config().clone().into()
}

/// Checks `site.test`, whose zone has these records beside those of its public_name.
pub(crate) async fn check(
    ca: &Authority,
    records: Vec<(&'static str, RecordType, Reply)>,
) -> HostReport {
    check_with(ca, records, |checker| checker).await
}

/// The same with other settings.
pub(crate) async fn check_with(
    ca: &Authority,
    records: Vec<(&'static str, RecordType, Reply)>,
    change: impl FnOnce(CheckerBuilder) -> CheckerBuilder,
) -> HostReport {
    let loopback = || Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    let mut zone = vec![(PUBLIC, RecordType::A, loopback())];
    if !records.iter().any(|(_, kind, _)| *kind == RecordType::A) {
        zone.push((HOST, RecordType::A, loopback()));
    }
    zone.extend(records);
    let dns = Server::start(Script::new(zone)).await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let trust = Trust::certificates([ca.root()]).unwrap();
    let selection = ProbeSelection::default();
    // Bound and never listening: what this machine has at port 80 is no matter of a test.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let checker = Checker::builder()
        .tls(ClientTls::builder().trust(trust))
        .resolver(resolver)
        .http_port(closed.local_addr().unwrap().port())
        .selection(without_notes_about_dns(selection));
    change(checker)
        .build()
        .unwrap()
        .check(&format!("https://{HOST}").parse().unwrap())
        .await
}

/// The DNS of these tests is asked in the clear, and validates nothing.
pub(crate) fn without_notes_about_dns(selection: ProbeSelection) -> ProbeSelection {
    let selection = selection.with_skip("ECH-DNS-IN-THE-CLEAR").unwrap();
    selection.with_skip("ECH-DNSSEC-MISSING").unwrap()
}

pub(crate) fn record(ech: &str, port: u16, more: &str) -> (&'static str, RecordType, Reply) {
    let text = format!("1 . {more} port={port} ech={ech}");
    (HOST, RecordType::HTTPS, Reply::Records(vec![https(&text)]))
}

pub(crate) fn assert_findings(report: &HostReport, expected: &[&str]) {
    assert!(report.error.is_none(), "{:?}", report.error);
    let found: BTreeSet<&str> = report.findings.iter().map(|f| f.id.as_str()).collect();
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    assert_eq!(found, expected, "{:#?}", report.findings);
}

/// A site with one key, changed, under the record of that key.
pub(crate) async fn findings_of(change: impl FnOnce(&mut Site, &EchKey), expected: &[&str]) {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    change(&mut site, &key);
    let address = site.start(&ca).await;
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, address.port(), "alpn=h2");
    assert_findings(&check(&ca, vec![record]).await, expected);
}
