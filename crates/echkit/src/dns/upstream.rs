//! What the encrypted transports share: a server by name, and one connection that is kept.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls_pki_types::ServerName;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::answer::RecordType;
use super::classic::{ExchangeError, Patience};
use super::message::{Question, Response, Unusable};
use super::system::System;
use crate::origin::Host;

/// A server of an encrypted transport.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Its name, against which its certificate is checked (RFC 8310 §8.1).
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) addresses: Bootstrap,
}

/// Where the addresses of a server come from.
#[derive(Clone, Debug)]
pub(super) enum Bootstrap {
    /// From the URI.
    Fixed(Vec<IpAddr>),
    /// From the system's resolver, which tells the network which server it is.
    System(System, Question),
}

/// A connection that many questions share.
pub(super) trait Connection: Clone {
    /// Whether it is known to be of no more use.
    fn is_closed(&self) -> bool;
}

/// The connection to a server, one at a time.
pub(super) struct Link<C> {
    /// Held while connecting, so that questions that come meanwhile share the connection.
    slot: Mutex<Slot<C>>,
}

struct Slot<C> {
    current: Option<C>,
    /// How many connections there have been.
    number: u64,
}

/// A connection as a question gets it.
pub(super) struct Linked<C> {
    pub(super) connection: C,
    /// Whether it was there before.
    pub(super) reused: bool,
    number: u64,
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

impl From<Unusable> for AskError {
    fn from(unusable: Unusable) -> Self {
        Self::Final(unusable.into())
    }
}

impl Upstream {
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.host.server_name()
    }

    /// Connects to the first address that lets itself be connected to.
    async fn connect<C, F>(
        &self,
        patience: &Patience,
        connect: impl Fn(SocketAddr) -> F,
    ) -> Result<C, ExchangeError>
    where
        F: Future<Output = io::Result<C>>,
    {
        let addresses = self.addresses.resolve(patience).await?;
        // Every address gets its share of the time.
        let share = patience.total / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the resolver has no address");
        for address in addresses {
            let address = SocketAddr::new(address, self.port);
            match timeout(share, connect(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last.into())
    }
}

impl<C: Connection> Link<C> {
    pub(super) fn new() -> Self {
        Self {
            slot: Mutex::new(Slot {
                current: None,
                number: 0,
            }),
        }
    }

    /// The connection that there is, or else a new one.
    pub(super) async fn get<F>(
        &self,
        upstream: &Upstream,
        patience: &Patience,
        connect: impl Fn(SocketAddr) -> F,
    ) -> Result<Linked<C>, ExchangeError>
    where
        F: Future<Output = io::Result<C>>,
    {
        let mut slot = self.slot.lock().await;
        let alive = slot.current.as_ref().filter(|known| !known.is_closed());
        if let Some(connection) = alive {
            return Ok(Linked {
                connection: connection.clone(),
                reused: true,
                number: slot.number,
            });
        }
        slot.current = None;
        let connection = upstream.connect(patience, connect).await?;
        slot.current = Some(connection.clone());
        slot.number += 1;
        Ok(Linked {
            connection,
            reused: false,
            number: slot.number,
        })
    }

    /// Asks, for as long as there is patience.
    pub(super) async fn exchange<F, A>(
        &self,
        upstream: &Upstream,
        patience: &Patience,
        connect: impl Fn(SocketAddr) -> F,
        ask: impl Fn(C) -> A,
    ) -> Result<Response, ExchangeError>
    where
        F: Future<Output = io::Result<C>>,
        A: Future<Output = Result<Response, AskError>>,
    {
        let asking = self.ask(upstream, patience, connect, ask);
        timeout(patience.total, asking).await.unwrap_or_else(|_| {
            self.doubt();
            Err(ExchangeError::Timeout)
        })
    }

    /// Asks, on a new connection if the one that there was has ended.
    ///
    /// A server may close when it likes (RFC 7766 §6.2.4, RFC 9250 §4.3). As long as it answers
    /// anything on a connection it is asked again on the next; one that answers nothing gets no
    /// more connections than tries.
    async fn ask<F, A>(
        &self,
        upstream: &Upstream,
        patience: &Patience,
        connect: impl Fn(SocketAddr) -> F,
        ask: impl Fn(C) -> A,
    ) -> Result<Response, ExchangeError>
    where
        F: Future<Output = io::Result<C>>,
        A: Future<Output = Result<Response, AskError>>,
    {
        let mut in_vain = 0;
        loop {
            let linked = self.get(upstream, patience, &connect).await?;
            match ask(linked.connection.clone()).await {
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

    /// Lets go of a connection, unless another one has taken its place.
    pub(super) async fn forget(&self, linked: &Linked<C>) {
        let mut slot = self.slot.lock().await;
        if slot.number == linked.number {
            slot.current = None;
        }
    }

    /// After a question without answer: the path may be dead without a word, and the next question
    /// finds out anew. Others go on waiting on the connection that they have.
    pub(super) fn doubt(&self) {
        // Whoever holds the lock is connecting already.
        if let Ok(mut slot) = self.slot.try_lock() {
            slot.current = None;
        }
    }
}

impl Bootstrap {
    async fn resolve(&self, patience: &Patience) -> Result<Vec<IpAddr>, ExchangeError> {
        let (system, question) = match self {
            Self::Fixed(addresses) => return Ok(addresses.clone()),
            Self::System(system, question) => (system, question),
        };
        let known = system.hosts(&question.name);
        if !known.is_empty() {
            return Ok(known);
        }
        let ask = |kind| {
            let question = Question {
                kind,
                ..question.clone()
            };
            async move { system.exchange(&question, patience).await }
        };
        let (v6, v4) = tokio::join!(ask(RecordType::AAAA), ask(RecordType::A));
        let addresses: Vec<_> = [&v6, &v4]
            .into_iter()
            .flatten()
            .flat_map(|response| &response.answers)
            .filter_map(|record| record.address())
            .collect();
        match (addresses.is_empty(), v6, v4) {
            (true, Err(error), _) | (true, _, Err(error)) => Err(error),
            _ => Ok(addresses),
        }
    }
}
