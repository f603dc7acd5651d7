//! The acceptor for tokio.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake::HandshakeError;
use super::keys::EchKeyHandle;
use super::outcome::EchOutcome;
use super::settings::{EchServer, SetupError};

/// How long a client may take for its handshake, unless told otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How much is read at a time: a hello with a post-quantum key share, and some early data.
const READ_SIZE: usize = 4096;

/// Accepts TLS connections, with and without ECH. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    server: EchServer,
    timeout: Duration,
}

impl Acceptor {
    /// An acceptor in shared mode, with the defaults of [`EchServer`].
    ///
    /// # Errors
    ///
    /// When `config` was not built with [`provider()`](super::provider()).
    pub fn new(
        config: Arc<ServerConfig>,
        keys: impl Into<EchKeyHandle>,
    ) -> Result<Self, SetupError> {
        EchServer::new(config, keys).map(Self::from)
    }

    /// Gives up on clients that take longer for their handshake. Default: ten seconds.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server whose connections are accepted.
    pub fn server(&self) -> &EchServer {
        &self.server
    }

    /// The keys, to swap them.
    pub fn keys(&self) -> &EchKeyHandle {
        self.server.keys()
    }

    /// Does the handshake with a client.
    ///
    /// # Errors
    ///
    /// When the handshake fails or takes too long. The alert was sent if there was one to send.
    pub async fn accept<IO>(&self, io: IO) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout(self.timeout, self.run(io)).await {
            Ok(result) => result,
            Err(_) => Err(AcceptError::Timeout(self.timeout)),
        }
    }

    async fn run<IO>(&self, mut io: IO) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut handshake = self.server.handshake();
        let mut buffer = vec![0; READ_SIZE];
        while !handshake.is_done() {
            let len = io.read(&mut buffer).await?;
            if len == 0 {
                return Err(AcceptError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            let result = handshake.read(&buffer[..len]);
            let output = handshake.take_output();
            io.write_all(&output).await?;
            io.flush().await?;
            if let Err(error) = result {
                // The alert has left; a failure to say goodbye changes nothing.
                let _ = io.shutdown().await;
                return Err(AcceptError::Handshake(error));
            }
        }
        let (conn, outcome) = handshake
            .finish()
            .ok_or(AcceptError::Handshake(HandshakeError::Over))?;
        let stream = TlsAcceptor::from(self.server.config.clone())
            .accept_with(io, |fresh| *fresh = conn)
            .await
            .map_err(|source| AcceptError::Finishing {
                outcome: Box::new(outcome.clone()),
                source,
            })?;
        Ok(Accepted { stream, outcome })
    }
}

impl From<EchServer> for Acceptor {
    fn from(server: EchServer) -> Self {
        Self {
            server,
            timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

/// A connection after its handshake.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted<IO> {
    /// The TLS connection, as tokio-rustls makes it.
    pub stream: TlsStream<IO>,
    /// What became of the client's ECH offer.
    pub outcome: EchOutcome,
}

/// A connection was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The handshake took too long.
    #[error("the client took more than {0:?} for its handshake")]
    Timeout(Duration),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The handshake failed before the ServerHello was out.
    #[error(transparent)]
    Handshake(HandshakeError),
    /// The handshake failed afterwards. Clients whose offer was rejected end it here, with the
    /// alert ech_required, after they have read the retry_configs.
    #[error("the client did not finish its handshake: {source}")]
    Finishing {
        /// What became of the client's ECH offer.
        outcome: Box<EchOutcome>,
        /// Why it ended.
        source: io::Error,
    },
}
