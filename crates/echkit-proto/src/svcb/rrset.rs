//! What the records of one answer mean for a client (RFC 9460 §2.4 and §3, RFC 9848 §5).

use core::fmt;
use std::net::IpAddr;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::DEFAULT_ALPN;
use super::ech::EchOfRecord;
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
    ) -> Result<Self, MalformedRrset> {
        let records = rdata
            .into_iter()
            .enumerate()
            .map(|(index, rdata)| {
                Record::parse(rdata.as_ref()).map_err(|error| MalformedRrset { index, error })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { owner, records })
    }

    /// Decides what a client does with these records.
    ///
    /// `rng` picks among several aliases (RFC 9460 §2.4.2) and shuffles records of equal priority
    /// (§2.4.1).
    pub fn resolve(&self, client: &Capabilities<'_>, rng: &mut impl Rng) -> Resolution {
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
                true => Resolution::Unavailable {
                    records: self.judged(|record, _| {
                        Some(match record.is_alias() {
                            true => RecordUnusable::ServiceUnavailable,
                            false => RecordUnusable::BesideAlias,
                        })
                    }),
                },
                false => Resolution::Alias {
                    target: alias.target.clone(),
                },
            };
        }
        let records = self.judged(|record, ech| client.why_not(&record.params, ech));
        let mut services: Vec<_> = records
            .iter()
            .enumerate()
            .filter(|(_, record)| record.why_not.is_none())
            .map(|(index, record)| self.service(index, record, client, rng))
            .collect();
        services.shuffle(rng);
        // Stable, so that equals stay shuffled. Endpoints that hide the name come first: the
        // others are a downgrade (RFC 9848 §8).
        services.sort_by_key(|service| (!service.can_offer_ech(), service.priority));
        Resolution::Services { services, records }
    }

    /// Each record with its verdict; the only place where configs are judged.
    fn judged(
        &self,
        why_not: impl Fn(&Record, Option<&EchOfRecord>) -> Option<RecordUnusable>,
    ) -> Vec<JudgedRecord> {
        let judged = |record: &Record| {
            let ech = record.params.ech.clone().map(EchOfRecord::judge);
            JudgedRecord {
                why_not: why_not(record, ech.as_ref()),
                record: record.clone(),
                ech,
            }
        };
        self.records.iter().map(judged).collect()
    }

    fn service(
        &self,
        index: usize,
        judged: &JudgedRecord,
        client: &Capabilities<'_>,
        rng: &mut impl Rng,
    ) -> Service {
        let Record {
            priority,
            target,
            params,
        } = &judged.record;
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
            hints: hints(params, rng),
            ech: match client.ech {
                true => judged.ech.clone(),
                false => params.ech.clone().map(EchOfRecord::ignored),
            },
        }
    }
}

/// Addresses of one family that are taken from one record.
pub const MAX_HINTS: usize = 64;

/// The hints of a record, IPv6 first, each family in random order (RFC 9460 §7.3).
pub(super) fn hints(params: &Params, rng: &mut impl Rng) -> Vec<IpAddr> {
    let mut v6: Vec<_> = params.ipv6hint.iter().copied().map(IpAddr::V6).collect();
    let mut v4: Vec<_> = params.ipv4hint.iter().copied().map(IpAddr::V4).collect();
    for family in [&mut v6, &mut v4] {
        family.shuffle(rng);
        family.truncate(MAX_HINTS);
    }
    v6.append(&mut v4);
    v6
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
#[derive(Clone, Copy, Debug)]
pub struct Capabilities<'a> {
    /// The ALPN protocols that it speaks, over any transport.
    pub alpn: &'a [&'a [u8]],
    /// Whether it does ECH; if not, `ech` is one more parameter that it does not know.
    pub ech: bool,
}

impl Capabilities<'_> {
    /// The reason for which a ServiceMode record is not compatible (RFC 9460 §8, §7.1.2).
    fn why_not(&self, params: &Params, ech: Option<&EchOfRecord>) -> Option<RecordUnusable> {
        let unknown: Vec<_> = params
            .mandatory
            .iter()
            .copied()
            .filter(|key| !self.understands(*key))
            .collect();
        if !unknown.is_empty() {
            return Some(RecordUnusable::MandatoryUnknown(unknown));
        }
        // §8: the values of mandatory keys must make a connection possible.
        let usable = ech.is_some_and(EchOfRecord::is_usable);
        if params.mandatory.contains(&SvcParamKey::ECH) && !usable {
            return Some(RecordUnusable::MandatoryEchUnusable);
        }
        let set = alpn_set(params);
        if !set.iter().any(|id| self.alpn.contains(&id.as_slice())) {
            return Some(RecordUnusable::NoCommonAlpn(set));
        }
        // `port` is automatically mandatory (§9), and nothing listens at port 0.
        (params.port == Some(0)).then_some(RecordUnusable::PortZero)
    }

    fn understands(&self, key: SvcParamKey) -> bool {
        match key {
            SvcParamKey::ECH => self.ech,
            // For resolvers, with no meaning for HTTP (RFC 9461 §5).
            SvcParamKey::DOHPATH => false,
            key => key.is_known(),
        }
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
    Unavailable {
        /// The records, none of which is used.
        records: Vec<JudgedRecord>,
    },
    /// ServiceMode records.
    Services {
        /// The compatible ones in the order in which to try them; maybe none.
        services: Vec<Service>,
        /// Every record of the set, judged.
        records: Vec<JudgedRecord>,
    },
}

/// A record, and how the client interprets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedRecord {
    /// The record.
    pub record: Record,
    /// Why it is not used; `None` when it is compatible.
    pub why_not: Option<RecordUnusable>,
    /// The verdict on its ECHConfigList.
    pub ech: Option<EchOfRecord>,
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
    /// `ipv6hint` and `ipv4hint`, [`MAX_HINTS`] of each at most, in random order within a family
    /// (RFC 9460 §7.3).
    pub hints: Vec<IpAddr>,
    /// The ECHConfigList, with the config that the client is to offer.
    pub ech: Option<EchOfRecord>,
}

impl Service {
    /// Whether the client has a config to offer.
    pub fn can_offer_ech(&self) -> bool {
        self.ech.as_ref().is_some_and(EchOfRecord::is_usable)
    }
}

/// Whether a client that does ECH must stay within these endpoints (RFC 9848 §5.1): it has some,
/// and every one of them carries `ech`, usable or not.
pub fn is_svcb_reliant(services: &[Service]) -> bool {
    !services.is_empty() && services.iter().all(|service| service.ech.is_some())
}

/// Why a well-formed record is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordUnusable {
    /// `mandatory` lists keys that the client does not know (RFC 9460 §8).
    MandatoryUnknown(Vec<SvcParamKey>),
    /// `mandatory` lists `ech`, and no config in it can be used (RFC 9460 §8).
    MandatoryEchUnusable,
    /// The client speaks none of the protocols in the ALPN set (RFC 9460 §7.1.2).
    NoCommonAlpn(Vec<Vec<u8>>),
    /// Nothing can listen at port 0.
    PortZero,
    /// An alias to `.` (RFC 9460 §2.5.1).
    ServiceUnavailable,
    /// A ServiceMode record beside an AliasMode one (RFC 9460 §2.4.1).
    BesideAlias,
}

impl std::error::Error for RecordUnusable {}

impl fmt::Display for RecordUnusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MandatoryUnknown(keys) => {
                let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
                write!(f, "mandatory parameter not supported: {}", keys.join(", "))
            }
            Self::MandatoryEchUnusable => {
                f.write_str("ech is mandatory and no config in it is usable")
            }
            Self::NoCommonAlpn(set) => {
                let ids: Vec<_> = set.iter().map(|id| id.escape_ascii().to_string()).collect();
                write!(f, "none of its protocols is supported: {}", ids.join(", "))
            }
            Self::PortZero => f.write_str("port 0 is not a valid port"),
            Self::ServiceUnavailable => f.write_str("it says that the service is not available"),
            Self::BesideAlias => f.write_str("an AliasMode record overrides it"),
        }
    }
}

/// The record for which an RRset was rejected (RFC 9460 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS record {} is malformed: {error}", index + 1)]
pub struct MalformedRrset {
    /// Its place in the answer, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub error: RecordError,
}

#[cfg(test)]
mod tests;
