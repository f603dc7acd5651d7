//! The acceptor for tokio.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::closing::close_after_alert;
use super::{EchKeyHandle, EchOutcome, EchServer, HandshakeError, SetupError};
use crate::deadline::Deadline;

/// How long a client may take for its handshake, unless told otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How much is read at a time: a hello with a post-quantum key share, and some early data.
const READ_SIZE: usize = 4096;

/// Accepts TLS connections, with and without ECH. Cheap to clone.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use echkit::rustls::ServerConfig;
/// use echkit::server::{AcceptError, Acceptor, EchKeyHandle, EchOutcome, load_ech_keys};
/// use tokio::net::TcpListener;
///
/// # async fn serve(config: Arc<ServerConfig>) -> Result<(), Box<dyn std::error::Error>> {
/// // `config` was built with `echkit::server::provider()`.
/// let keys = EchKeyHandle::new(load_ech_keys("/etc/ech")?);
/// let acceptor = Acceptor::new(config, keys.clone())?;
/// let tcp = TcpListener::bind("[::]:443").await?;
/// let (stream, _) = tcp.accept().await?;
/// match acceptor.accept(stream).await {
///     Ok(accepted) => match accepted.outcome {
///         EchOutcome::Accepted { inner_sni, .. } => println!("for {inner_sni:?}"),
///         other => println!("{other:?}"),
///     },
///     Err(AcceptError::Timeout(limit)) => println!("no handshake within {limit:?}"),
///     Err(error) => println!("{error}"),
/// }
/// // After a rotation:
/// keys.store(load_ech_keys("/etc/ech")?);
/// # Ok(())
/// # }
/// ```
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

    /// Does the handshake with a client, up to and with the client's Finished.
    ///
    /// A server that answers early data before that drives [`Handshake`](super::Handshake) itself.
    ///
    /// May be dropped at any time; the stream is closed then.
    ///
    /// # Errors
    ///
    /// When the handshake fails or takes too long. The alert was sent if there was one to send;
    /// up to a second was spent on letting it arrive.
    pub async fn accept<IO>(&self, mut io: IO) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Deadline::after(self.timeout);
        let late = || AcceptError::Timeout(deadline.limit);
        let begun = deadline.run(self.begin(&mut io)).await;
        let (conn, outcome) = match begun.unwrap_or_else(|| Err(late())) {
            Ok(done) => done,
            Err(error) => {
                if matches!(error, AcceptError::Handshake(_)) {
                    close_after_alert(io).await;
                }
                return Err(error);
            }
        };
        let finish = TlsAcceptor::from(self.server.config().clone())
            .accept_with(io, |fresh| *fresh = conn)
            .into_fallible();
        match deadline.run(finish).await {
            Some(Ok(stream)) => Ok(Accepted { stream, outcome }),
            Some(Err((source, io))) => {
                close_after_alert(io).await;
                let outcome = Box::new(outcome);
                Err(AcceptError::Finishing { outcome, source })
            }
            None => Err(late()),
        }
    }

    /// Up to the end of the ServerHello flight.
    async fn begin<IO>(&self, io: &mut IO) -> Result<(ServerConnection, EchOutcome), AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut handshake = self.server.handshake();
        let mut buffer = vec![0; READ_SIZE];
        while !handshake.is_done() {
            let len = io.read(&mut buffer).await?;
            let result = match len {
                0 => handshake.end(),
                _ => handshake.read(&buffer[..len]),
            };
            let output = handshake.take_output();
            let sent = send(io, &output).await;
            // What is wrong with the handshake comes before the alert that could not be sent.
            result.map_err(AcceptError::Handshake)?;
            sent?;
            if len == 0 {
                return Err(AcceptError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        handshake
            .finish()
            .ok_or(AcceptError::Handshake(HandshakeError::Over))
    }
}

async fn send<IO: AsyncWrite + Unpin>(io: &mut IO, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
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
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The handshake took too long.
    Timeout(Duration),
    /// The connection failed.
    Io(io::Error),
    /// The handshake failed before the ServerHello was out.
    Handshake(HandshakeError),
    /// The handshake failed afterwards. Clients whose offer was rejected end it here, with the
    /// alert ech_required, after they have read the retry_configs.
    Finishing {
        /// What became of the client's ECH offer.
        outcome: Box<EchOutcome>,
        /// Why it ended.
        source: io::Error,
    },
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The text holds that of the error below; the source continues with what is below that one.
impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(after) => {
                write!(f, "the handshake took longer than {after:?}")
            }
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Handshake(error) => error.fmt(f),
            Self::Finishing { source, .. } => {
                write!(f, "the client did not finish its handshake: {source}")
            }
        }
    }
}

impl Error for AcceptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            Self::Handshake(error) => error.source(),
            Self::Finishing { source, .. } => source.source(),
            Self::Timeout(_) => None,
        }
    }
}
