//! What the records of one answer mean for a client (RFC 9460 §2.4 and §3, RFC 9848 §5).

use core::fmt;
use std::net::IpAddr;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::DEFAULT_ALPN;
use super::name::DomainName;
use super::params::{Params, SvcParamKey};
use super::record::{Record, RecordError};

/// The HTTPS records of one owner name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    /// The name that owns the records, at the end of any CNAME chain.
    pub owner: DomainName,
    /// The records in the order of the answer, which has no meaning (RFC 9460 §2.4.1).
    pub records: Vec<Record>,
}

impl Rrset {
    /// Reads the RDATA of every record. One malformed record rejects them all (RFC 9460 §2.2).
    pub fn parse<R: AsRef<[u8]>>(
        owner: DomainName,
        rdata: impl IntoIterator<Item = R>,
    ) -> Result<Self, Malformed> {
        let records = rdata
            .into_iter()
            .enumerate()
            .map(|(index, rdata)| {
                Record::parse(rdata.as_ref()).map_err(|error| Malformed { index, error })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { owner, records })
    }

    /// Decides what a client does with these records.
    ///
    /// `rng` picks among several aliases (RFC 9460 §2.4.2) and shuffles records of equal priority
    /// (§2.4.1).
    pub fn resolve(&self, client: &Client<'_>, rng: &mut impl Rng) -> Resolution {
        if self.records.is_empty() {
            return Resolution::Empty;
        }
        // §2.4.1: AliasMode beside ServiceMode wins.
        let aliases: Vec<_> = self
            .records
            .iter()
            .filter(|record| record.is_alias())
            .collect();
        if let Some(alias) = aliases.choose(rng) {
            return match alias.target.is_root() {
                true => Resolution::Unavailable,
                false => Resolution::Alias {
                    target: alias.target.clone(),
                },
            };
        }
        let why_not: Vec<_> = self
            .records
            .iter()
            .map(|r| client.why_not(&r.params))
            .collect();
        let mut services: Vec<_> = why_not
            .iter()
            .enumerate()
            .filter(|(_, why_not)| why_not.is_none())
            .map(|(index, _)| self.service(index, client))
            .collect();
        services.shuffle(rng);
        // Stable, so that equals stay shuffled. Endpoints that hide the name come first: the
        // others are a downgrade (RFC 9848 §8).
        services.sort_by_key(|service| (!service.ech_usable, service.priority));
        Resolution::Services { services, why_not }
    }

    fn service(&self, index: usize, client: &Client<'_>) -> Service {
        let Record {
            priority,
            target,
            params,
        } = &self.records[index];
        let hints4 = params.ipv4hint.iter().copied().map(IpAddr::V4);
        let hints6 = params.ipv6hint.iter().copied().map(IpAddr::V6);
        Service {
            record: index,
            priority: *priority,
            // §2.5.2
            target: if target.is_root() {
                self.owner.clone()
            } else {
                target.clone()
            },
            port: params.port,
            alpn: alpn_set(params),
            hints: hints6.chain(hints4).collect(),
            ech: params.ech.clone(),
            ech_usable: client.can_use_ech(params),
        }
    }
}

/// `alpn` and the default, unless `no-default-alpn` (RFC 9460 §7.1.1).
fn alpn_set(params: &Params) -> Vec<Vec<u8>> {
    let mut set = params.alpn.clone();
    if !params.no_default_alpn && !set.iter().any(|id| id == DEFAULT_ALPN) {
        set.push(DEFAULT_ALPN.to_vec());
    }
    set
}

/// What the client can do, as far as it decides which records are compatible.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The ALPN protocols that it speaks, over any transport.
    pub alpn: &'a [&'a [u8]],
    /// Whether an ECHConfigList holds a config that it can use; `None` when it does no ECH at all.
    pub ech: Option<EchJudge<'a>>,
}

/// Says whether an ECHConfigList holds a config that the client can use.
pub type EchJudge<'a> = &'a dyn Fn(&[u8]) -> bool;

impl Client<'_> {
    /// The reason for which a ServiceMode record is not compatible (RFC 9460 §8, §7.1.2).
    fn why_not(&self, params: &Params) -> Option<WhyNot> {
        let unknown: Vec<_> = params
            .mandatory
            .iter()
            .copied()
            .filter(|key| !self.understands(*key))
            .collect();
        if !unknown.is_empty() {
            return Some(WhyNot::MandatoryUnknown(unknown));
        }
        // §8: the values of mandatory keys must make a connection possible.
        if params.mandatory.contains(&SvcParamKey::ECH) && !self.can_use_ech(params) {
            return Some(WhyNot::MandatoryEchUnusable);
        }
        let set = alpn_set(params);
        if !set.iter().any(|id| self.alpn.contains(&id.as_slice())) {
            return Some(WhyNot::NoCommonAlpn(set));
        }
        // `port` is automatically mandatory (§9), and nothing listens at port 0.
        (params.port == Some(0)).then_some(WhyNot::PortZero)
    }

    fn understands(&self, key: SvcParamKey) -> bool {
        match key {
            SvcParamKey::ECH => self.ech.is_some(),
            // For resolvers, with no meaning for HTTP (RFC 9461 §5).
            SvcParamKey::DOHPATH => false,
            key => key.is_known(),
        }
    }

    fn can_use_ech(&self, params: &Params) -> bool {
        match (self.ech, &params.ech) {
            (Some(usable), Some(list)) => usable(list),
            _ => false,
        }
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("alpn", &self.alpn)
            .field("ech", &self.ech.is_some())
            .finish()
    }
}

/// What an RRset says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// There are no records.
    Empty,
    /// Ask again at this name (RFC 9460 §3, step 3).
    Alias {
        /// Where to go on.
        target: DomainName,
    },
    /// An alias to `.`: the service says that it is not there. Advisory (RFC 9460 §2.5.1).
    Unavailable,
    /// ServiceMode records.
    Services {
        /// The compatible ones in the order in which to try them; maybe none.
        services: Vec<Service>,
        /// For each record of the set, why it is not compatible.
        why_not: Vec<Option<WhyNot>>,
    },
}

/// A compatible ServiceMode record, read as an alternative endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its place in [`Rrset::records`].
    pub record: usize,
    /// SvcPriority.
    pub priority: u16,
    /// The name to look up addresses for; never the root (RFC 9460 §2.5.2).
    pub target: DomainName,
    /// The port, where it is not the authority's (RFC 9460 §7.2).
    pub port: Option<u16>,
    /// The SVCB ALPN set (RFC 9460 §7.1.1).
    pub alpn: Vec<Vec<u8>>,
    /// `ipv6hint` and `ipv4hint`.
    pub hints: Vec<IpAddr>,
    /// The ECHConfigList, as published.
    pub ech: Option<Vec<u8>>,
    /// Whether the client can use one of its configs.
    pub ech_usable: bool,
}

/// Whether a client that does ECH must stay within these endpoints (RFC 9848 §5.1): it has some,
/// and every one of them carries `ech`, usable or not.
pub fn is_svcb_reliant(services: &[Service]) -> bool {
    !services.is_empty() && services.iter().all(|service| service.ech.is_some())
}

/// Why a well-formed ServiceMode record is not compatible with the client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyNot {
    /// `mandatory` lists keys that the client does not know (RFC 9460 §8).
    MandatoryUnknown(Vec<SvcParamKey>),
    /// `mandatory` lists `ech`, and no config in it can be used (RFC 9460 §8).
    MandatoryEchUnusable,
    /// The client speaks none of the protocols in the ALPN set (RFC 9460 §7.1.2).
    NoCommonAlpn(Vec<Vec<u8>>),
    /// Nothing can listen at port 0.
    PortZero,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MandatoryUnknown(keys) => {
                let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
                write!(f, "mandatory parameter not supported: {}", keys.join(", "))
            }
            Self::MandatoryEchUnusable => {
                f.write_str("ech is mandatory and none of its configs can be used")
            }
            Self::NoCommonAlpn(set) => {
                let ids: Vec<_> = set.iter().map(|id| id.escape_ascii().to_string()).collect();
                write!(
                    f,
                    "none of its protocols is spoken here: {}",
                    ids.join(", ")
                )
            }
            Self::PortZero => f.write_str("port 0 cannot be connected to"),
        }
    }
}

/// The record for which an RRset was rejected (RFC 9460 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS record {} is malformed: {error}", index + 1)]
pub struct Malformed {
    /// Its place in the answer, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub error: RecordError,
}

#[cfg(test)]
mod tests;
