//! The encrypted form of a resolver, as the resolver itself designates it (RFC 9462): a resolver
//! around a resolver.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echkit_proto::svcb::{
    DESIGNATION_NAME, DesignatedResolver, DomainName, Rrset, designated_resolvers,
};
use tokio::time::timeout;

use super::answer::{QueryError, RecordType, Status};
use super::direct::Direct;
use super::flight::Flights;
use super::options::{DiscoverEncrypted, ResolverOptions};
use crate::clock::Moment;
use crate::proxy::ProxyEnvironment;

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
            options: ResolverOptions {
                // Like the resolver in the clear, and mostly in the same network.
                proxies: ProxyEnvironment::default(),
                ..options.clone()
            },
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
                "a designated encrypted resolver (RFC 9462) is required and unavailable: {reason}"
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
        let name: DomainName = DESIGNATION_NAME.parse().map_err(|_| Lacking {
            reason: DESIGNATION_NAME.to_owned(),
            holds: MAX_HOLD,
        })?;
        let answer = match asked.query(&name, RecordType::SVCB).await {
            Ok(answer) if answer.status == Status::Found => answer,
            Ok(answer) => return Err(lacking("designates none".to_owned(), answer.ttl)),
            Err(error) => {
                return Err(Lacking {
                    reason: error.to_string(),
                    // A caller that requires it needs to learn when that has changed.
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
        let candidates = designated_resolvers(&set, &mut rand::rng());
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
        candidate: &DesignatedResolver,
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
        let name: DomainName = DESIGNATION_NAME
            .parse()
            .map_err(|_| DESIGNATION_NAME.to_owned())?;
        match resolver.query(&name, RecordType::SVCB).await {
            // It is there, and may think of the question what it likes.
            Ok(_) | Err(QueryError::Refused { .. }) => Ok(resolver),
            Err(error) => Err(error.to_string()),
        }
    }
}
