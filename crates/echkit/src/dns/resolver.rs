//! A resolver behind a URI, and the questions that it takes.

use core::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::svcb::DomainName;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::answer::{Answer, QueryError, RecordType, Status};
use super::cache::Cache;
use super::chain::Chain;
use super::classic::{Classic, ExchangeError, Patience, Protocol};
use super::designated::{Designation, DiscoverEncrypted};
use super::doh::Doh;
use super::doh3::Doh3;
use super::doq::Doq;
use super::dot::Dot;
use super::flight::Flights;
use super::message::{Question, Response};
use super::system::System;
use super::uri::{self, ResolverError};
use crate::clock::Clock;

/// How a resolver is talked to.
#[derive(Clone, Debug)]
pub struct ResolverOptions {
    /// Verifies the servers of encrypted transports. Its ALPN protocols are replaced.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long one question may take in all, from when it is its turn.
    pub timeout: Duration,
    /// How often a question is sent over UDP or TCP within that time, and how many connections in a
    /// row may end without any answer.
    pub tries: u32,
    /// How many octets of answers are kept while they hold, about; 0 keeps none.
    pub cache: usize,
    /// The time by which answers age.
    pub clock: Clock,
    /// Whether a resolver in the clear is asked for its encrypted form, for which
    /// [`ResolverOptions::tls`] is needed. Encrypted resolvers are what they are.
    pub discover_encrypted: DiscoverEncrypted,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            tls: None,
            timeout: Duration::from_secs(5),
            tries: 4,
            cache: 4 << 20,
            clock: Clock::default(),
            discover_encrypted: DiscoverEncrypted::Off,
        }
    }
}

/// Questions that wait for a socket are not lost; more sockets than this are not opened.
const MAX_SOCKETS: usize = 256;

/// A place to ask. Clones share connections and answers.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
    /// What is used in its place, where that is to be found out.
    designation: Option<Arc<Designation>>,
}

struct Inner {
    uri: String,
    transport: Transport,
    patience: Patience,
    /// Bounds the sockets in use, and the questions under way on a connection.
    sockets: Semaphore,
    cache: Cache,
    flights: Flights,
    /// The name of an encrypted resolver that the system's resolver is asked for.
    looked_up: Option<String>,
    /// Whose hosts file is heeded.
    hosts: Option<System>,
}

/// Every way to get a question answered. A new one needs a variant, a scheme and an `exchange`.
pub(super) enum Transport {
    System(System),
    Classic(Classic),
    Tls(Dot),
    Https(Doh),
    Http3(Box<Doh3>),
    Quic(Box<Doq>),
    /// Nobody may be asked, for this reason.
    Nobody(String),
}

impl Transport {
    fn is_protected(&self) -> bool {
        match self {
            Self::System(_) | Self::Classic(_) => false,
            Self::Tls(_) | Self::Https(_) | Self::Http3(_) | Self::Quic(_) | Self::Nobody(_) => {
                true
            }
        }
    }

    /// How many sockets one question may take.
    fn sockets(&self, patience: &Patience) -> usize {
        match self {
            Self::System(system) => system
                .servers()
                .map_or(1, |servers| servers.sockets(patience)),
            Self::Classic(classic) => classic.sockets(patience),
            // They share one connection; a question is a stream or an id on it.
            Self::Tls(_) | Self::Https(_) | Self::Http3(_) | Self::Quic(_) | Self::Nobody(_) => 1,
        }
    }
}

impl Resolver {
    /// The host's own resolver.
    pub fn system() -> Self {
        let transport = Transport::System(System::default());
        Inner::new("system".into(), transport, &ResolverOptions::default()).into()
    }

    /// The resolver that a URI stands for: `system`, `udp://192.0.2.1:53`, `tcp://[2001:db8::1]`,
    /// `tls://dns.example` (DNS over TLS), `quic://dns.example` (DNS over QUIC),
    /// `https://dns.example/dns-query` (DNS over HTTPS, which is HTTP/2) or
    /// `h3://dns.example/dns-query` (the same over HTTP/3).
    ///
    /// The encrypted ones take the addresses of their host after a `#`
    /// (`tls://dns.example#192.0.2.1,2001:db8::1`); without, the system's resolver is asked, and
    /// the network learns which resolver it is.
    pub fn from_uri(uri: &str, options: &ResolverOptions) -> Result<Self, ResolverError> {
        let (transport, looked_up) = uri::parse(uri, options)?;
        let discovers = options.discover_encrypted != DiscoverEncrypted::Off;
        let designation = match discovers && !transport.is_protected() {
            true if options.tls.is_none() => return Err(ResolverError::NoTls(uri.to_owned())),
            true => Some(Arc::new(Designation::new(options))),
            false => None,
        };
        let mut inner = Inner::new(uri.into(), transport, options);
        inner.looked_up = looked_up;
        Ok(Self {
            inner: Arc::new(inner),
            designation,
        })
    }

    /// What questions go to by now: the encrypted form of this resolver, where
    /// [`ResolverOptions::discover_encrypted`] has one found, or else this one. It stays what it
    /// is; ask again for each piece of work.
    pub async fn in_use(&self) -> Self {
        match &self.designation {
            None => self.clone(),
            Some(designation) => designation.in_use(&self.itself()).await,
        }
    }

    /// Whether a URI stands for an encrypted transport, for which
    /// [`ResolverOptions::tls`] is needed.
    pub fn is_encrypted_uri(uri: &str) -> bool {
        uri.split_once("://")
            .is_some_and(|(scheme, _)| uri::ENCRYPTED.contains(&scheme))
    }

    /// The URI that the resolver was made from.
    pub fn uri(&self) -> &str {
        &self.inner.uri
    }

    /// Whether what goes over this transport is hidden from the network and safe from it.
    ///
    /// Where the encrypted form is to be found this speaks of what was used last; that of
    /// [`Resolver::in_use`] does not change.
    pub fn is_protected(&self) -> bool {
        let last = self.designation.as_ref().and_then(|known| known.last());
        let used = last.as_ref().unwrap_or(self);
        used.inner.transport.is_protected()
    }

    /// The name of this resolver, where it is looked up in the clear for want of an address.
    pub fn looked_up_name(&self) -> Option<&str> {
        self.inner.looked_up.as_deref()
    }

    /// Asks for the records of one type at one name, and follows CNAMEs.
    ///
    /// An answer is kept for as long as it holds, a negative one for as long as its SOA record says
    /// (RFC 2308 §5), and the same question is asked once at a time. A failure is never kept.
    ///
    /// `Ok` means that the resolver knows, be it that there is nothing; `Err` that nobody can say.
    pub async fn query(&self, name: &DomainName, kind: RecordType) -> Result<Answer, QueryError> {
        match &self.designation {
            None => self.query_itself(name, kind).await,
            Some(_) => self.in_use().await.query_itself(name, kind).await,
        }
    }

    /// Asks this resolver, whatever its encrypted form.
    pub(super) async fn query_itself(
        &self,
        name: &DomainName,
        kind: RecordType,
    ) -> Result<Answer, QueryError> {
        if let Some(addresses) = self.known_here(name, kind) {
            return Ok(local_answer(name, kind, &addresses));
        }
        if let Transport::System(system) = &self.inner.transport
            && let Ok(now) = system.servers()
        {
            self.inner.cache.asks(now.servers);
        }
        let question = Question {
            name: name.clone(),
            kind,
        };
        if let Some(answer) = self.inner.cache.answer(&question) {
            return Ok(answer);
        }
        let ask = || {
            let (inner, question) = (Arc::clone(&self.inner), question.clone());
            async move { inner.resolve(&question).await }
        };
        self.inner.flights.join(&question, ask).await
    }

    /// Forgets every answer that was kept.
    pub fn clear_cache(&self) {
        self.inner.cache.clear();
        if let Some(designation) = &self.designation {
            designation.forget();
        }
    }

    /// This resolver, whatever its encrypted form.
    fn itself(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            designation: None,
        }
    }

    /// The servers that are asked in the clear; none where that cannot be said.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        match &self.inner.transport {
            Transport::System(system) => system.servers().map(|now| now.servers),
            Transport::Classic(classic) => Ok(classic.servers.clone()),
            _ => Ok(Vec::new()),
        }
        .unwrap_or_default()
    }

    /// One of its servers alone, in the clear.
    pub(super) fn alone(&self, server: SocketAddr, options: &ResolverOptions) -> Self {
        let (scheme, protocol) = match &self.inner.transport {
            Transport::Classic(classic) if classic.protocol == Protocol::Tcp => {
                ("tcp", Protocol::Tcp)
            }
            _ => ("udp", Protocol::Udp),
        };
        let classic = Classic {
            servers: vec![server],
            protocol,
        };
        let transport = Transport::Classic(classic);
        Inner::new(format!("{scheme}://{server}"), transport, options).into()
    }

    /// An encrypted resolver in place of this one, with the same hosts file.
    pub(super) fn replaced_by(
        &self,
        uri: &str,
        options: &ResolverOptions,
    ) -> Result<Self, ResolverError> {
        let (transport, looked_up) = uri::parse(uri, options)?;
        let mut inner = Inner::new(uri.into(), transport, options);
        inner.looked_up = looked_up;
        inner.hosts.clone_from(&self.inner.hosts);
        Ok(inner.into())
    }

    /// This one, which may not be asked.
    pub(super) fn refusing(&self, reason: String) -> Self {
        let options = ResolverOptions::default();
        let mut inner = Inner::new(self.uri().into(), Transport::Nobody(reason), &options);
        inner.hosts.clone_from(&self.inner.hosts);
        inner.into()
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
        match &self.inner.hosts {
            Some(system) if [RecordType::A, RecordType::AAAA].contains(&kind) => {
                Some(system.hosts(name)).filter(|addresses| !addresses.is_empty())
            }
            _ => None,
        }
    }
}

impl From<Inner> for Resolver {
    fn from(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
            designation: None,
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
            tries: options.tries.max(1),
        };
        let hosts = match &transport {
            Transport::System(system) => Some(system.clone()),
            _ => None,
        };
        Self {
            uri,
            transport,
            patience,
            sockets: Semaphore::new(MAX_SOCKETS),
            cache: Cache::new(options.cache, options.clock.clone()),
            flights: Flights::default(),
            looked_up: None,
            hosts,
        }
    }

    /// Asks along CNAMEs to their end, and keeps the answer.
    async fn resolve(&self, question: &Question) -> Result<Answer, QueryError> {
        let mut chain = Chain::new(&question.name, self.transport.is_protected());
        loop {
            let next = Question {
                name: chain.owner.clone(),
                kind: question.kind,
            };
            let response = self
                .exchange(&next)
                .await
                .map_err(|error| self.error(error))?;
            if response.referral {
                let error = ExchangeError::Malformed("a referral is no answer");
                return Err(self.error(error));
            }
            // Without an answer the chain left what this server wanted to tell; ask where it leads.
            if let Some(answer) = chain.advance(&response, question.kind)? {
                self.cache.keep(question, &answer);
                return Ok(answer);
            }
        }
    }

    async fn exchange(&self, question: &Question) -> Result<Response, ExchangeError> {
        // Its time begins with its turn.
        let sockets = self.transport.sockets(&self.patience).min(MAX_SOCKETS);
        let sockets = u32::try_from(sockets).unwrap_or(1);
        let _turn = self.sockets.acquire_many(sockets).await;
        // Boxed, so that those who wait for their turn do not hold the memory that it takes.
        Box::pin(self.exchange_now(question)).await
    }

    async fn exchange_now(&self, question: &Question) -> Result<Response, ExchangeError> {
        let patience = &self.patience;
        match &self.transport {
            Transport::System(system) => system.exchange(question, patience).await,
            Transport::Classic(classic) => classic.exchange(question, patience).await,
            Transport::Tls(dot) => dot.exchange(question, patience).await,
            Transport::Https(doh) => doh.exchange(question, patience).await,
            Transport::Http3(doh3) => doh3.exchange(question, patience).await,
            Transport::Quic(doq) => doq.exchange(question, patience).await,
            Transport::Nobody(reason) => Err(io::Error::other(reason.clone()).into()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn whatever_takes_the_place_of_the_system_heeds_its_hosts_file() {
        let dir = tempfile::tempdir().unwrap();
        let system = System {
            resolv_conf: dir.path().join("resolv.conf"),
            hosts: dir.path().join("hosts"),
        };
        std::fs::write(&system.resolv_conf, "nameserver 127.0.0.9\n").unwrap();
        std::fs::write(&system.hosts, "192.0.2.7 a.test\n").unwrap();
        let options = ResolverOptions::default();
        let transport = Transport::System(system);
        let system: Resolver = Inner::new("system".into(), transport, &options).into();
        assert_eq!(system.servers(), ["127.0.0.9:53".parse().unwrap()]);
        let other = system.replaced_by("udp://127.0.0.9:9", &options).unwrap();
        let nobody = system.refusing("none is known".to_owned());
        let name = "a.test".parse().unwrap();
        for resolver in [other, nobody.clone()] {
            let answer = resolver.query(&name, RecordType::A).await.unwrap();
            assert!(answer.addresses().eq([IpAddr::from([192, 0, 2, 7])]));
        }
        let error = nobody.query(&name, RecordType::HTTPS).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot ask system: none is known");
    }
}
