//! What the user should know of discovery.

use core::fmt;
use std::error::Error;

use echkit_proto::config::{self, NameExposure, PublicName};
use echkit_proto::svcb::{AliasProblem, DomainName, MalformedRrset};

use super::{RecordUnused, TargetHint};
use crate::dns::{QueryError, Resolver};
use crate::origin::Origin;
use crate::proxy::ProxyEnvironment;

/// What the user should know, though a connection may still be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Warning {
    /// The RRset was rejected (RFC 9460 §2.2).
    Malformed {
        /// Their owner.
        name: DomainName,
        /// What is wrong.
        malformed: MalformedRrset,
    },
    /// Over plain DNS, no answer came for the HTTPS records.
    Failed {
        /// Their owner.
        name: DomainName,
        /// What went wrong.
        error: QueryError,
    },
    /// The alias chain did not end well.
    Alias(AliasProblem),
    /// Records are there, and none is compatible.
    NoCompatibleRecord(DomainName),
    /// Some compatible records carry `ech` and some do not: open to downgrade (RFC 9848 §8).
    PartialEch(DomainName),
    /// A compatible record carries `ech`, and none of its configs can be used.
    NoUsableConfig {
        /// The record's target.
        target: DomainName,
        /// The reason for each config, in order.
        reasons: Vec<config::WhyNot>,
    },
    /// The public_name of a config that can be used tells what ECH is to hide.
    ExposingPublicName {
        /// The record's target.
        target: DomainName,
        /// The public_name.
        public_name: PublicName,
        /// What it tells; never [`NameExposure::None`].
        exposure: NameExposure,
    },
    /// The target of a record has no addresses.
    NoAddresses {
        /// Its place in [`Discovery::records`](super::Discovery::records), from 0.
        record: usize,
        /// What is wrong.
        why_not: RecordUnused,
        /// What the zone should have said, where that is plain.
        hint: Option<TargetHint>,
    },
    /// A record or an alias leads to a name that no host can have.
    NotAHostName(DomainName),
    /// The resolver's own name was looked up in the clear.
    ResolverLookedUp(String),
    /// The name of the proxy that questions go through was looked up in the clear.
    ProxyLookedUp(String),
    /// Connections to the origin go through a proxy, and questions about it do not.
    QueriesPastProxy {
        /// The URI of the resolver.
        resolver: String,
        /// The proxy, without credentials.
        proxy: String,
    },
}

impl Warning {
    /// The warning that is due where connections to `origin` go through a proxy, and what is asked of
    /// `resolver` does not: it is in the clear, runs over UDP (QUIC and HTTP/3 do), or knows of no
    /// proxy. A resolver that the list of exceptions names is meant to be asked directly.
    pub fn queries_past_proxy(
        resolver: &Resolver,
        origin: &Origin,
        proxies: &ProxyEnvironment,
    ) -> Option<Self> {
        let proxy = proxies.proxy_for(origin).ok().flatten()?;
        let exempt = resolver.host().is_some_and(|host| proxies.exempts(host));
        (resolver.proxy().is_none() && !exempt).then(|| Self::QueriesPastProxy {
            resolver: resolver.uri().to_owned(),
            proxy: proxy.to_string(),
        })
    }
}

impl From<AliasProblem> for Warning {
    fn from(problem: AliasProblem) -> Self {
        Self::Alias(problem)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { name, malformed } => {
                write!(f, "HTTPS records of {name} ignored: {malformed}")
            }
            Self::Failed { name, error } => {
                write!(f, "HTTPS records of {name} could not be looked up: {error}")
            }
            Self::Alias(problem) => problem.fmt(f),
            Self::NoCompatibleRecord(name) => {
                write!(f, "no HTTPS record of {name} is usable")
            }
            Self::PartialEch(name) => write!(
                f,
                "some HTTPS records of {name} lack ech; an attacker could steer connections to those"
            ),
            Self::NoUsableConfig { target, reasons } => write!(
                f,
                "no ECHConfig in the HTTPS record for {target} is usable: {}",
                joined(reasons)
            ),
            Self::ExposingPublicName {
                target,
                public_name,
                exposure,
            } => write!(
                f,
                "the ECHConfig in the HTTPS record for {target} has the public_name \
                 {public_name}, {}",
                exposed(*exposure)
            ),
            Self::NoAddresses {
                record,
                why_not,
                hint,
            } => {
                write!(f, "HTTPS record {} is not usable: ", record + 1)?;
                match hint {
                    Some(hint) => hint.fmt(f),
                    None => why_not.fmt(f),
                }
            }
            Self::NotAHostName(name) => write!(f, "{name} is not a host name"),
            Self::ResolverLookedUp(name) => write!(
                f,
                "the resolver {name} was looked up through the system's resolver"
            ),
            Self::ProxyLookedUp(name) => write!(
                f,
                "the proxy {name} was looked up through the system's resolver"
            ),
            Self::QueriesPastProxy { resolver, proxy } => write!(
                f,
                "queries to the resolver {resolver} do not go through the proxy {proxy}; those to \
                 https:// and tls:// resolvers do"
            ),
        }
    }
}

impl Error for Warning {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { error, .. } => error.source(),
            Self::NoAddresses {
                why_not,
                hint: None,
                ..
            } => why_not.source(),
            _ => None,
        }
    }
}

fn joined(reasons: &[config::WhyNot]) -> String {
    let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

/// The end of a sentence about a public_name.
pub(crate) fn exposed(exposure: NameExposure) -> &'static str {
    match exposure {
        NameExposure::None => "which does not reveal the origin",
        NameExposure::Contains => "which contains the name that ECH must hide",
        NameExposure::Equal => "the name that ECH must hide: it is sent in the clear",
    }
}
