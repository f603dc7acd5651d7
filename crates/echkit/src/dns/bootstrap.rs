//! The addresses of a server that is needed before any question can be asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use echkit_proto::dns::Question;
use echkit_proto::svcb::DomainName;

use super::answer::RecordType;
use super::exchange::{ExchangeError, Patience};
use super::system::System;
use crate::origin::Host;

/// Where the addresses of a server, or of a proxy before it, come from.
#[derive(Clone, Debug)]
pub(super) enum Bootstrap {
    /// From the URI, or known without asking.
    Fixed(Vec<IpAddr>),
    /// From the system's resolver, which tells the network which server it is.
    System(System, Question),
}

impl Bootstrap {
    /// Whether the network learns what is looked up.
    pub(super) fn is_looked_up(&self) -> bool {
        matches!(self, Self::System(..))
    }

    /// Those of a host that no addresses are given for.
    pub(super) fn of(host: &Host) -> Self {
        match host {
            Host::Ip(address) => Self::Fixed(vec![*address]),
            // RFC 6761 §6.3.
            Host::Name(name) if is_localhost(name.dns()) => {
                Self::Fixed(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()])
            }
            Host::Name(name) => {
                let question = Question {
                    name: name.dns().clone(),
                    kind: RecordType::A,
                };
                Self::System(System::of_host(), question)
            }
        }
    }

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

/// Whether a name is always loopback, and never asked for (RFC 6761 §6.3).
pub(super) fn is_localhost(name: &DomainName) -> bool {
    let last = name.labels().last();
    last.is_some_and(|label| label.eq_ignore_ascii_case(b"localhost"))
}

/// The failure is one of the system's resolver, and not of the server that it was asked about.
fn unresolved(error: ExchangeError) -> ExchangeError {
    let reason = error.in_words();
    let error = format!("the system's resolver has no address for it: {reason}");
    io::Error::other(error).into()
}
