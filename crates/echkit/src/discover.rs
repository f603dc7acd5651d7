//! From an origin to the endpoints at which it can be reached (RFC 9460 §3, RFC 9848 §5).
//!
//! Discovery reports facts and an order; what follows from them, connecting without ECH or
//! refusing to, is policy and decided elsewhere.

mod endpoint;
mod report;

use std::time::Duration;

use echkit_proto::svcb::{DomainName, Record};

use crate::dns::QueryError;
use crate::origin::{Host, Origin};

pub use endpoint::{Endpoint, EndpointKind};
pub use report::{ConfigReport, DnsReport, RecordReport};

/// Everything that DNS had to say about an origin.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Discovery {
    /// The origin that was asked about.
    pub origin: Origin,
    /// The resolver's URI.
    pub resolver: String,
    /// Whether every question and answer was hidden from the network. False when nothing was asked.
    pub protected: bool,
    /// The first owner name that was asked for its HTTPS records; `None` when none was.
    pub query_name: Option<DomainName>,
    /// The targets of the AliasMode records that were followed, in order.
    pub aliases: Vec<DomainName>,
    /// Whether there are HTTPS records.
    pub https: HttpsAnswer,
    /// How the alias chain ended, if not well.
    pub alias_problem: Option<AliasProblem>,
    /// The records of the last name asked, with what became of each.
    pub records: Vec<RecordVerdict>,
    /// Whether the client must stay within the records: each compatible one carries `ech`
    /// (RFC 9848 §5.1). The endpoints then hold nothing else.
    pub svcb_reliant: bool,
    /// Where to connect, in the order in which to try: usable ECH first, then by priority.
    pub endpoints: Vec<Endpoint>,
    /// Whether a URL of the scheme `http` is to be fetched as `https` (RFC 9460 §9.5); see
    /// [`Origin::to_https`].
    pub https_upgrade: bool,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// Why no connection should be tried. The endpoints are then empty.
    pub error: Option<DiscoverError>,
    /// How long this holds: the shortest lifetime of the answers in it.
    pub ttl: Option<Duration>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What the questions for HTTPS records came to.
#[derive(Clone, Debug)]
pub enum HttpsAnswer {
    /// There are records, well formed; see [`Discovery::records`] for which are usable.
    Found,
    /// There are none, or nobody was asked.
    None,
    /// Nobody could say; never to be taken for "none".
    Failed(QueryError),
    /// There are records and one is malformed, for which all are rejected (RFC 9460 §2.2).
    Malformed(String),
}

impl HttpsAnswer {
    /// The word for it in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::None => "none",
            Self::Failed(_) => "failed",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// How an alias chain ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasProblem {
    /// It came back to a name that it had been at.
    #[error("the HTTPS aliases form a loop at {0}")]
    Loop(DomainName),
    /// It went on for longer than the limit; the authority endpoint is used (RFC 9460 §3.1).
    #[error("the HTTPS aliases do not end after {0} links")]
    TooLong(usize),
    /// An alias to `.`: the service says that it is not there (RFC 9460 §2.5.1).
    #[error("an HTTPS alias of {0} says that the service is not available")]
    Unavailable(DomainName),
}

/// A record, and what the client makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordVerdict {
    /// The record.
    pub record: Record,
    /// Why it is not compatible, so that no endpoint comes of it; `None` when one did.
    pub why_not: Option<String>,
    /// The ECHConfigs in it.
    pub configs: Vec<ConfigVerdict>,
}

/// An ECHConfig in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigVerdict {
    /// Its id, where its version is one that has ids.
    pub config_id: Option<u8>,
    /// Why it cannot be used; `None` when it can.
    pub why_not: Option<String>,
}

/// What the user should know, though a connection may still be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The RRset was rejected (RFC 9460 §2.2).
    #[error("HTTPS records of {name} ignored: {reason}")]
    Malformed {
        /// Their owner.
        name: DomainName,
        /// What is wrong.
        reason: String,
    },
    /// Over plain DNS, no answer came for the HTTPS records.
    #[error("HTTPS records of {name} unknown: {reason}")]
    Failed {
        /// Their owner.
        name: DomainName,
        /// What went wrong.
        reason: String,
    },
    /// The alias chain did not end well.
    #[error(transparent)]
    Alias(#[from] AliasProblem),
    /// Records are there, and none is compatible.
    #[error("none of the HTTPS records of {0} can be used")]
    NoCompatibleRecord(DomainName),
    /// Some compatible records carry `ech` and some do not: open to downgrade (RFC 9848 §8).
    #[error("some HTTPS records of {0} lack ech; an attacker could steer connections to those")]
    PartialEch(DomainName),
    /// A compatible record carries `ech`, and none of its configs can be used.
    #[error("no ECHConfig in the HTTPS record for {0} can be used")]
    NoUsableConfig(Host),
    /// The target of a record has no addresses.
    #[error("{0}")]
    NoAddresses(String),
    /// The resolver's own name was looked up in the clear.
    #[error("the resolver {0} was looked up through the system's resolver")]
    ResolverLookedUp(String),
}

/// Why there is nothing to connect to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The host does not exist.
    #[error("the host {0} does not exist")]
    NoSuchHost(Host),
    /// The host, or every target of its records, has no address.
    #[error("{host} has no address{}", hint.as_deref().map(|h| format!(": {h}")).unwrap_or_default())]
    NoAddresses {
        /// The origin's host.
        host: Host,
        /// What the zone should have said, where that is known.
        hint: Option<String>,
    },
    /// The addresses could not be learned.
    #[error("cannot look up the address of {host}: {error}")]
    AddressLookup {
        /// The host that was looked up.
        host: Host,
        /// What went wrong.
        error: QueryError,
    },
    /// Over a protected resolver no answer came for the HTTPS records; going on would let an
    /// attacker remove them by blocking (RFC 9460 §3.1).
    #[error("cannot look up the HTTPS records of {name}: {error}")]
    HttpsLookup {
        /// Their owner.
        name: DomainName,
        /// What went wrong.
        error: QueryError,
    },
}
