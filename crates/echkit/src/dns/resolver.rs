//! A resolver behind a URI, and the questions that it takes.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::svcb::DomainName;
use rustls::ClientConfig;
use tokio::sync::{Mutex, Semaphore};
use url::Url;

use super::answer::{Answer, QueryError, RecordType, Status};
use super::classic::{Classic, ExchangeError, Patience, Protocol};
use super::doh::{Bootstrap, Doh};
use super::message::{Question, Response};
use super::system::System;
use crate::origin::{Host, Origin};

/// How a resolver is talked to.
#[derive(Clone, Debug)]
pub struct ResolverOptions {
    /// Verifies the servers of encrypted transports. Its ALPN protocols are replaced.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long one question may take in all.
    pub timeout: Duration,
    /// How often a question is sent over UDP or TCP within that time.
    pub tries: u32,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            tls: None,
            timeout: Duration::from_secs(5),
            tries: 3,
        }
    }
}

/// Questions that wait for a socket are not lost; more sockets than this are not opened.
const MAX_SOCKETS: usize = 256;

/// RFC 1034 §3.6.2 asks for a bound on CNAME chains. Nobody means to have this many.
const MAX_CNAMES: usize = 16;

/// A place to ask. Clones share connections.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    uri: String,
    transport: Transport,
    patience: Patience,
    /// The name of an encrypted resolver that the system's resolver is asked for.
    looked_up: Option<String>,
}

/// Every way to get a question answered. A new one needs a variant, a scheme and an `exchange`.
enum Transport {
    System(System),
    Classic(Classic),
    Https(Doh),
}

impl Resolver {
    /// The host's own resolver.
    pub fn system() -> Self {
        Self::new(
            "system".into(),
            Transport::System(System::default()),
            &ResolverOptions::default(),
        )
    }

    /// The resolver that a URI stands for: `system`, `udp://192.0.2.1:53`, `tcp://[2001:db8::1]`,
    /// `https://dns.example/dns-query`, the last one with addresses after a `#` if need be
    /// (`#192.0.2.1,2001:db8::1`).
    pub fn from_uri(uri: &str, options: &ResolverOptions) -> Result<Self, ResolverError> {
        if uri == "system" {
            let transport = Transport::System(System::default());
            return Ok(Self::new(uri.into(), transport, options));
        }
        let (scheme, rest) = uri
            .split_once("://")
            .ok_or_else(|| ResolverError::NoScheme(uri.to_owned()))?;
        match scheme {
            "udp" | "tcp" => {
                let protocol = if scheme == "udp" {
                    Protocol::Udp
                } else {
                    Protocol::Tcp
                };
                let server = socket_address(rest, 53)
                    .ok_or_else(|| ResolverError::Address(uri.to_owned()))?;
                let classic = Classic {
                    servers: vec![server],
                    protocol,
                };
                Ok(Self::new(uri.into(), Transport::Classic(classic), options))
            }
            "https" => Self::doh(uri, options),
            _ => Err(ResolverError::Scheme(scheme.to_owned())),
        }
    }

    fn doh(uri: &str, options: &ResolverOptions) -> Result<Self, ResolverError> {
        let bad = |reason: String| ResolverError::Doh {
            uri: uri.to_owned(),
            reason,
        };
        let tls = options
            .tls
            .as_deref()
            .ok_or_else(|| ResolverError::NoTls(uri.to_owned()))?;
        // The template form of RFC 8484 §4.1 has its variable only for GET.
        let plain = uri.replace("{?dns}", "");
        let mut url = Url::parse(&plain).map_err(|error| bad(error.to_string()))?;
        let origin = Origin::from_url(&url).map_err(|error| bad(error.to_string()))?;
        let given = url.fragment().map(ToOwned::to_owned);
        url.set_fragment(None);
        let mut looked_up = None;
        let addresses = match (given, &origin.host) {
            (Some(list), _) => {
                let parsed = list.split(',').map(|item| {
                    let item = item.trim();
                    let item = item
                        .strip_prefix('[')
                        .and_then(|i| i.strip_suffix(']'))
                        .unwrap_or(item);
                    item.parse()
                        .map_err(|_| bad(format!("{item:?} after # is no IP address")))
                });
                Bootstrap::Fixed(parsed.collect::<Result<_, _>>()?)
            }
            (None, Host::Ip(address)) => Bootstrap::Fixed(vec![*address]),
            (None, Host::Name(name)) => {
                looked_up = Some(name.to_string());
                let question = Question {
                    name: name.dns().clone(),
                    kind: RecordType::A,
                };
                Bootstrap::System(System::default(), question)
            }
        };
        let doh = Doh {
            url: url.to_string(),
            server_name: origin.host.server_name(),
            port: origin.port,
            addresses,
            tls: Doh::config(tls),
            connection: Mutex::new(None),
        };
        let mut inner = Inner::new(uri.into(), Transport::Https(doh), options);
        inner.looked_up = looked_up;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    fn new(uri: String, transport: Transport, options: &ResolverOptions) -> Self {
        Self {
            inner: Arc::new(Inner::new(uri, transport, options)),
        }
    }

    /// The URI that the resolver was made from.
    pub fn uri(&self) -> &str {
        &self.inner.uri
    }

    /// Whether what goes over this transport is hidden from the network and safe from it.
    pub fn is_protected(&self) -> bool {
        match self.inner.transport {
            Transport::System(_) | Transport::Classic(_) => false,
            Transport::Https(_) => true,
        }
    }

    /// The name of this resolver, where it is looked up in the clear for want of an address.
    pub fn looked_up_name(&self) -> Option<&str> {
        self.inner.looked_up.as_deref()
    }

    /// Asks for the records of one type at one name, and follows CNAMEs.
    ///
    /// `Ok` means that the resolver knows, be it that there is nothing; `Err` that nobody can say.
    pub async fn query(&self, name: &DomainName, kind: RecordType) -> Result<Answer, QueryError> {
        if let Some(addresses) = self.known_here(name, kind) {
            return Ok(local_answer(name, kind, &addresses));
        }
        let mut chain = Chain::new(name, self.is_protected());
        loop {
            let question = Question {
                name: chain.owner.clone(),
                kind,
            };
            let response = self
                .inner
                .exchange(&question)
                .await
                .map_err(|error| self.inner.error(error))?;
            if response.referral {
                let error = ExchangeError::Malformed("a referral is no answer");
                return Err(self.inner.error(error));
            }
            match chain.advance(&response, kind)? {
                Some(answer) => return Ok(answer),
                // The chain left what this server wanted to tell; ask where it leads.
                None => continue,
            }
        }
    }

    /// Addresses for which no server is asked.
    fn known_here(&self, name: &DomainName, kind: RecordType) -> Option<Vec<IpAddr>> {
        // RFC 6761 §6.3: never asked of anybody, always loopback.
        if name
            .labels()
            .last()
            .is_some_and(|label| label.eq_ignore_ascii_case(b"localhost"))
        {
            return Some(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        // The hosts file says all that there is about the addresses of its names, and nothing
        // about other records.
        match &self.inner.transport {
            Transport::System(system) if [RecordType::A, RecordType::AAAA].contains(&kind) => {
                Some(system.hosts(name)).filter(|addresses| !addresses.is_empty())
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({})", self.uri())
    }
}

impl Inner {
    fn new(uri: String, transport: Transport, options: &ResolverOptions) -> Self {
        let patience = Patience {
            total: options.timeout,
            tries: options.tries,
            sockets: Arc::new(Semaphore::new(MAX_SOCKETS)),
        };
        Self {
            uri,
            transport,
            patience,
            looked_up: None,
        }
    }

    async fn exchange(&self, question: &Question) -> Result<Response, ExchangeError> {
        match &self.transport {
            Transport::System(system) => system.exchange(question, &self.patience).await,
            Transport::Classic(classic) => classic.exchange(question, &self.patience).await,
            Transport::Https(doh) => doh.exchange(question, &self.patience).await,
        }
    }

    fn error(&self, error: ExchangeError) -> QueryError {
        let resolver = self.uri.clone();
        match error {
            ExchangeError::Timeout => QueryError::Timeout {
                resolver,
                waited: self.patience.total,
            },
            ExchangeError::Io(error) => QueryError::Transport {
                resolver,
                error: error.into(),
            },
            ExchangeError::Refused(rcode) => QueryError::Refused { resolver, rcode },
            ExchangeError::Malformed(reason) => QueryError::Malformed { resolver, reason },
        }
    }
}

/// A question on its way along CNAMEs.
struct Chain {
    owner: DomainName,
    first: DomainName,
    cnames: Vec<DomainName>,
    ttl: u32,
    protected: bool,
}

impl Chain {
    fn new(name: &DomainName, protected: bool) -> Self {
        Self {
            owner: name.clone(),
            first: name.clone(),
            cnames: Vec::new(),
            ttl: u32::MAX,
            protected,
        }
    }

    /// Goes as far as a response leads; `None` when the next name must be asked for.
    fn advance(
        &mut self,
        response: &Response,
        kind: RecordType,
    ) -> Result<Option<Answer>, QueryError> {
        let before = self.cnames.len();
        loop {
            let here = || {
                response
                    .answers
                    .iter()
                    .filter(|record| record.owner == self.owner)
            };
            let records: Vec<_> = here().filter(|record| record.kind == kind).collect();
            if !records.is_empty() {
                let ttl = records
                    .iter()
                    .map(|record| record.ttl)
                    .fold(self.ttl, u32::min);
                let rdata = records.iter().map(|record| record.rdata.clone()).collect();
                return Ok(Some(self.answer(Status::Found, rdata, ttl)));
            }
            let Some((ttl, target)) =
                here().find_map(|record| Some((record.ttl, record.cname.clone()?)))
            else {
                break;
            };
            if target == self.first
                || self.cnames.contains(&target)
                || self.cnames.len() == MAX_CNAMES
            {
                return Err(QueryError::CnameChain(self.cnames.len()));
            }
            self.ttl = self.ttl.min(ttl);
            self.cnames.push(target.clone());
            self.owner = target;
        }
        // RFC 2308 §2.1: the code speaks of the last name. §5: without SOA, keep nothing.
        let ttl = self.ttl.min(response.negative_ttl.unwrap_or(0));
        if response.rcode == 3 {
            return Ok(Some(self.answer(Status::NxDomain, Vec::new(), ttl)));
        }
        if self.cnames.len() > before && response.negative_ttl.is_none() {
            return Ok(None);
        }
        Ok(Some(self.answer(Status::NoData, Vec::new(), ttl)))
    }

    fn answer(&self, status: Status, rdata: Vec<Vec<u8>>, ttl: u32) -> Answer {
        Answer {
            status,
            owner: self.owner.clone(),
            cnames: self.cnames.clone(),
            rdata,
            ttl: Duration::from_secs(ttl.into()),
            protected: self.protected,
        }
    }
}

/// An answer that was never asked for.
fn local_answer(name: &DomainName, kind: RecordType, addresses: &[IpAddr]) -> Answer {
    let rdata: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(ip) if kind == RecordType::A => Some(ip.octets().to_vec()),
            IpAddr::V6(ip) if kind == RecordType::AAAA => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    Answer {
        status: if rdata.is_empty() {
            Status::NoData
        } else {
            Status::Found
        },
        owner: name.clone(),
        cnames: Vec::new(),
        rdata,
        ttl: Duration::ZERO,
        protected: true,
    }
}

/// An address with or without a port.
fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    Some(SocketAddr::new(bare.parse().ok()?, port))
}

/// Why a URI stands for no resolver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolverError {
    /// Neither `system` nor a URI.
    #[error("{0:?} is no resolver; use system, udp://IP, tcp://IP or https://HOST/PATH")]
    NoScheme(String),
    /// A transport that does not exist here.
    #[error("the resolver scheme {0:?} is not supported; use udp, tcp or https")]
    Scheme(String),
    /// `udp` and `tcp` need an address.
    #[error("{0:?} needs an IP address with or without a port, such as udp://192.0.2.1:53")]
    Address(String),
    /// A DoH URI that is not one.
    #[error("{uri:?} is no DNS over HTTPS resolver: {reason}")]
    Doh {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An encrypted transport needs to know whom to trust.
    #[error("{0:?} needs a TLS configuration")]
    NoTls(String),
}
