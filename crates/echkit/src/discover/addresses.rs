//! The addresses of a host.

use std::net::IpAddr;
use std::time::Duration;

use super::{DiscoverError, DiscoverOptions};
use crate::dns::{Answer, QueryError, RecordType, Resolver, Status};
use crate::origin::{Host, HostName};

/// Which kinds of addresses are looked up and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv6 and IPv4.
    #[default]
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Families {
    /// Whether an address is of a kind that is used.
    pub fn allow(self, address: &IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Addresses of a host that the caller knows better than DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAddresses {
    /// The host: an origin's or that of a record's target.
    pub host: HostName,
    /// The port for which this holds; `None` for every port.
    pub port: Option<u16>,
    /// The addresses, in the order in which to try them.
    pub addresses: Vec<IpAddr>,
}

/// What a lookup of addresses came to.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// IPv6 before IPv4.
    pub(super) list: Vec<IpAddr>,
    /// Why there are none, or none of one family.
    pub(super) missing: Option<Missing>,
    /// How long this holds; `None` when nobody was asked.
    pub(super) ttl: Option<Duration>,
    /// Whether a resolver was asked.
    pub(super) asked: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Missing {
    NoSuchHost,
    NoData,
    Failed(QueryError),
}

impl Addresses {
    fn known(list: Vec<IpAddr>) -> Self {
        Self {
            list,
            missing: None,
            ttl: None,
            asked: false,
        }
    }

    /// Why nothing can be connected to.
    pub(super) fn error(&self, host: &Host, hint: Option<String>) -> DiscoverError {
        match &self.missing {
            Some(Missing::NoSuchHost) if hint.is_none() => DiscoverError::NoSuchHost(host.clone()),
            Some(Missing::Failed(error)) => DiscoverError::AddressLookup {
                host: host.clone(),
                error: error.clone(),
            },
            _ => DiscoverError::NoAddresses {
                host: host.clone(),
                hint,
            },
        }
    }
}

/// Looks up the addresses of `host`, both families at the same time.
pub(super) async fn look_up(
    resolver: &Resolver,
    options: &DiscoverOptions,
    host: &Host,
    port: u16,
) -> Addresses {
    let name = match host {
        Host::Ip(address) => return Addresses::known(vec![*address]),
        Host::Name(name) => name,
    };
    let fixed = options.resolve.iter().find(|fixed| {
        fixed.host == *name && fixed.port.is_none_or(|fixed_port| fixed_port == port)
    });
    if let Some(fixed) = fixed {
        let list = fixed
            .addresses
            .iter()
            .filter(|a| options.families.allow(a))
            .copied();
        return Addresses::known(list.collect());
    }
    let ask = |kind, wanted: bool| async move {
        if wanted {
            Some(resolver.query(name.dns(), kind).await)
        } else {
            None
        }
    };
    let (v6, v4) = tokio::join!(
        ask(RecordType::AAAA, options.families != Families::V4),
        ask(RecordType::A, options.families != Families::V6),
    );
    gather([v6, v4].into_iter().flatten())
}

fn gather(answers: impl Iterator<Item = Result<Answer, QueryError>>) -> Addresses {
    let mut all = Addresses {
        list: Vec::new(),
        missing: None,
        ttl: None,
        asked: true,
    };
    for answer in answers {
        match answer {
            Ok(answer) => {
                for address in answer.addresses() {
                    if !all.list.contains(&address) {
                        all.list.push(address);
                    }
                }
                all.ttl = Some(all.ttl.map_or(answer.ttl, |ttl| ttl.min(answer.ttl)));
                if all.missing.is_none() {
                    all.missing = match answer.status {
                        Status::NxDomain => Some(Missing::NoSuchHost),
                        Status::NoData => Some(Missing::NoData),
                        Status::Found => None,
                    };
                }
            }
            // Not knowing outweighs knowing that one family is not there.
            Err(error) => all.missing = Some(Missing::Failed(error)),
        }
    }
    all
}
