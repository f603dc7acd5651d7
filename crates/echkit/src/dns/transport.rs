//! Every way to get a question answered.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use echkit_proto::dns::{DnsResponse, Question};

use super::classic::Classic;
use super::exchange::{ExchangeError, Patience};
use super::link::{Dialer, Link};
use super::system::System;

/// A server, or several, behind one protocol. A new encrypted one needs a scheme and a [`Dialer`].
pub(super) enum Transport {
    System(System),
    Classic(Classic),
    /// A connection that questions share.
    Encrypted(Box<dyn Encrypted>),
    /// Every question is refused, for this reason.
    Refused(String),
}

impl Transport {
    pub(super) fn is_protected(&self) -> bool {
        match self {
            Self::System(_) | Self::Classic(_) => false,
            Self::Encrypted(_) | Self::Refused(_) => true,
        }
    }

    /// The servers that are asked in the clear; none where that cannot be said.
    pub(super) async fn servers(&self) -> Vec<SocketAddr> {
        match self {
            Self::System(system) => system.classic().await.map(|now| now.servers),
            Self::Classic(classic) => Ok(classic.servers.clone()),
            _ => Ok(Vec::new()),
        }
        .unwrap_or_default()
    }

    /// How many sockets one question may take.
    pub(super) async fn sockets(&self, patience: &Patience) -> usize {
        match self {
            Self::System(system) => match system.classic().await {
                Ok(classic) => classic.sockets(patience),
                Err(_) => 1,
            },
            Self::Classic(classic) => classic.sockets(patience),
            // They share one connection; a question is a stream or an id on it.
            Self::Encrypted(_) | Self::Refused(_) => 1,
        }
    }

    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<DnsResponse, ExchangeError> {
        match self {
            Self::System(system) => system.exchange(question, patience).await,
            Self::Classic(classic) => classic.exchange(question, patience).await,
            Self::Encrypted(link) => link.exchange(question, patience).await,
            Self::Refused(reason) => Err(io::Error::other(reason.clone()).into()),
        }
    }
}

/// What [`Link::exchange`] gives, whatever it is a link of.
type Exchange<'a> = Pin<Box<dyn Future<Output = Result<DnsResponse, ExchangeError>> + Send + 'a>>;

/// A [`Link`] of any transport.
pub(super) trait Encrypted: Send + Sync {
    fn exchange<'a>(&'a self, question: &'a Question, patience: &'a Patience) -> Exchange<'a>;
}

impl<D: Dialer + 'static> Encrypted for Link<D> {
    fn exchange<'a>(&'a self, question: &'a Question, patience: &'a Patience) -> Exchange<'a> {
        Box::pin(Self::exchange(self, question, patience))
    }
}
