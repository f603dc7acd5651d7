//! The encrypted form of a resolver, as the resolver itself designates it (RFC 9462): a resolver
//! around a resolver.

use core::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echkit_proto::svcb::{DomainName, Rrset, SvcParamKey};
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::time::timeout;

use super::answer::{QueryError, RecordType, Status};
use super::direct::Direct;
use super::flight::Flights;
use super::options::{DiscoverEncrypted, ResolverOptions};
use crate::clock::Moment;
use crate::origin::Host;

/// What a resolver in the clear is asked for its encrypted forms (RFC 9462 §4).
const NAME: &str = "_dns.resolver.arpa";
/// More designations than this are not tried.
const MAX_CANDIDATES: usize = 8;
/// What was found, or not, holds for no less than this: RFC 9462 §4.2 wants no question for each
/// question.
const MIN_HOLD: Duration = Duration::from_secs(60);
/// And for no longer.
const MAX_HOLD: Duration = Duration::from_secs(24 * 3600);

/// A resolver in the clear, and its encrypted form once that is found.
pub(super) struct Designated {
    plain: Arc<Direct>,
    /// For questions about the encrypted form, and for the form itself.
    options: ResolverOptions,
    known: Mutex<Option<Known>>,
    /// By the servers that are asked.
    finding: Flights<Vec<SocketAddr>, Arc<Direct>>,
}

struct Known {
    /// Who said so.
    servers: Vec<SocketAddr>,
    since: Moment,
    holds: Duration,
    /// The encrypted form, or what is used for want of one.
    used: Arc<Direct>,
}

/// Why a server has no encrypted form that can be used, and for how long that holds.
struct Lacking {
    reason: String,
    holds: Duration,
}

impl Designated {
    pub(super) fn new(plain: Arc<Direct>, options: &ResolverOptions) -> Self {
        Self {
            plain,
            options: options.clone(),
            known: Mutex::default(),
            finding: Flights::default(),
        }
    }

    /// What is used in place of the resolver in the clear. It may be that one itself.
    pub(super) async fn in_use(self: &Arc<Self>) -> Arc<Direct> {
        let servers = self.plain.servers().await;
        if let Some(used) = self.known(&servers) {
            return used;
        }
        let this = Arc::clone(self);
        // A task of its own: a caller that leaves does not send the next one back to the start.
        let finding = tokio::spawn(async move {
            let find = || {
                let (this, servers) = (Arc::clone(&this), servers.clone());
                async move { this.find(servers).await }
            };
            this.finding.join(&servers, find).await
        });
        match finding.await {
            Ok(used) => used,
            Err(error) => self.without(&error.to_string()),
        }
    }

    /// What was last in use, however long ago.
    pub(super) fn last(&self) -> Option<Arc<Direct>> {
        let known = self.lock();
        known.as_ref().map(|known| Arc::clone(&known.used))
    }

    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, servers: &[SocketAddr]) -> Option<Arc<Direct>> {
        let now = self.options.clock.now();
        let known = self.lock();
        // Of other servers, in another network, nothing is known.
        let known = known.as_ref().filter(|known| known.servers == servers)?;
        (now.since(known.since) < known.holds).then(|| Arc::clone(&known.used))
    }

    async fn find(&self, servers: Vec<SocketAddr>) -> Arc<Direct> {
        // It may have become known just before.
        if let Some(used) = self.known(&servers) {
            return used;
        }
        let since = self.options.clock.now();
        let mut reasons = Vec::new();
        let mut holds = MAX_HOLD;
        let mut found = None;
        for server in &servers {
            match self.designated_by(*server).await {
                Ok((resolver, ttl)) => {
                    (found, holds) = (Some(resolver), ttl);
                    break;
                }
                Err(lacking) => {
                    reasons.push(lacking.reason);
                    holds = holds.min(lacking.holds);
                }
            }
        }
        let used = found.unwrap_or_else(|| self.without(&reasons.join("; ")));
        *self.lock() = Some(Known {
            servers,
            since,
            holds,
            used: Arc::clone(&used),
        });
        used
    }

    /// What is used where no encrypted form is.
    fn without(&self, reason: &str) -> Arc<Direct> {
        match self.options.discover_encrypted {
            DiscoverEncrypted::Require => Arc::new(self.plain.refusing(format!(
                "an encrypted form of it is required (RFC 9462), and there is none: {reason}"
            ))),
            _ => Arc::clone(&self.plain),
        }
    }

    /// The first encrypted form that a server designates and that can be verified.
    async fn designated_by(&self, server: SocketAddr) -> Result<(Arc<Direct>, Duration), Lacking> {
        // Question and connections together take no longer than any question.
        let half = self.options.timeout / 2;
        let options = ResolverOptions {
            timeout: half,
            ..self.options.clone()
        };
        let asked = Arc::new(self.plain.alone(server, &options));
        let lacking = |reason: String, ttl: Duration| Lacking {
            reason: format!("{} {reason}", asked.uri()),
            holds: ttl.clamp(MIN_HOLD, MAX_HOLD),
        };
        let name: DomainName = NAME.parse().map_err(|_| Lacking {
            reason: NAME.to_owned(),
            holds: MAX_HOLD,
        })?;
        let answer = match asked.query(&name, RecordType::SVCB).await {
            Ok(answer) if answer.status == Status::Found => answer,
            Ok(answer) => return Err(lacking("designates none".to_owned(), answer.ttl)),
            Err(error) => {
                return Err(Lacking {
                    reason: error.to_string(),
                    // Whoever requires it wants to know when that has changed.
                    holds: match self.options.discover_encrypted {
                        DiscoverEncrypted::Require => Duration::ZERO,
                        _ => MIN_HOLD,
                    },
                });
            }
        };
        let ttl = answer.ttl;
        let set = Rrset::parse(answer.owner, &answer.rdata)
            .map_err(|error| lacking(format!("designates in malformed records: {error}"), ttl))?;
        let candidates = candidates(&set, &mut rand::rng());
        let share = half / u32::try_from(candidates.len()).unwrap_or(1).max(1);
        let mut reason = "designates none that can be used".to_owned();
        for candidate in candidates {
            match timeout(share, self.verified(&candidate, server, &asked)).await {
                Ok(Ok(resolver)) => return Ok((resolver, ttl.clamp(MIN_HOLD, MAX_HOLD))),
                Ok(Err(why_not)) => reason = format!("designates {candidate}: {why_not}"),
                Err(_) => reason = format!("designates {candidate}, which does not answer"),
            }
        }
        Err(lacking(reason, ttl))
    }

    /// The resolver behind a designation, once it has answered under a certificate for the address
    /// of the server in the clear.
    async fn verified(
        &self,
        candidate: &Candidate,
        server: SocketAddr,
        asked: &Arc<Direct>,
    ) -> Result<Arc<Direct>, String> {
        let mut addresses = candidate.hints.clone();
        if addresses.is_empty() {
            let ask = |kind| asked.query(&candidate.target, kind);
            let (v6, v4) = tokio::join!(ask(RecordType::AAAA), ask(RecordType::A));
            let answers = [&v6, &v4].into_iter().flatten();
            addresses = answers.flat_map(|answer| answer.addresses()).collect();
            match (addresses.is_empty(), v6, v4) {
                (true, Err(error), _) | (true, _, Err(error)) => return Err(error.to_string()),
                (true, ..) => return Err("it has no address".to_owned()),
                (false, ..) => {}
            }
        }
        // §4.2 wants the certificate to be good for this address, and §6.3 the URI of a DoH server
        // to have it for a host; TLS shows no name then. Every later connection is checked alike.
        let uri = candidate.uri(server.ip(), &addresses);
        let resolver = self
            .plain
            .replaced_by(&uri, &self.options)
            .map_err(|error| error.to_string())?;
        let resolver = Arc::new(resolver);
        let name: DomainName = NAME.parse().map_err(|_| NAME.to_owned())?;
        match resolver.query(&name, RecordType::SVCB).await {
            // It is there, and may think of the question what it likes.
            Ok(_) | Err(QueryError::Refused { .. }) => Ok(resolver),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A protocol at a place that a server designates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    target: DomainName,
    port: u16,
    hints: Vec<IpAddr>,
    protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Protocol {
    Tls,
    Quic,
    /// With the path.
    Https(String),
}

impl Candidate {
    /// As [`Resolver::from_uri`] takes it.
    fn uri(&self, server: IpAddr, addresses: &[IpAddr]) -> String {
        let host = Host::Ip(server);
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(",");
        let (scheme, path) = match &self.protocol {
            Protocol::Tls => ("tls", ""),
            Protocol::Quic => ("quic", ""),
            Protocol::Https(path) => ("https", path.as_str()),
        };
        format!("{scheme}://{host}:{}{path}#{addresses}", self.port)
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tls => "DNS over TLS",
            Protocol::Quic => "DNS over QUIC",
            Protocol::Https(_) => "DNS over HTTPS",
        };
        write!(f, "{protocol} at {} port {}", self.target, self.port)
    }
}

/// What can be used of a designation, in the order in which to try it.
fn candidates(set: &Rrset, rng: &mut impl Rng) -> Vec<Candidate> {
    // RFC 9460 §2.4.1: an alias beside services wins, and one here leads nowhere.
    if set.records.iter().any(|record| record.is_alias()) {
        return Vec::new();
    }
    let mut records: Vec<_> = set.records.iter().collect();
    records.shuffle(rng);
    // Stable, so that equals stay shuffled.
    records.sort_by_key(|record| record.priority);
    let mut candidates = Vec::new();
    for record in records {
        let params = &record.params;
        let understood = |key: &SvcParamKey| key.is_known() && *key != SvcParamKey::ECH;
        // RFC 9462 §4: `.` names nobody at a name that nobody owns.
        if record.target.is_root() || !params.mandatory.iter().all(understood) {
            continue;
        }
        let hints6 = params.ipv6hint.iter().copied().map(IpAddr::V6);
        let hints4 = params.ipv4hint.iter().copied().map(IpAddr::V4);
        let hints: Vec<IpAddr> = hints6.chain(hints4).collect();
        // RFC 9461 §4.1: there is no default protocol.
        for alpn in &params.alpn {
            let (protocol, port) = match alpn.as_slice() {
                b"dot" => (Protocol::Tls, 853),
                b"doq" => (Protocol::Quic, 853),
                b"h2" => match params.dohpath.as_deref().and_then(path) {
                    Some(path) => (Protocol::Https(path), 443),
                    None => continue,
                },
                _ => continue,
            };
            candidates.push(Candidate {
                target: record.target.clone(),
                port: params.port.unwrap_or(port),
                hints: hints.clone(),
                protocol,
            });
        }
    }
    candidates.retain(|candidate| candidate.port != 0);
    candidates.truncate(MAX_CANDIDATES);
    candidates
}

/// The path that questions are posted to: a template without its variable (RFC 8484 §4.1.1,
/// RFC 9461 §5). `None` for templates that say more.
fn path(template: &str) -> Option<String> {
    let path = template.replace("{?dns}", "").replace("{&dns}", "");
    let simple = path.starts_with('/') && !path.contains(['{', '}', '#']);
    (simple && path != template).then_some(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// The URIs for a server at 192.0.2.1.
    fn uris(records: &[&str]) -> Vec<String> {
        let set = Rrset {
            owner: NAME.parse().unwrap(),
            records: records.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let server = "192.0.2.1".parse().unwrap();
        candidates(&set, &mut StdRng::seed_from_u64(1))
            .iter()
            .map(|candidate| candidate.uri(server, &candidate.hints))
            .collect()
    }

    #[test]
    fn designations_become_uris_in_order_of_priority() {
        let records = [
            "3 dns.test. alpn=h2,h3 dohpath=/dns-query{?dns} ipv4hint=192.0.2.9",
            "1 dns.test. alpn=doq ipv4hint=192.0.2.9 ipv6hint=2001:db8::9",
            "2 dns.test. alpn=dot port=8853 mandatory=alpn,port ipv4hint=192.0.2.9",
        ];
        assert_eq!(
            uris(&records),
            [
                "quic://192.0.2.1:853#2001:db8::9,192.0.2.9",
                "tls://192.0.2.1:8853#192.0.2.9",
                "https://192.0.2.1:443/dns-query#192.0.2.9",
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_is_passed_over() {
        for record in [
            // Names nobody.
            "1 . alpn=dot",
            "1 dns.test. alpn=h2",
            "1 dns.test. alpn=h2 dohpath=/q{?dns,other}",
            "1 dns.test. alpn=h2 dohpath=/q",
            "1 dns.test. alpn=coap",
            "1 dns.test. alpn=dot mandatory=key700 key700=x",
            "1 dns.test. alpn=dot port=0",
            "1 dns.test. port=853",
        ] {
            assert_eq!(uris(&[record]), [""; 0], "{record}");
            let good = "2 dns.test. alpn=dot ipv4hint=192.0.2.9";
            assert_eq!(uris(&[record, good]), ["tls://192.0.2.1:853#192.0.2.9"]);
        }
        assert_eq!(uris(&["0 dns.test.", "1 dns.test. alpn=dot"]), [""; 0]);
    }
}
