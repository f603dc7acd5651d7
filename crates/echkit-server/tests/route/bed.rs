//! A router, backends that send back what they get, and clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use echkit::server::{Acceptor, EchKeyHandle, EchKeys, EchServer};
use echkit_proto::key::EchKey;
use echkit_server::Drain;
use echkit_server::route::{
    Backend, ForwardedHello, NameTable, RouteLimits, RouteTable, RoutedConnection, Router,
};
use echkit_test::in_memory::{self, Pki};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) use echkit_test::in_memory::{PUBLIC, SECRET};

/// A name that is served in the clear.
pub(crate) const PLAIN: &str = "plain.example";

/// What the router's own server of a name is called in reports.
pub(crate) const SECRET_BACKEND: &str = "secret backend";

/// What became of a connection, as the router reports it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) hello: Option<ForwardedHello>,
    pub(crate) backend: Option<String>,
    pub(crate) to_server: u64,
    pub(crate) to_client: u64,
    pub(crate) end: &'static str,
    pub(crate) client: SocketAddr,
    /// Its Debug form.
    pub(crate) shown: String,
}

/// A running router.
pub(crate) struct Bed {
    pub(crate) pki: Pki,
    pub(crate) key: EchKey,
    pub(crate) address: SocketAddr,
    pub(crate) router: Router,
    pub(crate) drain: Drain,
    ended: mpsc::UnboundedReceiver<Ended>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

/// A connection as a backend saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) backend: &'static str,
    pub(crate) name: Option<String>,
    /// What came before the hello.
    pub(crate) before: Vec<u8>,
}

/// How a bed differs from the usual one.
#[derive(Default)]
pub(crate) struct Setup {
    /// The secret backend asks for another group.
    pub(crate) hello_retry: bool,
    pub(crate) limits: RouteLimits,
    pub(crate) accept_proxy: bool,
    pub(crate) send_proxy: bool,
    pub(crate) early_data: bool,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let (pki, key) = (Pki::new(), in_memory::ech_key(7));
        let seen = Arc::default();
        let provider = match setup.hello_retry {
            true => in_memory::retrying_server(),
            false => echkit::server::provider(),
        };
        let mut config = pki.server_with(provider);
        if setup.early_data {
            config.max_early_data_size = 16_384;
        }
        let secret = Acceptor::from(EchServer::backend(Arc::new(config)).unwrap());
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let public = Acceptor::new(Arc::new(pki.server()), keys.clone()).unwrap();
        // Not in backend role: GREASE is for it to answer as if there were none.
        let plain = Acceptor::new(Arc::new(pki.server()), EchKeys::default()).unwrap();
        let secret = serve("secret", secret, &seen, setup.send_proxy).await;
        let public = serve("public", public, &seen, false).await;
        let plain = serve("plain", plain, &seen, false).await;
        let backend =
            |name: &str, address: SocketAddr| Backend::new(name, [address.to_string()]).unwrap();
        let secret = backend(SECRET_BACKEND, secret).with_proxy_header(setup.send_proxy);
        let mut inner = NameTable::default();
        inner.insert(SECRET, Arc::new(secret)).unwrap();
        let mut outer = NameTable::default();
        outer
            .insert(PLAIN, Arc::new(backend("plain", plain)))
            .unwrap();
        let table = RouteTable::new(Arc::new(backend("public", public)))
            .with_inner_names(inner)
            .with_outer_names(outer);
        let (tell, ended) = mpsc::unbounded_channel();
        let router = Router::new(table, EchKeyHandle::new(keys))
            .with_limits(setup.limits)
            .with_proxy_header(setup.accept_proxy)
            .on_end(move |connection| {
                let _ = tell.send(read(connection));
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::new();
        let (serving, draining) = (router.clone(), drain.clone());
        tokio::spawn(async move { serving.serve(listener, draining).await });
        Self {
            pki,
            key,
            address,
            router,
            drain,
            ended,
            seen,
        }
    }

    /// The next connection that has ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        self.ended.recv().await.unwrap()
    }

    /// A client's configuration that offers ECH under the router's key.
    pub(crate) fn offering(&self) -> ClientConfig {
        self.client(Some(&self.key))
    }

    /// One that offers ECH under `key`, or none; it speaks the group that backends ask for.
    pub(crate) fn client(&self, key: Option<&EchKey>) -> ClientConfig {
        let mode = key.and_then(in_memory::offer);
        self.pki.client_with(mode, in_memory::retrying_client())
    }

    pub(crate) async fn connect(
        &self,
        config: ClientConfig,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.address, config, name).await
    }

    /// What backends have seen.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(connection: &RoutedConnection) -> Ended {
    Ended {
        hello: connection.hello.clone(),
        backend: connection.backend.as_ref().map(|b| b.name().to_owned()),
        to_server: connection.to_server,
        to_client: connection.to_client,
        end: connection.end.as_str(),
        client: connection.client,
        shown: format!("{connection:?} {}", connection.end),
    }
}

pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// A backend that sends back what it gets, up to the client's close.
async fn serve(
    label: &'static str,
    acceptor: Acceptor,
    seen: &Arc<Mutex<Vec<Seen>>>,
    header: bool,
) -> SocketAddr {
    let seen = Arc::clone(seen);
    echkit_test::lab::listen(move |mut tcp| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            let mut before = vec![0; if header { 28 } else { 0 }];
            if tcp.read_exact(&mut before).await.is_err() {
                return;
            }
            let Ok(accepted) = acceptor.accept(tcp).await else {
                return;
            };
            let mut stream = accepted.stream;
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            seen.lock().unwrap().push(Seen {
                backend: label,
                name,
                before,
            });
            let mut early = Vec::new();
            if let Some(mut data) = stream.get_mut().1.early_data() {
                let _ = std::io::Read::read_to_end(&mut data, &mut early);
            }
            let _ = stream.write_all(&early).await;
            let (mut reads, mut writes) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut reads, &mut writes).await;
            let _ = writes.shutdown().await;
        }
    })
    .await
}

/// Sends `data`, closes this side, and reads what comes back, both at the same time.
pub(crate) async fn echo(stream: TlsStream<TcpStream>, data: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = tokio::io::split(stream);
    let sending = async {
        writes.write_all(data).await.unwrap();
        writes.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let reading = async { reads.read_to_end(&mut back).await.unwrap() };
    tokio::join!(sending, reading);
    back
}

/// Bytes that do not repeat at any distance that a buffer could have.
pub(crate) fn data(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(len);
    data
}
