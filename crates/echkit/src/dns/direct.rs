//! A resolver as it stands: one transport, what it answered, and what is asked of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::dns::{CnameChain, DnsResponse, EndlessCnames, Question};
use echkit_proto::svcb::DomainName;
use tokio::sync::Semaphore;

use super::answer::{Answer, QueryError, RecordType, Status};
use super::bootstrap::is_localhost;
use super::cache::Cache;
use super::classic::{Classic, Protocol};
use super::exchange::{ExchangeError, Patience};
use super::flight::Flights;
use super::network::Network;
use super::options::ResolverOptions;
use super::system::System;
use super::transport::Transport;
use super::uri::{self, ResolverError};
use crate::origin::Host;
use crate::proxy::Proxy;

/// Questions that wait for a socket are not lost; more sockets than this are not opened.
const MAX_SOCKETS: usize = 256;

/// A resolver as it stands, whatever it may designate.
pub(super) struct Direct {
    uri: String,
    transport: Transport,
    patience: Patience,
    /// Bounds the sockets in use, and the questions under way on a connection.
    sockets: Semaphore,
    cache: Cache,
    /// By the number of the network and the question.
    flights: Flights<(u64, Question), Result<Answer, QueryError>>,
    /// The name of an encrypted resolver that the system's resolver is asked for.
    looked_up: Option<String>,
    /// The host that is asked; `None` where the system says which.
    host: Option<Host>,
    /// The proxy that it is reached through.
    proxy: Option<Proxy>,
    /// The name of that proxy, where the system's resolver is asked for it.
    proxy_looked_up: Option<String>,
    /// The hosts file that is used.
    hosts: Option<System>,
}

impl Direct {
    pub(super) fn new(uri: String, transport: Transport, options: &ResolverOptions) -> Self {
        let patience = options.patience();
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
            host: None,
            proxy: None,
            proxy_looked_up: None,
            hosts,
        }
    }

    pub(super) fn from_uri(uri: &str, options: &ResolverOptions) -> Result<Self, ResolverError> {
        let parsed = uri::parse(uri, options)?;
        Ok(Self {
            looked_up: parsed.looked_up,
            host: parsed.host,
            proxy: parsed.proxy,
            proxy_looked_up: parsed.proxy_looked_up,
            ..Self::new(parsed.uri, parsed.transport, options)
        })
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    pub(super) fn is_protected(&self) -> bool {
        self.transport.is_protected()
    }

    pub(super) fn looked_up(&self) -> Option<&str> {
        self.looked_up.as_deref()
    }

    pub(super) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    pub(super) fn proxy_looked_up(&self) -> Option<&str> {
        self.proxy_looked_up.as_deref()
    }

    /// The servers that are asked in the clear; none where that cannot be said.
    pub(super) async fn servers(&self) -> Vec<SocketAddr> {
        self.transport.servers().await
    }

    pub(super) fn forget(&self) {
        self.cache.clear();
    }

    /// One of its servers alone, in the clear.
    pub(super) fn alone(&self, server: SocketAddr, options: &ResolverOptions) -> Self {
        let (scheme, protocol) = match &self.transport {
            Transport::Classic(classic) if classic.protocol == Protocol::Tcp => {
                ("tcp", Protocol::Tcp)
            }
            _ => ("udp", Protocol::Udp),
        };
        let transport = Transport::Classic(Classic::new(vec![server], protocol));
        Self::new(format!("{scheme}://{server}"), transport, options)
    }

    /// An encrypted resolver in place of this one, with the same hosts file.
    pub(super) fn replaced_by(
        &self,
        uri: &str,
        options: &ResolverOptions,
    ) -> Result<Self, ResolverError> {
        Ok(Self {
            hosts: self.hosts.clone(),
            ..Self::from_uri(uri, options)?
        })
    }

    /// This one, which may not be asked.
    pub(super) fn refusing(&self, reason: String) -> Self {
        let options = ResolverOptions::default();
        Self {
            hosts: self.hosts.clone(),
            ..Self::new(self.uri.clone(), Transport::Refused(reason), &options)
        }
    }

    pub(super) async fn query(
        self: &Arc<Self>,
        name: &DomainName,
        kind: RecordType,
    ) -> Result<Answer, QueryError> {
        if let Some(addresses) = self.known_here(name, kind).await {
            return Ok(local_answer(name, kind, &addresses));
        }
        let era = match self.is_protected() {
            // What is authentic in one network is so in the next.
            true => 0,
            false => self.cache.enter(Network::towards(self.servers().await)),
        };
        let question = Question {
            name: name.clone(),
            kind,
        };
        if let Some(outcome) = self.cache.outcome(&question) {
            tracing::debug!(kind = %kind, "DNS answer from the cache");
            return outcome;
        }
        let key = (era, question);
        let ask = || {
            let (this, (era, question)) = (Arc::clone(self), key.clone());
            async move {
                tracing::debug!(kind = %question.kind, resolver = this.uri, "DNS query");
                let outcome = this.resolve(&question).await;
                log_outcome(question.kind, &outcome);
                // A connection that did not answer is replaced, and the next one may do.
                if outcome.is_ok() || !this.is_protected() {
                    this.cache.keep(era, &question, &outcome);
                }
                outcome
            }
        };
        self.flights.join(&key, ask).await
    }

    /// Whether the addresses of a name are known without asking a server.
    pub(super) async fn knows_addresses(&self, name: &DomainName) -> bool {
        self.known_here(name, RecordType::A).await.is_some()
    }

    /// Addresses for which no server is asked.
    async fn known_here(&self, name: &DomainName, kind: RecordType) -> Option<Vec<IpAddr>> {
        // RFC 6761 §6.3: no query is sent, always loopback.
        if is_localhost(name) {
            return Some(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        // The hosts file says all that there is about the addresses of its names, and nothing
        // about other records.
        match &self.hosts {
            Some(system) if [RecordType::A, RecordType::AAAA].contains(&kind) => {
                Some(system.hosts(name).await).filter(|addresses| !addresses.is_empty())
            }
            _ => None,
        }
    }

    /// Asks along CNAMEs to their end.
    async fn resolve(&self, question: &Question) -> Result<Answer, QueryError> {
        let mut chain = CnameChain::new(&question.name);
        let mut authentic_data = true;
        loop {
            let next = Question {
                name: chain.owner().clone(),
                kind: question.kind,
            };
            let response = self
                .exchange(&next)
                .await
                .map_err(|error| self.error(error))?;
            authentic_data &= response.authentic_data;
            if response.referral {
                let error = ExchangeError::Malformed("a referral, not an answer");
                return Err(self.error(error));
            }
            // Without an answer the chain left what this server wanted to tell; ask where it leads.
            let outcome = chain
                .advance(&response, question.kind)
                .map_err(|EndlessCnames(links)| QueryError::CnameChain(links))?;
            if let Some(outcome) = outcome {
                return Ok(Answer::new(outcome, self.is_protected(), authentic_data));
            }
        }
    }

    async fn exchange(&self, question: &Question) -> Result<DnsResponse, ExchangeError> {
        // Its time begins with its turn.
        let sockets = self
            .transport
            .sockets(&self.patience)
            .await
            .min(MAX_SOCKETS);
        let sockets = u32::try_from(sockets).unwrap_or(1);
        let _turn = self.sockets.acquire_many(sockets).await;
        // Boxed, so that those who wait for their turn do not hold the memory that it takes.
        Box::pin(self.transport.exchange(question, &self.patience)).await
    }

    fn error(&self, error: ExchangeError) -> QueryError {
        let resolver = self.uri.clone();
        match error {
            ExchangeError::Timeout => QueryError::Timeout {
                resolver,
                waited: self.patience.total,
            },
            ExchangeError::Io(error) => QueryError::Transport { resolver, error },
            ExchangeError::Refused(rcode) => QueryError::Refused { resolver, rcode },
            ExchangeError::Malformed(reason) => QueryError::Malformed { resolver, reason },
        }
    }
}

/// The name is in no event: it is what ECH hides.
fn log_outcome(kind: RecordType, outcome: &Result<Answer, QueryError>) {
    match outcome {
        Ok(answer) => tracing::debug!(
            kind = %kind,
            status = ?answer.status,
            records = answer.rdata.len(),
            ttl = answer.ttl.as_secs(),
            "DNS answer"
        ),
        Err(error) => tracing::debug!(kind = %kind, %error, "DNS query failed"),
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
        authentic_data: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn whatever_takes_the_place_of_the_system_heeds_its_hosts_file() {
        let dir = tempfile::tempdir().unwrap();
        let (resolv_conf, hosts) = (dir.path().join("resolv.conf"), dir.path().join("hosts"));
        std::fs::write(&resolv_conf, "nameserver 127.0.0.9\n").unwrap();
        std::fs::write(&hosts, "192.0.2.7 a.test\n").unwrap();
        let options = ResolverOptions::default();
        let transport = Transport::System(System::new(resolv_conf, hosts));
        let system = Direct::new("system".into(), transport, &options);
        assert_eq!(system.servers().await, ["127.0.0.9:53".parse().unwrap()]);
        let other = Arc::new(system.replaced_by("udp://127.0.0.1:9", &options).unwrap());
        let refusing = Arc::new(system.refusing("none is known".to_owned()));
        let name = "a.test".parse().unwrap();
        for resolver in [other, Arc::clone(&refusing)] {
            assert!(resolver.knows_addresses(&name).await);
            assert!(!resolver.knows_addresses(&"b.test".parse().unwrap()).await);
            let answer = resolver.query(&name, RecordType::A).await.unwrap();
            assert!(answer.addresses().eq([IpAddr::from([192, 0, 2, 7])]));
        }
        let error = refusing.query(&name, RecordType::HTTPS).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot query system: none is known");
    }
}
