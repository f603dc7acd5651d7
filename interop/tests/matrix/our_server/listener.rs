//! Our acceptor behind a listener that keeps what it saw.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use echkit::server::{AcceptError, Acceptor, EchKeys, EchOutcome, provider};
use echkit_interop::{PUBLIC_NAME, Pki, SECRET_NAME};
use echkit_proto::key::EchKey;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::SECP384R1;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::cell::Lab;

/// Far above what a handshake needs on the slowest machine; only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection, as our server saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What became of the offer; `None` when the handshake failed before that was known.
    pub(crate) outcome: Option<EchOutcome>,
    /// Whether the session was resumed.
    pub(crate) resumed: bool,
    /// What ended the connection, if it did not end well.
    pub(crate) error: Option<String>,
}

type Log = Arc<(Mutex<Vec<Seen>>, Condvar)>;

/// A running server of ours.
pub(crate) struct Listener {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: Log,
    _runtime: Runtime,
}

impl Listener {
    /// Starts a server with `keys` published and `retired` ones that only open.
    pub(crate) fn start(
        lab: &Lab,
        keys: Vec<EchKey>,
        retired: Vec<EchKey>,
        hello_retry: bool,
    ) -> Result<Self, String> {
        let keys = EchKeys::new(keys)
            .and_then(|keys| keys.with_retired(retired))
            .map_err(|error| error.to_string())?;
        let config = server_config(&lab.pki, hello_retry).map_err(|error| error.to_string())?;
        let acceptor = Acceptor::new(config, keys)
            .map_err(|error| error.to_string())?
            .with_timeout(PATIENCE);
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let socket = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .map_err(|error| error.to_string())?;
        let address = socket.local_addr().map_err(|error| error.to_string())?;
        let log = Log::default();
        let shared = Arc::clone(&log);
        // One connection at a time: the order of what was seen is the order of the connections.
        runtime.spawn(async move {
            while let Ok((io, _)) = socket.accept().await {
                let seen = serve(&acceptor, io).await;
                lock(&shared).push(seen);
                shared.1.notify_all();
            }
        });
        Ok(Self {
            address,
            log,
            _runtime: runtime,
        })
    }

    /// The connections that ended.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.log).clone()
    }

    /// Waits until `count` connections have ended.
    pub(crate) fn wait_for(&self, count: usize) -> Result<Vec<Seen>, String> {
        let (seen, waited) = self
            .log
            .1
            .wait_timeout_while(lock(&self.log), PATIENCE, |seen| seen.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(format!("{count} connections awaited, seen: {seen:?}"));
        }
        Ok(seen.clone())
    }
}

fn lock(log: &Log) -> std::sync::MutexGuard<'_, Vec<Seen>> {
    log.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A site for each name.
pub(crate) fn server_config(
    pki: &Pki,
    hello_retry: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut provider = CryptoProvider::clone(&provider());
    if hello_retry {
        // No peer offers a share for this group unasked.
        provider.kx_groups = vec![SECP384R1];
    }
    let mut sites = ResolvesServerCertUsingSni::new();
    for name in [PUBLIC_NAME, SECRET_NAME] {
        let (chain, key) = pki.identity(name);
        sites.add(name, CertifiedKey::from_der(chain, key, &provider)?)?;
    }
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(sites));
    Ok(Arc::new(config))
}

/// Answers one request with what was seen.
async fn serve(acceptor: &Acceptor, io: TcpStream) -> Seen {
    let mut accepted = match acceptor.accept(io).await {
        Ok(accepted) => accepted,
        Err(AcceptError::Finishing { outcome, source }) => {
            return Seen {
                outcome: Some(*outcome),
                error: Some(source.to_string()),
                ..Seen::default()
            };
        }
        Err(error) => {
            return Seen {
                error: Some(format!("{error:?}")),
                ..Seen::default()
            };
        }
    };
    let resumed = accepted.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    let mut seen = Seen {
        outcome: Some(accepted.outcome),
        resumed,
        error: None,
    };
    let answer = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if accepted.stream.read_buf(&mut request).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let body = "{\"peer\":\"echkit\"}\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        accepted.stream.write_all(head.as_bytes()).await?;
        accepted.stream.write_all(body.as_bytes()).await?;
        accepted.stream.shutdown().await
    };
    if let Err(error) = answer.await {
        seen.error = Some(format!("{error:?}"));
    }
    seen
}
