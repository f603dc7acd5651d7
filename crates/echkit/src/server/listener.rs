//! A TCP listener whose TLS handshakes run beside each other.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::acceptor::{AcceptError, Accepted, Acceptor};
use crate::delegated_stream::delegate_stream;

/// Handshakes at the same time, unless told otherwise: at some 30 KB each, 30 MB.
const MAX_HANDSHAKES: usize = 1024;

/// How long to wait where the system has no room for another connection, such as no file
/// descriptor.
const PAUSE: Duration = Duration::from_secs(1);

/// Accepts TLS connections with and without ECH from a TCP listener.
///
/// Each handshake is a task of its own, so that a client that stalls delays no other; it is given
/// up after [`Acceptor::with_timeout`]. The number of handshakes at the same time is bounded:
/// further clients wait in the queue of the operating system.
///
/// With the feature `axum` it is an `axum::serve::Listener`, and `ConnectionInfo` tells handlers
/// what became of ECH.
///
/// ```no_run
/// # async fn serve(acceptor: echkit::server::Acceptor) -> std::io::Result<()> {
/// use echkit::server::Listener;
///
/// let tcp = tokio::net::TcpListener::bind("[::]:443").await?;
/// let mut listener = Listener::new(tcp, acceptor);
/// loop {
///     let (accepted, address) = listener.accept().await;
///     tokio::spawn(async move {
///         println!("{address}: {:?}", accepted.outcome);
///         // `accepted` reads and writes.
///     });
/// }
/// # }
/// ```
pub struct Listener {
    tcp: TcpListener,
    acceptor: Acceptor,
    max_handshakes: usize,
    handshakes: JoinSet<Ended>,
    on_failure: Box<dyn Fn(SocketAddr, AcceptError) + Send>,
}

/// A handshake that has ended, and with whom.
struct Ended {
    address: SocketAddr,
    result: Result<Accepted<TcpStream>, AcceptError>,
}

impl Listener {
    /// Accepts from `tcp`, with at most 1024 handshakes at the same time.
    pub fn new(tcp: TcpListener, acceptor: Acceptor) -> Self {
        Self {
            tcp,
            acceptor,
            max_handshakes: MAX_HANDSHAKES,
            handshakes: JoinSet::new(),
            on_failure: Box::new(|_, _| {}),
        }
    }

    /// How many handshakes may run at the same time; at least one.
    pub fn with_max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count.max(1);
        self
    }

    /// Calls `tell` for each client whose handshake failed, such as for a log or a count.
    pub fn on_failure(mut self, tell: impl Fn(SocketAddr, AcceptError) + Send + 'static) -> Self {
        self.on_failure = Box::new(tell);
        self
    }

    /// The handshakes that run, with those that have ended and were not yet accepted.
    pub fn handshakes(&self) -> usize {
        self.handshakes.len()
    }

    /// The address that clients connect to.
    ///
    /// # Errors
    ///
    /// When the system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next client whose handshake is finished.
    ///
    /// May be dropped at any time; handshakes go on meanwhile, and end when the listener is
    /// dropped.
    pub async fn accept(&mut self) -> (Accepted<TcpStream>, SocketAddr) {
        loop {
            let room = self.handshakes.len() < self.max_handshakes;
            tokio::select! {
                Some(joined) = self.handshakes.join_next() => match joined {
                    Ok(Ended { address, result: Ok(accepted) }) => return (accepted, address),
                    Ok(Ended { address, result: Err(error) }) => (self.on_failure)(address, error),
                    // A handshake that panicked is one that failed.
                    Err(_) => {}
                },
                (tcp, address) = accept_tcp(&self.tcp), if room => {
                    let acceptor = self.acceptor.clone();
                    self.handshakes.spawn(async move {
                        // HTTP writes whole messages; waiting for more only delays them.
                        let _ = tcp.set_nodelay(true);
                        let result = acceptor.accept(tcp).await;
                        Ended { address, result }
                    });
                }
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("tcp", &self.tcp)
            .field("max_handshakes", &self.max_handshakes)
            .field("handshakes", &self.handshakes.len())
            .finish_non_exhaustive()
    }
}

/// The next TCP connection of a listener, whatever becomes of those before it. Where the system has
/// no room for one, such as no file descriptor, tries again every second.
///
/// May be dropped at any time.
pub async fn accept_tcp(tcp: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match tcp.accept().await {
            Ok(accepted) => return accepted,
            // This one is gone; the next may be there.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

delegate_stream!([IO: AsyncRead + AsyncWrite + Unpin] Accepted<IO>);
