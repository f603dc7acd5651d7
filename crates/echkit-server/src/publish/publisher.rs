//! The primary server of a zone: reads records there, and replaces them (RFC 2136).

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use echkit::dns::{Resolver, Status};
use echkit_proto::dns::{
    DnsResponse, RecordType, RrsetUpdate, SignedRequest, TsigError, TsigKey, UpdateCode,
};
use echkit_proto::svcb::{DomainName, Scheme, query_name};

use crate::site_record::{SiteError, host_and_port};

use super::dns_server::DnsServer;
use super::error::PublishError;
use super::rrset::HttpsRrset;

/// How often an update is sent whose response was lost.
const TRIES: usize = 3;

/// A site whose HTTPS records are published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedSite {
    /// The host.
    pub host: DomainName,
    /// The port.
    pub port: u16,
    /// Where its records are (RFC 9460 §9.1).
    pub owner: DomainName,
}

impl PublishedSite {
    /// Reads HOST or HOST:PORT.
    ///
    /// # Errors
    ///
    /// When the text is something else.
    pub fn parse(site: &str) -> Result<Self, PublishError> {
        let (host, port) = host_and_port(site)?;
        let owner =
            query_name(Scheme::Https, &host, port).map_err(|error| SiteError::name(site, error))?;
        Ok(Self { host, port, owner })
    }
}

/// The primary server of one zone.
#[derive(Clone, Debug)]
pub struct Publisher {
    zone: DomainName,
    server: DnsServer,
}

impl Publisher {
    /// Finds the zone of `owner` at its primary server.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked, or has no zone of the name.
    pub async fn at(server: DnsServer, owner: &DomainName) -> Result<Self, PublishError> {
        for zone in ancestors(owner) {
            let response = server.query(&zone, RecordType::SOA).await?;
            let is_soa = |record: &echkit_proto::dns::RawRecord| {
                record.kind == RecordType::SOA && record.owner == zone
            };
            if response.authoritative && response.answers.iter().any(is_soa) {
                return Ok(Self { zone, server });
            }
        }
        Err(PublishError::NoZone {
            owner: owner.clone(),
            asked: server.to_string(),
        })
    }

    /// Finds the zone of `owner` and the primary server that its SOA record names.
    ///
    /// # Errors
    ///
    /// When the resolver does not know the zone, or the server's address.
    pub async fn find(
        resolver: &Resolver,
        owner: &DomainName,
        port: u16,
    ) -> Result<Self, PublishError> {
        for zone in ancestors(owner) {
            let answer = look_up(resolver, &zone, RecordType::SOA).await?;
            if answer.owner != zone {
                continue;
            }
            if let Some(primary) = answer.rdata.first().and_then(|soa| first_name(soa)) {
                let servers = dns_servers(resolver, &primary, port).await?;
                let server = servers.into_iter().next();
                let server =
                    server.ok_or_else(|| PublishError::NoServerAddress(primary.to_string()))?;
                return Ok(Self { zone, server });
            }
        }
        Err(PublishError::NoZone {
            owner: owner.clone(),
            asked: resolver.uri().to_owned(),
        })
    }

    /// The zone.
    pub fn zone(&self) -> &DomainName {
        &self.zone
    }

    /// The server.
    pub fn server(&self) -> &DnsServer {
        &self.server
    }

    /// The authoritative servers of the zone, by its NS records, at each of their addresses.
    ///
    /// # Errors
    ///
    /// When they cannot be looked up, or one has no address.
    pub async fn authoritative_servers(
        &self,
        resolver: &Resolver,
        port: u16,
    ) -> Result<Vec<DnsServer>, PublishError> {
        let response = self.server.query(&self.zone, RecordType::NS).await?;
        let mut servers = Vec::new();
        for record in response.answers {
            if record.kind != RecordType::NS || record.owner != self.zone {
                continue;
            }
            let Some(name) = first_name(&record.rdata) else {
                continue;
            };
            // A server of the zone itself is known here before any resolver knows it.
            let mut found = Vec::new();
            if name.is_within(&self.zone) {
                for kind in [RecordType::A, RecordType::AAAA] {
                    let response = self.server.query(&name, kind).await?;
                    let records = response.answers.iter();
                    let address = records.filter_map(echkit_proto::dns::RawRecord::address);
                    found.extend(address.map(|ip| server_at(ip, port, &name)));
                }
            }
            if found.is_empty() {
                found = dns_servers(resolver, &name, port).await?;
            }
            if found.is_empty() {
                return Err(PublishError::NoServerAddress(name.to_string()));
            }
            servers.extend(found);
        }
        Ok(servers)
    }

    /// The HTTPS records of `owner` as they are now.
    ///
    /// # Errors
    ///
    /// When the server does not answer with authority, or the name is an alias.
    pub async fn current(&self, owner: &DomainName) -> Result<HttpsRrset, PublishError> {
        let response = self.server.query(owner, RecordType::HTTPS).await?;
        read_rrset(&self.server, owner, &response)
    }

    /// Puts `after` in the place of `before`, if that is still what is there. A response that is
    /// lost does no harm: the record is read again, and the update sent once more if it was not
    /// made.
    ///
    /// # Errors
    ///
    /// When the server refuses, the record was changed meanwhile, or its response is not signed as
    /// it should be. Unless the error says so, the record is as it was.
    pub async fn replace(
        &self,
        owner: &DomainName,
        before: &HttpsRrset,
        after: &HttpsRrset,
        key: &TsigKey,
    ) -> Result<(), PublishError> {
        let update = RrsetUpdate {
            zone: self.zone.clone(),
            owner: owner.clone(),
            kind: RecordType::HTTPS,
            ttl: after.ttl(),
            before: before.rdata().to_vec(),
            after: after.rdata().to_vec(),
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let id = rand::random();
            let message = update
                .encode(id)
                .map_err(|_| PublishError::TooLong(owner.clone()))?;
            let request = SignedRequest::new(key, message, unix());
            let (code, lost) = match self.server.exchange(request.message()).await {
                Ok(response) => (Some(self.judge(owner, &request, &response, id)?), None),
                Err(error) => (None, Some(self.server.io(error))),
            };
            if code == Some(UpdateCode::NOERROR) {
                return Ok(());
            }
            if let Some(code) = code.filter(|code| !code.is_conflict()) {
                return Err(self.refused(owner, code));
            }
            // Lost, or another record set than expected: that may be what an earlier try made.
            let now = match self.current(owner).await {
                Ok(now) => now,
                Err(_) if lost.is_some() && tries < TRIES => continue,
                Err(error) => {
                    return Err(PublishError::Unknown {
                        owner: owner.clone(),
                        server: self.server.clone(),
                        error: Box::new(error),
                    });
                }
            };
            match (now == *after, lost) {
                (true, _) => return Ok(()),
                (false, Some(error)) if now == *before => {
                    if tries == TRIES {
                        return Err(error);
                    }
                }
                (false, _) => {
                    return Err(PublishError::Conflict {
                        owner: owner.clone(),
                        server: self.server.clone(),
                        code: code.unwrap_or(UpdateCode::NXRRSET),
                    });
                }
            }
        }
    }

    /// What a response says, when it is the server's.
    fn judge(
        &self,
        owner: &DomainName,
        request: &SignedRequest<'_>,
        response: &[u8],
        id: u16,
    ) -> Result<UpdateCode, PublishError> {
        let tsig = |error| PublishError::Tsig {
            owner: owner.clone(),
            server: self.server.clone(),
            error,
        };
        let code = UpdateCode::parse(response, id).map_err(|_| tsig(TsigError::Malformed))?;
        match request.verify(response, unix()) {
            Ok(()) => Ok(code),
            // A server may refuse before it looks at signatures. Such an answer may be forged, and
            // then it only keeps the old record.
            Err(TsigError::Unsigned) if code != UpdateCode::NOERROR && !code.is_conflict() => {
                Err(self.refused(owner, code))
            }
            Err(error) => Err(tsig(error)),
        }
    }

    fn refused(&self, owner: &DomainName, code: UpdateCode) -> PublishError {
        let way_out = match code {
            UpdateCode::REFUSED => "allow this key to update it in the server's configuration",
            UpdateCode::NOTAUTH => "give the zone's primary server",
            UpdateCode::NOTZONE => "the name is in another zone of that server",
            UpdateCode(4) => "the server has no dynamic updates",
            _ => "the server's log may say why",
        };
        PublishError::Refused {
            owner: owner.clone(),
            server: self.server.clone(),
            code,
            way_out,
        }
    }
}

/// The HTTPS records in an authoritative answer.
pub(super) fn read_rrset(
    server: &DnsServer,
    owner: &DomainName,
    response: &DnsResponse,
) -> Result<HttpsRrset, PublishError> {
    // NOERROR, and NXDOMAIN.
    if !response.authoritative || !matches!(response.rcode, 0 | 3) {
        return Err(PublishError::NotAuthoritative {
            server: server.clone(),
            owner: owner.clone(),
            rcode: response.rcode,
        });
    }
    let own = response
        .answers
        .iter()
        .filter(|record| record.owner == *owner);
    if let Some(target) = own.clone().find_map(|record| record.cname.clone()) {
        return Err(PublishError::Alias {
            owner: owner.clone(),
            target,
            kind: "CNAME",
        });
    }
    let own: Vec<_> = own
        .filter(|record| record.kind == RecordType::HTTPS)
        .collect();
    let ttl = own.first().map_or(0, |record| record.ttl);
    Ok(HttpsRrset::new(
        ttl,
        own.iter().map(|record| record.rdata.clone()).collect(),
    ))
}

/// The name and those above it, the root not included.
fn ancestors(name: &DomainName) -> Vec<DomainName> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let from = |start: usize| DomainName::from_labels(&labels[start..]).ok();
    (0..labels.len()).filter_map(from).collect()
}

/// The name at the start of the RDATA of an NS or SOA record.
fn first_name(rdata: &[u8]) -> Option<DomainName> {
    DomainName::read(&mut echkit_proto::codec::Reader::new(rdata)).ok()
}

/// The authoritative servers of the zone that `owner` is in, as the resolver knows them, at each of
/// their addresses. A server without an address is passed over.
///
/// # Errors
///
/// When the resolver does not know the zone.
pub async fn name_servers(
    resolver: &Resolver,
    owner: &DomainName,
    port: u16,
) -> Result<Vec<DnsServer>, PublishError> {
    for zone in ancestors(owner) {
        let answer = look_up(resolver, &zone, RecordType::NS).await?;
        if answer.owner != zone || answer.rdata.is_empty() {
            continue;
        }
        let mut servers = Vec::new();
        for name in answer.rdata.iter().filter_map(|ns| first_name(ns)) {
            servers.extend(dns_servers(resolver, &name, port).await?);
        }
        return Ok(servers);
    }
    Err(PublishError::NoZone {
        owner: owner.clone(),
        asked: resolver.uri().to_owned(),
    })
}

/// The DNS server `name` at each of its addresses.
///
/// # Errors
///
/// When they cannot be looked up.
pub async fn dns_servers(
    resolver: &Resolver,
    name: &DomainName,
    port: u16,
) -> Result<Vec<DnsServer>, PublishError> {
    let mut servers = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = look_up(resolver, name, kind).await?;
        let found = answer.addresses();
        servers.extend(found.map(|ip| server_at(ip, port, name)));
    }
    Ok(servers)
}

fn server_at(ip: std::net::IpAddr, port: u16, name: &DomainName) -> DnsServer {
    DnsServer::new(SocketAddr::new(ip, port)).with_name(name)
}

pub(super) async fn look_up(
    resolver: &Resolver,
    name: &DomainName,
    kind: RecordType,
) -> Result<echkit::dns::Answer, PublishError> {
    let mut answer = resolver
        .query(name, kind)
        .await
        .map_err(|error| PublishError::LookUp {
            name: name.clone(),
            error,
        })?;
    if answer.status != Status::Found {
        answer.rdata.clear();
    }
    Ok(answer)
}

fn unix() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| passed.as_secs())
}
