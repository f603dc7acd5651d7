//! Every way to get a question answered.

use std::io;
use std::net::SocketAddr;

use echkit_proto::dns::{DnsResponse, Question};

use super::classic::Classic;
use super::doh::Doh;
use super::doh3::Doh3;
use super::doq::Doq;
use super::dot::Dot;
use super::exchange::{ExchangeError, Patience};
use super::link::Link;
use super::system::System;

/// A server, or several, behind one protocol. A new one needs a variant, a scheme and, where it is
/// encrypted, a [`Dialer`](super::link::Dialer).
pub(super) enum Transport {
    System(System),
    Classic(Classic),
    Tls(Box<Link<Dot>>),
    Https(Box<Link<Doh>>),
    Http3(Box<Link<Doh3>>),
    Quic(Box<Link<Doq>>),
    /// Every question is refused, for this reason.
    Refused(String),
}

impl Transport {
    pub(super) fn is_protected(&self) -> bool {
        match self {
            Self::System(_) | Self::Classic(_) => false,
            Self::Tls(_) | Self::Https(_) | Self::Http3(_) | Self::Quic(_) | Self::Refused(_) => {
                true
            }
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
            Self::Tls(_) | Self::Https(_) | Self::Http3(_) | Self::Quic(_) | Self::Refused(_) => 1,
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
            Self::Tls(dot) => dot.exchange(question, patience).await,
            Self::Https(doh) => doh.exchange(question, patience).await,
            Self::Http3(doh3) => doh3.exchange(question, patience).await,
            Self::Quic(doq) => doq.exchange(question, patience).await,
            Self::Refused(reason) => Err(io::Error::other(reason.clone()).into()),
        }
    }
}
