//! The HTTPS records, and how they are reached (RFC 9460, RFC 9848).

use std::time::Duration;

use echkit::discover::{
    AliasProblem, DiscoverError, Discovery, HttpsAnswer, RecordUnused, Warning,
};
use echkit::dns::RecordType;
use echkit::svcb::RecordUnusable;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::Deployment;
use crate::log::CheckLog;
use crate::probe::Probe;

/// No key should have to be kept longer for its record's sake.
const TOO_LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys that rotate do so every hour, by draft-ietf-tls-wkech's example and by ours.
const LONG: Duration = Duration::from_secs(60 * 60);

pub(crate) struct Records;

impl Probe for Records {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Records
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            look(deployment.discovery, log);
            authentic(deployment, log).await;
        }
        .boxed()
    }
}

fn look(discovery: &Discovery, log: &CheckLog) {
    if !discovery.protected {
        log.find(FindingId::DnsInTheClear, discovery.resolver.clone());
    }
    let name = discovery
        .query_name
        .as_ref()
        .map_or_else(|| discovery.origin.host.to_string(), ToString::to_string);
    match &discovery.https {
        HttpsAnswer::None => log.find(
            FindingId::RecordMissing,
            format!("{name} has no record of type HTTPS"),
        ),
        HttpsAnswer::Malformed(malformed) => {
            log.find(FindingId::RecordMalformed, format!("{name}: {malformed}"));
        }
        HttpsAnswer::Found => found(&name, discovery, log),
        // The check has ended with an error by then.
        _ => {}
    }
}

/// Whether the resolver says of the HTTPS records that it has validated them by DNSSEC. It was asked
/// before, and its answers are kept.
async fn authentic(deployment: &Deployment<'_>, log: &CheckLog) {
    let discovery = deployment.discovery;
    if !matches!(discovery.https, HttpsAnswer::Found) {
        return;
    }
    let names = discovery.query_name.iter().chain(&discovery.aliases);
    for name in names {
        match deployment.resolver.query(name, RecordType::HTTPS).await {
            Ok(answer) if answer.authentic_data => {}
            Ok(_) => {
                let seen = format!("{name}: {} does not say so (AD)", discovery.resolver);
                return log.find(FindingId::DnssecMissing, seen);
            }
            // What became of the query is in the findings about the records.
            Err(_) => return,
        }
    }
    let worth = match discovery.protected {
        true => "",
        false => ", in the clear, which proves nothing",
    };
    log.pass(format!(
        "{} says that the HTTPS records are validated by DNSSEC{worth}",
        discovery.resolver
    ));
}

fn found(name: &str, discovery: &Discovery, log: &CheckLog) {
    if let Some(ttl) = discovery.https_ttl {
        let seen = format!("{name}: {} seconds", ttl.as_secs());
        if ttl > TOO_LONG {
            log.find(FindingId::TtlTooLong, seen);
        } else if ttl > LONG {
            log.find(FindingId::TtlLong, seen);
        }
    }
    if let Some(problem) = &discovery.alias_problem {
        let id = match problem {
            AliasProblem::Loop(_) => FindingId::AliasLoop,
            AliasProblem::TooLong(_) => FindingId::AliasTooLong,
            AliasProblem::Unavailable(_) => FindingId::AliasNowhere,
            _ => FindingId::RecordUnusable,
        };
        return log.find(id, format!("{name}: {problem}"));
    }
    if let Some(end) = discovery.aliases.last() {
        log.find(FindingId::AliasMode, format!("{name} leads to {end}"));
    }
    let hint = hint(discovery);
    if let Some(hint) = &hint {
        log.find(FindingId::DotAtPort, hint.clone());
    }
    let mut with_ech = 0;
    for (index, verdict) in discovery.records.iter().enumerate() {
        let which = format!("record {} of {name}", index + 1);
        match &verdict.why_not {
            Some(RecordUnused::Unusable(
                RecordUnusable::BesideAlias | RecordUnusable::ServiceUnavailable,
            )) => continue,
            // The hint says it better.
            Some(RecordUnused::NoSuchTarget(_) | RecordUnused::NoAddress(_)) if hint.is_some() => {}
            Some(why @ (RecordUnused::NoSuchTarget(_) | RecordUnused::NoAddress(_))) => {
                log.find(FindingId::TargetWithoutAddress, format!("{which}: {why}"));
            }
            Some(why @ RecordUnused::AddressUnknown { .. }) => {
                log.skip(which, why.to_string());
            }
            Some(why) => {
                log.find(FindingId::RecordUnusable, format!("{which}: {why}"));
                continue;
            }
            None => {}
        }
        with_ech += usize::from(verdict.record.params.ech.is_some());
    }
    let partial = |warning: &Warning| matches!(warning, Warning::PartialEch(_));
    if with_ech == 0 {
        let count = discovery.records.len();
        log.find(
            FindingId::RecordWithoutEch,
            format!("{name}: none of {count} records"),
        );
    } else if discovery.warnings.iter().any(partial) {
        let count = discovery.records.len();
        log.find(
            FindingId::RecordPartial,
            format!("{name}: {with_ech} of {count} records have ech"),
        );
    } else {
        log.pass(format!("{name}: every usable HTTPS record has ech"));
    }
}

/// What a zone should have said in place of `.`, where that is plain.
fn hint(discovery: &Discovery) -> Option<String> {
    if let Some(DiscoverError::NoAddresses {
        hint: Some(hint), ..
    }) = &discovery.error
    {
        return Some(hint.to_string());
    }
    discovery.warnings.iter().find_map(|warning| match warning {
        Warning::NoAddresses {
            hint: Some(hint), ..
        } => Some(hint.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use echkit::discover::discover;
    use echkit::dns::{RecordType, Resolver, ResolverOptions};
    use echkit_test::dns::{Reply, Script, Server, https};

    use super::*;
    use crate::selection::ProbeSelection;

    #[tokio::test]
    async fn records_that_live_too_long_are_told_by_how_much() {
        let records = Reply::Records(vec![https("1 . alpn=h2")]);
        let zone = [
            ("a.test", RecordType::HTTPS, records),
            (
                "a.test",
                RecordType::A,
                Reply::Records(vec![vec![192, 0, 2, 1]]),
            ),
        ];
        let dns = Server::start(Script::new(zone)).await;
        let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
        let mut discovery = discover(&resolver, &"https://a.test".parse().unwrap()).await;
        let hour = Duration::from_secs(3600);
        let second = Duration::from_secs(1);
        for (ttl, expected) in [
            (hour, None),
            (hour + second, Some(FindingId::TtlLong)),
            (24 * hour, Some(FindingId::TtlLong)),
            (24 * hour + second, Some(FindingId::TtlTooLong)),
        ] {
            discovery.https_ttl = Some(ttl);
            let log = CheckLog::new(ProbeSelection::default());
            look(&discovery, &log);
            let found: Vec<_> = log.take().findings.iter().map(|f| f.id).collect();
            let of_ttl = |id: &&FindingId| [FindingId::TtlLong, FindingId::TtlTooLong].contains(id);
            assert_eq!(found.iter().find(of_ttl).copied(), expected, "{ttl:?}");
        }
    }
}
