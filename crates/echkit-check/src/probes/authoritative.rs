//! The authoritative servers of the zone, each asked for itself: what they say may differ from one
//! another, and from what the resolver shows. They are asked in the clear.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use echkit::dns::RecordType;
use echkit::svcb::{DomainName, Record};
use echkit_server::{DnsServer, HttpsRrset, PublishError, name_servers};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::Deployment;
use crate::log::CheckLog;
use crate::probe::Probe;

/// Servers that are asked, at most: a zone may name hundreds.
const MAX_SERVERS: usize = 16;

/// Servers that are asked at the same time.
const AT_ONCE: usize = 8;

pub(crate) struct Authoritative;

impl Probe for Authoritative {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Authoritative
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        look(deployment, log).boxed()
    }
}

async fn look(deployment: &Deployment<'_>, log: &CheckLog) {
    let left_out = |why: String| log.skip(ProbeFamily::Authoritative.as_str(), why);
    let Some(owner) = &deployment.discovery.query_name else {
        return;
    };
    let resolver = deployment.resolver;
    let mut servers = match name_servers(resolver, owner, deployment.name_server_port).await {
        Ok(servers) => servers,
        Err(PublishError::LookUp { name, error }) => {
            return left_out(format!(
                "{name}: its name servers cannot be looked up: {error}"
            ));
        }
        Err(PublishError::NoZone { owner, asked }) => {
            return left_out(format!(
                "{owner}: {asked} knows no name servers of its zone"
            ));
        }
        Err(error) => return left_out(error.to_string()),
    };
    if servers.len() > MAX_SERVERS {
        let more = servers.split_off(MAX_SERVERS).len();
        left_out(format!(
            "{more} more: at most {MAX_SERVERS} servers of a zone are asked"
        ));
    }
    log.show(ProbeFamily::Authoritative);
    let limit = deployment.dialer.limit;
    let asked = stream::iter(servers).map(|server| async move {
        let answer = tokio::time::timeout(limit, ask(&server, owner)).await;
        let late = || Said::Nothing(format!("no response within {} ms", limit.as_millis()));
        (server, answer.unwrap_or_else(|_| late()))
    });
    let asked: Vec<(DnsServer, Said)> = asked.buffer_unordered(AT_ONCE).collect().await;

    let mut by_answer: BTreeMap<Vec<Vec<u8>>, Vec<String>> = BTreeMap::new();
    for (server, said) in asked {
        match said {
            Said::Records(records) => by_answer
                .entry(records.rdata().to_vec())
                .or_default()
                .push(server.to_string()),
            Said::NoRoute(why) => log.skip(server.to_string(), why),
            Said::Nothing(why) => {
                log.find(FindingId::NameServerSilent, format!("{server}: {why}"));
            }
        }
    }
    for servers in by_answer.values_mut() {
        servers.sort();
    }
    if by_answer.len() > 1 {
        let groups: Vec<String> = by_answer
            .iter()
            .map(|(records, servers)| format!("{} at {}", summary(records), servers.join(", ")))
            .collect();
        log.find(
            FindingId::NameServersDiffer,
            format!("{owner}: {}", groups.join("; ")),
        );
    }
    let Ok(shown) = resolver.query(owner, RecordType::HTTPS).await else {
        return;
    };
    // A CNAME leads out of the zone: its records are those of another owner.
    if by_answer.is_empty() || shown.owner != *owner {
        return;
    }
    let shown = HttpsRrset::new(0, shown.rdata);
    if !by_answer.contains_key(shown.rdata()) {
        let seen = format!(
            "{owner}: {} at {}; {} at its own servers",
            summary(shown.rdata()),
            resolver.uri(),
            by_answer
                .keys()
                .map(|records| summary(records))
                .collect::<Vec<_>>()
                .join(" or ")
        );
        log.find(FindingId::ResolverDiffers, seen);
    } else if let [servers] = &by_answer.values().collect::<Vec<_>>()[..] {
        log.pass(format!(
            "{owner}: the same records at {} and the resolver",
            match servers.len() {
                1 => "its name server".to_owned(),
                count => format!("all {count} addresses of its name servers"),
            }
        ));
    }
}

/// What a server said.
enum Said {
    Records(HttpsRrset),
    /// Why there is no answer with authority.
    Nothing(String),
    /// This machine cannot reach addresses of that kind.
    NoRoute(String),
}

async fn ask(server: &DnsServer, owner: &DomainName) -> Said {
    let response = match server.query(owner, RecordType::HTTPS).await {
        Ok(response) => response,
        Err(PublishError::Io { error, .. }) => {
            let why = error.to_string();
            return match error.kind() {
                ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => Said::NoRoute(why),
                _ => Said::Nothing(why),
            };
        }
        Err(PublishError::Response { error, .. }) => return Said::Nothing(error.to_string()),
        Err(error) => return Said::Nothing(error.to_string()),
    };
    // 3 is NXDOMAIN: the name is not there, and so are its records.
    if !response.authoritative || ![0, 3].contains(&response.rcode) {
        return Said::Nothing(format!(
            "no authoritative answer (response code {})",
            response.rcode
        ));
    }
    let https = response.answers.into_iter();
    let https = https.filter(|record| record.kind == RecordType::HTTPS && record.owner == *owner);
    Said::Records(HttpsRrset::new(
        0,
        https.map(|record| record.rdata).collect(),
    ))
}

/// Records in a few words.
fn summary(records: &[Vec<u8>]) -> String {
    let words: Vec<String> = records.iter().map(|rdata| of_one(rdata)).collect();
    match words.is_empty() {
        true => "no record".to_owned(),
        false => words.join(" and "),
    }
}

fn of_one(rdata: &[u8]) -> String {
    let Ok(record) = Record::parse(rdata) else {
        return "a malformed record".to_owned();
    };
    if record.is_alias() {
        return format!("an alias of {}", record.target);
    }
    let Some(list) = &record.params.ech else {
        return "a record without ech".to_owned();
    };
    let ids: Vec<String> = list
        .configs()
        .iter()
        .map(|config| {
            config
                .config_id()
                .map_or("?".to_owned(), |id| id.to_string())
        })
        .collect();
    format!(
        "a record of {} bytes with config {}",
        rdata.len(),
        ids.join(", ")
    )
}
