//! What the client's tests share: a CA, servers on loopback, and a relay that keeps every byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use echkit::server::{self, Acceptor, EchKeyHandle, EchKeys};
use echkit::tls::{ClientTls, ClientTlsBuilder, Trust};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::tls_record::{APPLICATION_DATA, HANDSHAKE, RECORD_HEADER_LEN, RecordHeader};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::contains;
use crate::pki::Authority;

/// The name that must never be read on the wire.
pub const HIDDEN: &str = "hidden-name.test";
/// The name in the outer hello.
pub const PUBLIC: &str = "public.test";

/// An authority, and configurations with its certificates.
#[derive(Debug, Default)]
pub struct Pki(Authority);

impl Pki {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn root(&self) -> CertificateDer<'static> {
        self.0.root()
    }

    pub fn tls(&self) -> ClientTlsBuilder {
        ClientTls::builder().trust(Trust::certificates([self.root()]).unwrap())
    }

    pub fn issue(&self, names: &[&str]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let site = self.0.issue(names);
        (site.chain(), site.key)
    }

    /// A certificate with its key, as a PEM file has them.
    pub fn issue_pem(&self, names: &[&str]) -> String {
        self.0.issue(names).pem()
    }

    /// A stock configuration with one certificate for all of `names`.
    pub fn server(&self, names: &[&str]) -> ServerConfig {
        self.server_with(names, provider(), rustls::ALL_VERSIONS)
    }

    pub fn server_with(
        &self,
        names: &[&str],
        provider: rustls::crypto::CryptoProvider,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        let (chain, key) = self.issue(names);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

pub fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// A provider that answers rustls' first hello with a HelloRetryRequest.
pub fn hello_retry_provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::CryptoProvider {
        kx_groups: vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1],
        ..provider()
    }
}

pub fn ech_key() -> EchKey {
    EchKey::generate(&KeyParams::new(PUBLIC).unwrap()).unwrap()
}

pub fn list(key: &EchKey) -> EchConfigList {
    EchConfigList::from(key.config().clone())
}

/// An address that nothing listens at, for a server that has to be told one.
pub fn unused_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A listener that leaves each connection to a task of its own.
pub async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    address
}

/// A server that takes connections and says nothing.
pub async fn silent() -> SocketAddr {
    listen(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await
}

/// A stock TLS server that leaves each stream to a task of its own.
pub async fn serve_tls<F>(
    config: ServerConfig,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    listen(move |tcp| {
        let (accept, serve) = (acceptor.accept(tcp), serve.clone());
        async move {
            if let Ok(stream) = accept.await {
                serve(stream).await;
            }
        }
    })
    .await
}

/// A stock TLS server that sends this response, whatever it is asked, and ends TCP without a
/// close_notify.
pub async fn serve_cut_off(config: ServerConfig, response: &'static [u8]) -> SocketAddr {
    serve_tls(config, move |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(response).await;
        let _ = stream.flush().await;
        let (mut tcp, _) = stream.into_inner();
        let _ = tcp.shutdown().await;
    })
    .await
}

/// A stock TLS server that answers each request with `200` and the body `hello`.
pub async fn serve(config: ServerConfig) -> SocketAddr {
    serve_tls(config, answer).await
}

/// An ECH server that sends a HelloRetryRequest or does not.
pub async fn serve_ech(pki: &Pki, names: &[&str], hello_retry: bool, keys: EchKeys) -> SocketAddr {
    serve_ech_by_turns(pki, names, &[hello_retry], EchKeyHandle::new(keys)).await
}

/// A server that sends a HelloRetryRequest, or does not, by turns; the last turn stays.
pub async fn serve_ech_by_turns(
    pki: &Pki,
    names: &[&str],
    hello_retry: &[bool],
    keys: EchKeyHandle,
) -> SocketAddr {
    let plain = pki.server_with(names, (*server::provider()).clone(), rustls::ALL_VERSIONS);
    let mut provider = (*server::provider()).clone();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
    let asking = pki.server_with(names, provider, rustls::ALL_VERSIONS);
    let acceptors =
        [plain, asking].map(|config| Acceptor::new(Arc::new(config), keys.clone()).unwrap());
    let turns = hello_retry.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut turn = 0;
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptors[usize::from(turns[turn.min(turns.len() - 1)])].clone();
            turn += 1;
            tokio::spawn(async move {
                if let Ok(accepted) = acceptor.accept(tcp).await {
                    answer(accepted.stream).await;
                }
            });
        }
    });
    address
}

/// Answers one HTTP/1.1 request.
pub async fn answer<IO: AsyncRead + AsyncWrite + Unpin>(mut stream: IO) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let _ = stream.write_all(reply).await;
    let _ = stream.shutdown().await;
}

/// Changes a handshake record in the plain that a server sends, given how many came before it. One
/// that is cut short is the last that the client gets.
pub type Tamper = fn(usize, Vec<u8>) -> Vec<u8>;

/// A TCP relay that keeps what clients send: what an eavesdropper next to the client would have.
#[derive(Clone)]
pub struct Relay {
    pub address: SocketAddr,
    captured: Arc<Mutex<Vec<Vec<u8>>>>,
    /// How many connections are open on the client's side.
    open: tokio::sync::watch::Sender<usize>,
}

impl Relay {
    pub async fn to(upstream: SocketAddr) -> Self {
        Self::tampering(upstream, |_, record| record).await
    }

    /// One that changes what servers send.
    pub async fn tampering(upstream: SocketAddr, tamper: Tamper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            captured: Arc::default(),
            open: tokio::sync::watch::Sender::new(0),
        };
        let captured = Arc::clone(&relay.captured);
        let open = relay.open.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let captured = Arc::clone(&captured);
                let open = open.clone();
                open.send_modify(|count| *count += 1);
                let index = {
                    let mut all = captured.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(async move {
                    let server = TcpStream::connect(upstream).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let up = async {
                        let mut buffer = vec![0; 16 * 1024];
                        while let Ok(len) = from_client.read(&mut buffer).await {
                            if len == 0 {
                                break;
                            }
                            captured.lock().unwrap()[index].extend_from_slice(&buffer[..len]);
                            if to_server.write_all(&buffer[..len]).await.is_err() {
                                break;
                            }
                        }
                        open.send_modify(|count| *count -= 1);
                        let _ = to_server.shutdown().await;
                    };
                    let down = async {
                        let whole = pass(&mut from_server, &mut to_client, tamper).await;
                        if matches!(whole, Ok(true)) {
                            let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                        }
                        let _ = to_client.shutdown().await;
                    };
                    tokio::join!(up, down);
                });
            }
        });
        relay
    }

    /// The client's bytes, one entry for each connection.
    pub fn captured(&self) -> Vec<Vec<u8>> {
        self.captured.lock().unwrap().clone()
    }

    /// Waits until the client has closed all of its connections.
    pub async fn all_closed(&self) {
        let mut open = self.open.subscribe();
        let closed = open.wait_for(|count| *count == 0);
        let closed = tokio::time::timeout(std::time::Duration::from_secs(60), closed).await;
        assert!(closed.is_ok(), "connections were left open");
    }

    pub fn shows(&self, name: &str) -> bool {
        self.captured().iter().any(|bytes| contains(bytes, name))
    }

    /// Fails if `name` can be read anywhere; also if nothing was captured, which proves nothing.
    #[track_caller]
    pub fn assert_hidden(&self, name: &str) {
        let captured = self.captured();
        assert!(captured.iter().any(|bytes| bytes.len() > 100), "no hello");
        for (index, bytes) in captured.iter().enumerate() {
            assert!(!contains(bytes, name), "{name} is in connection {index}");
        }
    }
}

/// Passes records on up to the first that is encrypted; whether none was cut short.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    tamper: Tamper,
) -> std::io::Result<bool> {
    let record_len = |record: &[u8]| RecordHeader::read(record).unwrap().record_len();
    let mut passed = 0;
    loop {
        let mut record = vec![0; RECORD_HEADER_LEN];
        if from.read_exact(&mut record[..1]).await.is_err() {
            return Ok(true);
        }
        from.read_exact(&mut record[1..]).await?;
        let kind = record[0];
        record.resize(record_len(&record), 0);
        from.read_exact(&mut record[RECORD_HEADER_LEN..]).await?;
        if kind == HANDSHAKE {
            record = tamper(passed, record);
            passed += 1;
        }
        to.write_all(&record).await?;
        if record.len() < record_len(&record) {
            return Ok(false);
        }
        if kind == APPLICATION_DATA {
            return Ok(true);
        }
    }
}
