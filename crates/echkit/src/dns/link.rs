//! The connection to a server of an encrypted transport: one at a time, which all questions share
//! and which is replaced when it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use echkit_proto::dns::{DnsResponse, Question, ResponseError};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::exchange::{ExchangeError, Patience, whole};
use super::upstream::Upstream;

/// Opens the connections of one transport.
pub(super) trait Dialer: Send + Sync {
    type Connection: Connection;

    /// Connects to one address of a server, up to where questions may be asked.
    fn dial(
        &self,
        upstream: &Upstream,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

/// A connection that many questions share.
pub(super) trait Connection: Clone + Send + Sync {
    /// Whether it is known to have ended.
    fn is_closed(&self) -> bool;

    /// Asks one question.
    fn ask(
        &self,
        question: &Question,
    ) -> impl Future<Output = Result<DnsResponse, AskError>> + Send;
}

/// Why a question has no answer on a connection.
#[derive(Debug)]
pub(super) enum AskError {
    /// The connection ended first. Another one may do.
    Ended {
        /// Whether it had answered anything before.
        answered: bool,
        /// How it ended.
        error: io::Error,
    },
    /// Another connection would not help.
    Final(ExchangeError),
}

impl From<ResponseError> for AskError {
    fn from(unusable: ResponseError) -> Self {
        Self::Final(unusable.into())
    }
}

/// The connection to a server, one at a time.
pub(super) struct Link<D: Dialer> {
    upstream: Upstream,
    dialer: D,
    /// Held while connecting, so that questions that come meanwhile share the connection.
    slot: Mutex<Slot<D::Connection>>,
    /// How often no connection could be made; changed while the slot is held.
    failures: AtomicU64,
}

struct Slot<C> {
    current: Option<C>,
    /// How many connections there have been.
    number: u64,
    /// Why the last attempt to connect failed.
    failure: Option<ExchangeError>,
}

/// A connection as a question gets it.
struct Linked<C> {
    connection: C,
    number: u64,
}

impl<D: Dialer> Link<D> {
    pub(super) fn new(upstream: Upstream, dialer: D) -> Self {
        Self {
            upstream,
            dialer,
            slot: Mutex::new(Slot {
                current: None,
                number: 0,
                failure: None,
            }),
            failures: AtomicU64::new(0),
        }
    }

    /// Asks, for as long as there is patience.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<DnsResponse, ExchangeError> {
        let connected = AtomicBool::new(false);
        match timeout(patience.total, self.ask(question, patience, &connected)).await {
            Ok(response) => whole(response?),
            Err(_) if !connected.load(Ordering::Relaxed) => {
                Err(self.unconnected(patience.total).into())
            }
            Err(_) => {
                self.abandon();
                Err(ExchangeError::Timeout)
            }
        }
    }

    /// Asks, on a new connection if the one that there was has ended.
    ///
    /// A server may close when it likes (RFC 7766 §6.2.4, RFC 9250 §4.3, RFC 9113 §6.8). As long as
    /// it answers anything on a connection it is asked again on the next; one that answers nothing
    /// gets no more connections than tries.
    async fn ask(
        &self,
        question: &Question,
        patience: &Patience,
        connected: &AtomicBool,
    ) -> Result<DnsResponse, ExchangeError> {
        let mut in_vain = 0;
        loop {
            connected.store(false, Ordering::Relaxed);
            let linked = self.connection(patience).await?;
            connected.store(true, Ordering::Relaxed);
            match linked.connection.ask(question).await {
                Ok(response) => return Ok(response),
                Err(AskError::Final(error)) => return Err(error),
                Err(AskError::Ended { answered, error }) => {
                    self.forget(&linked).await;
                    in_vain += u32::from(!answered);
                    if in_vain >= patience.tries.max(1) {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    /// The connection that there is, or else a new one. Questions that wait for it share the
    /// failure to make one.
    async fn connection(
        &self,
        patience: &Patience,
    ) -> Result<Linked<D::Connection>, ExchangeError> {
        let failures = self.failures.load(Ordering::Relaxed);
        let mut slot = self.slot.lock().await;
        let open = slot.current.as_ref().filter(|known| !known.is_closed());
        if let Some(connection) = open {
            return Ok(Linked {
                connection: connection.clone(),
                number: slot.number,
            });
        }
        if self.failures.load(Ordering::Relaxed) != failures
            && let Some(error) = &slot.failure
        {
            return Err(error.clone());
        }
        slot.current = None;
        match self.connect(patience).await {
            Ok(connection) => {
                slot.number += 1;
                slot.current = Some(connection.clone());
                slot.failure = None;
                Ok(Linked {
                    connection,
                    number: slot.number,
                })
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                slot.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Tries the addresses in order. Each gets its share of the time.
    async fn connect(&self, patience: &Patience) -> Result<D::Connection, ExchangeError> {
        let addresses = self.upstream.addresses.resolve(patience).await?;
        let share = patience.total / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the resolver has no address");
        for address in addresses {
            let address = SocketAddr::new(address, self.upstream.port);
            match timeout(share, self.dialer.dial(&self.upstream, address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => last = self.unconnected(share),
            }
        }
        Err(last.into())
    }

    /// The error of a server that could not be connected to in time.
    fn unconnected(&self, limit: Duration) -> io::Error {
        let through = match &self.upstream.proxy {
            Some(proxy) => format!(" through proxy {}", proxy.proxy()),
            None => String::new(),
        };
        let limit = limit.as_millis();
        let error = format!("no connection to it{through} within {limit} ms");
        io::Error::new(io::ErrorKind::TimedOut, error)
    }

    /// Lets go of a connection, unless another one has taken its place.
    async fn forget(&self, linked: &Linked<D::Connection>) {
        let mut slot = self.slot.lock().await;
        if slot.number == linked.number {
            slot.current = None;
        }
    }

    /// After a question without answer the path may be dead, so the next question gets a new
    /// connection. Questions under way keep the one that they have.
    fn abandon(&self) {
        // Where the lock is held, a connection is being made already.
        if let Ok(mut slot) = self.slot.try_lock() {
            slot.current = None;
        }
    }
}
