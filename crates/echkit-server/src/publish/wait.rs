//! Until servers and resolvers show what was published.

use std::time::Duration;

use echkit::dns::Resolver;
use echkit_proto::dns::RecordType;
use echkit_proto::svcb::DomainName;
use tokio::time::{Instant, sleep, timeout};

use super::dns_server::DnsServer;
use super::error::PublishError;
use super::publisher::{look_up, read_rrset};
use super::rrset::HttpsRrset;

/// How long it is until they are asked again: at first, and at the most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Who has to show a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WaitFor {
    /// An authoritative server.
    Server(DnsServer),
    /// A resolver, which should keep no answers itself.
    Resolver(Resolver),
}

impl WaitFor {
    /// By its address, or its URI.
    pub fn name(&self) -> String {
        match self {
            Self::Server(server) => server.to_string(),
            Self::Resolver(resolver) => resolver.uri().to_owned(),
        }
    }

    async fn seen(&self, owner: &DomainName) -> Result<HttpsRrset, PublishError> {
        match self {
            Self::Server(server) => {
                let response = server.query(owner, RecordType::HTTPS).await?;
                read_rrset(server, owner, &response)
            }
            Self::Resolver(resolver) => {
                let answer = look_up(resolver, owner, RecordType::HTTPS).await?;
                Ok(HttpsRrset::new(0, answer.rdata))
            }
        }
    }
}

/// Asks until all show `records`, and no longer than `limit`.
///
/// # Errors
///
/// When some do not show them by then; the error names each, and what was seen there last.
pub async fn wait_until_shown(
    owner: &DomainName,
    records: &HttpsRrset,
    everyone: Vec<WaitFor>,
    limit: Duration,
) -> Result<(), PublishError> {
    let end = Instant::now().checked_add(limit);
    let mut pause = PAUSE.0;
    let mut waiting = everyone;
    loop {
        let left = end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        let seen = waiting.iter().map(|one| timeout(left, one.seen(owner)));
        let seen = futures_util::future::join_all(seen).await;
        let mut lagging = Vec::new();
        let mut still = Vec::new();
        for (one, seen) in waiting.into_iter().zip(seen) {
            match seen {
                Ok(Ok(seen)) if seen == *records => {}
                Ok(Ok(seen)) if seen.is_empty() => {
                    lagging.push(format!("{}: it has no HTTPS record", one.name()));
                    still.push(one);
                }
                Ok(Ok(_)) => {
                    lagging.push(format!("{}: it has other records", one.name()));
                    still.push(one);
                }
                Ok(Err(error)) => {
                    lagging.push(error.to_string());
                    still.push(one);
                }
                Err(_) => {
                    lagging.push(format!("{}: no response in time", one.name()));
                    still.push(one);
                }
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        if end.is_some_and(|end| Instant::now() + pause > end) {
            return Err(PublishError::Lagging {
                owner: owner.clone(),
                lagging,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
        waiting = still;
    }
}
