//! One TLS handshake over a guarded stream.
//!
//! The loop is here, and not in tokio-rustls, because what a failed handshake has to tell (what
//! became of the ECH offer, the TLS stack's own error) is lost with the connection there.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use echkit_tls::client::{Guard, GuardError, OfferOutcome, SeenHello};
use rustls::client::ClientConnection;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{IpAddr, Ipv4Addr, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guarded::{Guarded, WireLog};
use super::linger::linger;

const READ_BUFFER: usize = 16 * 1024;

/// A handshake that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClientHandshakeError {
    /// Why.
    pub fault: HandshakeFault,
    /// What had become of the ECH offer by then.
    pub offer: OfferOutcome,
    /// The hellos that were sent.
    pub hellos: Vec<SeenHello>,
    /// Whether the server had sent anything.
    pub answered: bool,
}

impl fmt::Display for ClientHandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the TLS handshake failed: {}", self.fault)
    }
}

impl std::error::Error for ClientHandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The TLS stack's error, or the server's alert.
    #[error(transparent)]
    Tls(rustls::Error),
    /// The stream broke, or ended too early.
    #[error(transparent)]
    Io(io::Error),
    /// The guard sent nothing.
    #[error(transparent)]
    Guard(GuardError),
    /// It took longer than this.
    #[error("timed out after {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The server sent nothing at all for this long, see [`HandshakeLimits::answer`].
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
}

/// How long a handshake may take. `None` means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeLimits {
    /// All of it.
    pub whole: Option<Duration>,
    /// Until the first byte of the server.
    pub answer: Option<Duration>,
}

impl HandshakeLimits {
    /// The same with another limit for all of it.
    #[must_use]
    pub fn with_whole(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.whole = limit.into();
        self
    }

    /// The same with another limit for the first byte of the server.
    #[must_use]
    pub fn with_answer(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.answer = limit.into();
        self
    }
}

/// Performs the TLS handshake over `io`: every outgoing hello passes the guard first.
///
/// `connection` and `guard` come from [`ClientTls::handshake`](crate::tls::ClientTls::handshake).
///
/// # Errors
///
/// When the handshake does not finish, or not within `limits`. The alert, if any, was sent; `io` is
/// then read on for a moment by a task of its own, so that the alert arrives.
pub async fn handshake<IO>(
    mut connection: ClientConnection,
    guard: Guard,
    io: IO,
    log: &WireLog,
    limits: HandshakeLimits,
) -> Result<TlsStream<Guarded<IO>>, Box<ClientHandshakeError>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut io = Guarded::new(io, guard, log.clone());
    let mut answered = false;
    let work = drive(&mut connection, &mut io, &mut answered, limits.answer);
    let outcome = match limits.whole {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(HandshakeFault::Timeout(limit))),
    };
    let offer = OfferOutcome::read(
        &connection,
        match &outcome {
            Err(HandshakeFault::Tls(error)) => Some(error),
            _ => None,
        },
    );
    match outcome {
        Ok(()) => adopt(connection, io).await.map_err(|error| {
            Box::new(ClientHandshakeError {
                fault: HandshakeFault::Io(error),
                offer,
                hellos: Vec::new(),
                answered,
            })
        }),
        Err(fault) => {
            let guard = io.guard();
            let stopped = guard.and_then(Guard::stopped).cloned();
            let hellos = guard.map(|g| g.hellos().to_vec()).unwrap_or_default();
            if matches!(fault, HandshakeFault::Tls(_)) {
                linger(io);
            }
            Err(Box::new(ClientHandshakeError {
                fault: stopped.map_or(fault, HandshakeFault::Guard),
                offer,
                hellos,
                answered,
            }))
        }
    }
}

async fn drive<IO>(
    connection: &mut ClientConnection,
    io: &mut Guarded<IO>,
    answered: &mut bool,
    answer_limit: Option<Duration>,
) -> Result<(), HandshakeFault>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        send(connection, io).await.map_err(HandshakeFault::Io)?;
        if !connection.is_handshaking() {
            return Ok(());
        }
        let read = io.read(&mut buffer);
        let len = match answer_limit.filter(|_| !*answered) {
            Some(limit) => tokio::time::timeout(limit, read)
                .await
                .map_err(|_| HandshakeFault::Silent(limit))?,
            None => read.await,
        }
        .map_err(HandshakeFault::Io)?;
        if len == 0 {
            say_cut_short(connection, io, *answered).await;
            return Err(HandshakeFault::Io(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection during the handshake",
            )));
        }
        *answered = true;
        let mut unread = &buffer[..len];
        while !unread.is_empty() {
            connection
                .read_tls(&mut unread)
                .map_err(HandshakeFault::Io)?;
            if let Err(error) = connection.process_new_packets() {
                // The alert says to the server what is wrong; that it could not be sent does not
                // matter any more.
                let _ = send(connection, io).await;
                let _ = io.shutdown().await;
                return Err(HandshakeFault::Tls(error));
            }
        }
    }
}

/// The server may still listen after it has closed its side. rustls has no word for a handshake
/// that ends inside an answer; as long as nothing is encrypted, we have one.
async fn say_cut_short<IO>(connection: &ClientConnection, io: &mut Guarded<IO>, answered: bool)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
    if answered && connection.negotiated_cipher_suite().is_none() {
        let _ = io.write_all(&DECODE_ERROR).await;
        let _ = io.flush().await;
    }
    let _ = io.shutdown().await;
}

/// Sends what rustls has to send, in one write.
async fn send<IO>(connection: &mut ClientConnection, io: &mut Guarded<IO>) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut flight = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut flight)?;
    }
    if !flight.is_empty() {
        io.write_all(&flight).await?;
        io.flush().await?;
    }
    Ok(())
}

/// Hands a finished connection to tokio-rustls.
///
/// It makes a connection of its own first, which is replaced; the configuration for that one offers
/// TLS 1.2 only and thus computes no key share.
async fn adopt<IO>(
    connection: ClientConnection,
    io: Guarded<IO>,
) -> io::Result<TlsStream<Guarded<IO>>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    static REPLACED: OnceLock<Result<TlsConnector, rustls::Error>> = OnceLock::new();
    let connector = REPLACED
        .get_or_init(|| {
            let provider = Arc::new(echkit_tls::client::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS12])?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            Ok(TlsConnector::from(Arc::new(config)))
        })
        .as_ref()
        .map_err(io::Error::other)?;
    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
    connector
        .connect_with(nobody, io, |replaced| *replaced = connection)
        .await
}
