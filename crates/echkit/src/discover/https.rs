//! Asking for HTTPS records from the query name to their end (RFC 9460 §3).

use std::time::Duration;

use echkit_proto::svcb::{AliasWalk, Capabilities, DomainName, HttpsFindings, WalkStep};

use super::DiscoverOptions;
use crate::dns::{QueryError, RecordType, Resolver};

/// What the questions for HTTPS records came to.
#[derive(Debug)]
pub(super) struct HttpsLookup {
    pub(super) findings: HttpsFindings,
    /// Why the last question has no answer.
    pub(super) failed: Option<QueryError>,
    pub(super) ttl: Option<Duration>,
}

/// Asks at `name`, and on along aliases.
pub(super) async fn look_up(
    resolver: &Resolver,
    options: &DiscoverOptions,
    name: &DomainName,
) -> HttpsLookup {
    let alpn: Vec<_> = options.alpn.iter().map(Vec::as_slice).collect();
    let client = Capabilities {
        alpn: &alpn,
        ech: options.ech,
    };
    let mut walk = AliasWalk::new(name.clone(), options.max_aliases);
    let mut ttl: Option<Duration> = None;
    let failed = loop {
        let answer = match resolver.query(walk.name(), RecordType::HTTPS).await {
            Ok(answer) => answer,
            Err(error) => break Some(error),
        };
        ttl = Some(ttl.map_or(answer.ttl, |ttl| ttl.min(answer.ttl)));
        let step = walk.take(answer.owner, &answer.rdata, &client, &mut rand::rng());
        if step == WalkStep::Done {
            break None;
        }
    };
    HttpsLookup {
        findings: walk.finish(),
        failed,
        ttl,
    }
}
