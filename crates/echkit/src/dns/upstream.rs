//! A server of an encrypted transport: its name, and its addresses.

use std::io;
use std::net::IpAddr;

use echkit_proto::dns::Question;
use rustls_pki_types::ServerName;

use super::answer::RecordType;
use super::exchange::{ExchangeError, Patience};
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

impl Upstream {
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.host.server_name()
    }
}

impl Bootstrap {
    pub(super) async fn resolve(&self, patience: &Patience) -> Result<Vec<IpAddr>, ExchangeError> {
        let (system, question) = match self {
            Self::Fixed(addresses) => return Ok(addresses.clone()),
            Self::System(system, question) => (system, question),
        };
        let known = system.hosts(&question.name).await;
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
            (true, Err(error), _) | (true, _, Err(error)) => Err(unresolved(error)),
            _ => Ok(addresses),
        }
    }
}

/// The failure is one of the system's resolver, and not of the server that it was asked about.
fn unresolved(error: ExchangeError) -> ExchangeError {
    let reason = match error {
        ExchangeError::Io(error) => error.to_string(),
        ExchangeError::Timeout => "no answer".to_owned(),
        ExchangeError::Refused(rcode) => format!("response code {rcode}"),
        ExchangeError::Malformed(reason) => reason.to_owned(),
    };
    let error = format!("the system's resolver has no address for it: {reason}");
    io::Error::other(error).into()
}
