//! From an origin to the endpoints at which it can be reached (RFC 9460 §3, RFC 9848 §5).
//!
//! Discovery reports facts and an order; what follows from them, connecting without ECH or
//! refusing to, is policy and decided elsewhere.

mod addresses;
mod endpoint;
mod https;
mod peer_offer;
mod plan;
mod report;
mod search;
mod warning;
mod why_no_ech;

use core::fmt;
use std::error::Error;
use std::time::Duration;

use echkit_proto::config;
use echkit_proto::svcb::{
    DomainName, EchOfRecord, JudgedRecord, MalformedRrset, Record, RecordUnusable,
};

use crate::dns::{QueryError, Resolver};
use crate::origin::{Host, Origin};
use crate::policy::AddressFamily;
use crate::proxy::Proxy;

pub use echkit_proto::svcb::AliasProblem;

pub use addresses::FixedAddresses;
pub use endpoint::{Endpoint, EndpointKind};
pub use peer_offer::{NoClientHello, Peer};
pub(crate) use plan::Planned;
pub use report::{ConfigReport, DnsReport, RecordReport};
pub(crate) use search::{News, Search};
pub use warning::Warning;
pub(crate) use warning::exposed;
pub(crate) use why_no_ech::exposing_name;

/// What discovery is to know about the client and the caller's wishes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiscoverOptions {
    /// The ALPN protocols that the client speaks, over any transport.
    pub alpn: Vec<Vec<u8>>,
    /// Whether the client does ECH; if not, `ech` is one more parameter that it does not know.
    pub ech: bool,
    /// Kinds of addresses to use.
    pub family: AddressFamily,
    /// Hosts whose addresses are known. Their HTTPS records are still asked for, except those of
    /// an `https` origin by a client that does not do ECH.
    pub resolve: Vec<FixedAddresses>,
    /// The one place to connect to. A client that does ECH still asks for the HTTPS records of an
    /// `https` origin, and takes their ECHConfigs alone.
    pub connect_to: Option<(Host, u16)>,
    /// How many AliasMode records are followed; RFC 9460 §3.1 wants a bound.
    pub max_aliases: usize,
}

impl Default for DiscoverOptions {
    fn default() -> Self {
        Self {
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            ech: true,
            family: AddressFamily::Any,
            resolve: Vec::new(),
            connect_to: None,
            max_aliases: 8,
        }
    }
}

impl DiscoverOptions {
    /// The same with other ALPN protocols.
    #[must_use]
    pub fn with_alpn(mut self, protocols: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.alpn = protocols.into_iter().collect();
        self
    }

    /// The same for a client that does ECH, or does not.
    #[must_use]
    pub fn with_ech(mut self, ech: bool) -> Self {
        self.ech = ech;
        self
    }

    /// The same with other kinds of addresses.
    #[must_use]
    pub fn with_family(mut self, family: AddressFamily) -> Self {
        self.family = family;
        self
    }

    /// The same with these addresses known.
    #[must_use]
    pub fn with_resolve(mut self, addresses: impl IntoIterator<Item = FixedAddresses>) -> Self {
        self.resolve = addresses.into_iter().collect();
        self
    }

    /// The same with one place to connect to, or with none given.
    #[must_use]
    pub fn with_connect_to(mut self, place: impl Into<Option<(Host, u16)>>) -> Self {
        self.connect_to = place.into();
        self
    }

    /// The same with another bound on aliases.
    #[must_use]
    pub fn with_max_aliases(mut self, count: usize) -> Self {
        self.max_aliases = count;
        self
    }
}

/// Finds the endpoints of an origin, for a client that does ECH, HTTP/2 and HTTP/1.1.
///
/// ```no_run
/// use echkit::Origin;
/// use echkit::discover::discover;
/// use echkit::dns::Resolver;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let origin: Origin = "https://www.example".parse()?;
/// let found = discover(&Resolver::system(), &origin).await;
/// if let Some(error) = &found.error {
///     println!("no connection should be tried: {error}");
/// }
/// for endpoint in &found.endpoints {
///     println!("{}:{} ECH: {}", endpoint.target, endpoint.port, endpoint.can_offer_ech());
/// }
/// # Ok(())
/// # }
/// ```
pub async fn discover(resolver: &Resolver, origin: &Origin) -> Discovery {
    discover_with(resolver, origin, &DiscoverOptions::default()).await
}

/// Finds the endpoints of an origin.
///
/// HTTPS, AAAA and A queries go out at the same time. When this returns, SVCB resolution has
/// concluded, so that a ClientHello may be sent (RFC 9848 §5.3).
pub async fn discover_with(
    resolver: &Resolver,
    origin: &Origin,
    options: &DiscoverOptions,
) -> Discovery {
    let resolver = resolver_for(resolver, origin, options).await;
    let mut search = Search::new(&resolver, origin, options.clone());
    search.ask_https();
    search.complete().await;
    search.finish()
}

/// The resolver to use for an origin: the encrypted form of the given one, if that is to be found
/// (RFC 9462). For an address no query is sent.
pub(crate) async fn resolver_for(
    resolver: &Resolver,
    origin: &Origin,
    options: &DiscoverOptions,
) -> Resolver {
    match origin.host {
        Host::Ip(_) if options.connect_to.is_none() => resolver.clone(),
        _ => resolver.in_use().await,
    }
}

/// Everything that DNS had to say about an origin.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Discovery {
    /// The origin that was asked about.
    pub origin: Origin,
    /// The resolver's URI.
    pub resolver: String,
    /// The proxy that questions go through.
    pub proxy: Option<Proxy>,
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
    /// How long the HTTPS records, or their absence, hold; `None` when no query was sent.
    pub https_ttl: Option<Duration>,
    /// How long all of it holds: the shortest lifetime of the answers in it.
    pub ttl: Option<Duration>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Discovery {
    fn new(resolver: &Resolver, origin: &Origin) -> Self {
        Self {
            origin: origin.clone(),
            resolver: resolver.uri().to_owned(),
            proxy: resolver.proxy().cloned(),
            protected: false,
            query_name: None,
            aliases: Vec::new(),
            https: HttpsAnswer::None,
            alias_problem: None,
            records: Vec::new(),
            svcb_reliant: false,
            endpoints: Vec::new(),
            https_upgrade: false,
            warnings: Vec::new(),
            error: None,
            https_ttl: None,
            ttl: None,
            elapsed: Duration::ZERO,
        }
    }
}

/// What the questions for HTTPS records came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HttpsAnswer {
    /// There are records, well formed; see [`Discovery::records`] for which are usable.
    Found,
    /// There are none, or no query was sent.
    None,
    /// Unknown; never treated as "none".
    Failed(QueryError),
    /// There are records and one is malformed, for which all are rejected (RFC 9460 §2.2).
    Malformed(MalformedRrset),
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

/// A record, and how the client interprets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordVerdict {
    /// The record.
    pub record: Record,
    /// Why no endpoint came of it; `None` when one did.
    pub why_not: Option<RecordUnused>,
    /// The ECHConfigList in it, judged.
    pub ech: Option<EchOfRecord>,
}

impl RecordVerdict {
    /// The verdicts on its ECHConfigs, in order.
    pub fn configs(&self) -> &[config::ConfigVerdict] {
        self.ech.as_ref().map_or(&[], EchOfRecord::verdicts)
    }
}

impl From<&JudgedRecord> for RecordVerdict {
    fn from(judged: &JudgedRecord) -> Self {
        Self {
            record: judged.record.clone(),
            why_not: judged.why_not.clone().map(RecordUnused::Unusable),
            ech: judged.ech.clone(),
        }
    }
}

/// Why no endpoint came of a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RecordUnused {
    /// It is not compatible with the client.
    Unusable(RecordUnusable),
    /// No host can have its target's name.
    NotAHostName,
    /// Its target does not exist.
    NoSuchTarget(Host),
    /// Its target has no address.
    NoAddress(Host),
    /// The addresses of its target could not be learned.
    AddressUnknown {
        /// The target.
        target: Host,
        /// What went wrong.
        error: QueryError,
    },
}

impl fmt::Display for RecordUnused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(why_not) => why_not.fmt(f),
            Self::NotAHostName => f.write_str("its target is not a host name"),
            Self::NoSuchTarget(target) => write!(f, "its target {target} does not exist"),
            Self::NoAddress(target) => write!(f, "its target {target} has no address"),
            Self::AddressUnknown { target, error } => {
                write!(f, "the address of {target} is unknown: {error}")
            }
        }
    }
}

impl Error for RecordUnused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::AddressUnknown { error, .. } => error.source(),
            _ => None,
        }
    }
}

/// What a zone should have said instead of the TargetName `.` at a prefixed name (RFC 9460 §2.5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetHint {
    /// The name that `.` means.
    pub target: Host,
    /// The origin's host, which was meant.
    pub host: Host,
}

impl fmt::Display for TargetHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, host } = self;
        write!(
            f,
            "the HTTPS record says \".\", which means {target}; it should name {host}"
        )
    }
}

/// Why there is nothing to connect to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The host does not exist.
    NoSuchHost(Host),
    /// The host, or every target of its records, has no address.
    NoAddresses {
        /// The origin's host.
        host: Host,
        /// What the zone should have said, where that is known.
        hint: Option<TargetHint>,
    },
    /// The addresses could not be learned.
    AddressLookup {
        /// The host that was looked up.
        host: Host,
        /// What went wrong.
        error: QueryError,
    },
    /// Over a protected resolver no answer came for the HTTPS records; going on would let an
    /// attacker remove them by blocking (RFC 9460 §3.1).
    HttpsLookup {
        /// Their owner.
        name: DomainName,
        /// What went wrong.
        error: QueryError,
    },
    /// Every HTTPS record carries `ech`, and the client speaks none of their protocols (RFC 9848
    /// §5.1): as if there were no records, the name would be sent in the clear.
    NoCommonProtocol {
        /// The origin's host.
        host: Host,
        /// The ALPN protocol identifiers of the records.
        protocols: Vec<Vec<u8>>,
    },
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchHost(host) => write!(f, "the host {host} does not exist"),
            Self::NoAddresses { host, hint: None } => write!(f, "{host} has no address"),
            Self::NoAddresses {
                host,
                hint: Some(hint),
            } => write!(f, "{host} has no address: {hint}"),
            Self::AddressLookup { host, error } => {
                write!(f, "cannot look up the address of {host}: {error}")
            }
            Self::HttpsLookup { name, error } => write!(
                f,
                "cannot look up the HTTPS records of {name}: {error}; use another resolver, or \
                    turn ECH off: https URLs then need no HTTPS records"
            ),
            Self::NoCommonProtocol { host, protocols } => write!(
                f,
                "every HTTPS record of {host} has ECH, and none of their protocols is supported: \
                    {}",
                protocol_names(protocols)
            ),
        }
    }
}

impl Error for DiscoverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::AddressLookup { error, .. } | Self::HttpsLookup { error, .. } => error.source(),
            _ => None,
        }
    }
}

fn protocol_names(protocols: &[Vec<u8>]) -> String {
    let names = protocols.iter().map(|id| id.escape_ascii().to_string());
    names.collect::<Vec<_>>().join(", ")
}
