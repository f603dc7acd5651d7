//! `/.well-known/origin-svcb` of the host, over ECH, against the records in DNS
//! (draft-ietf-tls-wkech). A host that has none is fine.

use echkit::svcb::Record;
use echkit::tls::{ConfigSource, RealOffer};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::fetch::Fetched;
use crate::log::CheckLog;
use crate::origin_svcb::{AskedRecord, OriginSvcb};
use crate::probe::Probe;

const PATH: &str = "/.well-known/origin-svcb";

pub(crate) struct OriginSvcbProbe;

impl Probe for OriginSvcbProbe {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::OriginSvcb
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            // It speaks for the origin, whichever endpoint is asked.
            if let Some(place) = deployment.accepting().await.first() {
                at(deployment, place, log).await;
            }
        }
        .boxed()
    }
}

async fn at(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    let visit = deployment.visit(place, PATH).await;
    let page = match &visit.response {
        Ok(page) if is_document(page) => page,
        // Some sites answer every path with their start page.
        Ok(_) => return,
        Err(why) => {
            let why = format!("{}: no response over ECH: {why}", place.at);
            return log.skip(ProbeFamily::OriginSvcb.as_str(), why);
        }
    };
    if page.is_cut {
        let seen = "it is larger than 64 KiB";
        return log.find_at(FindingId::OriginSvcbMalformed, &place.at, seen);
    }
    let document = match OriginSvcb::parse(&page.body) {
        Ok(document) => document,
        Err(why) => return log.find_at(FindingId::OriginSvcbMalformed, &place.at, why),
    };
    if let Some(ttl) = deployment.discovery.https_ttl
        && ttl.as_secs() > document.regeninterval
    {
        let seen = format!(
            "the TTL is {} seconds and regeninterval {}",
            ttl.as_secs(),
            document.regeninterval
        );
        log.find_at(FindingId::TtlAboveRegeninterval, &place.at, seen);
    }
    let differences = differences(deployment, &document);
    if differences.is_empty() {
        log.pass(format!("origin-svcb agrees with DNS at {}", place.at));
    } else {
        log.find_at(
            FindingId::OriginSvcbDiffers,
            &place.at,
            differences.join("; "),
        );
    }
    works(deployment, place, &document, log).await;
}

fn is_document(page: &Fetched) -> bool {
    let kind = page.headers.get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        kind.starts_with(b"application/json")
    });
    let first = page.body.iter().find(|octet| !octet.is_ascii_whitespace());
    page.status == 200 && (is_json || first == Some(&b'{'))
}

/// In words, each record that is asked for and not published, and the other way round. A
/// zone factory may add parameters (§4).
fn differences(deployment: &Deployment<'_>, document: &OriginSvcb) -> Vec<String> {
    let published: Vec<&Record> = deployment
        .discovery
        .records
        .iter()
        .map(|verdict| &verdict.record)
        .filter(|record| !record.is_alias())
        .collect();
    // An alias may be published as one, as a CNAME, or as the records at its end.
    if document
        .endpoints
        .iter()
        .any(|asked| asked.record.is_alias())
    {
        return Vec::new();
    }
    let mut words = Vec::new();
    for (index, asked) in document.endpoints.iter().enumerate() {
        let is_there = published
            .iter()
            .any(|record| fulfils(record, asked, &deployment.host));
        if !is_there {
            words.push(format!("endpoint {} is in no record of DNS", index + 1));
        }
    }
    let (there, here) = (published.len(), document.endpoints.len());
    if words.is_empty() && there != here {
        words.push(format!("it has {here} endpoints, and DNS {there} records"));
    }
    words
}

/// Whether a record has all that is asked for.
fn fulfils(record: &Record, asked: &AskedRecord, host: &str) -> bool {
    // `.` is the owner; at a port's own name the host has to be named.
    let target = |record: &Record| match record.target.is_root() {
        true => host.to_owned(),
        false => {
            let target = record.target.to_string().to_ascii_lowercase();
            target.trim_end_matches('.').to_owned()
        }
    };
    let (has, wants) = (&record.params, &asked.record.params);
    let mut rest = has.clone();
    // Where the document says nothing, the record may.
    if wants.alpn.is_empty() {
        rest.alpn.clear();
        rest.no_default_alpn = false;
    }
    if wants.port.is_none() {
        rest.port = None;
    }
    if wants.ipv4hint.is_empty() {
        rest.ipv4hint.clear();
    }
    if wants.ipv6hint.is_empty() {
        rest.ipv6hint.clear();
    }
    if wants.ech.is_none() {
        rest.ech = None;
    }
    if wants.mandatory.is_empty() {
        rest.mandatory.clear();
    }
    if wants.dohpath.is_none() {
        rest.dohpath = None;
    }
    rest.other.retain(|key, _| wants.other.contains_key(key));
    let priority = !asked.has_priority || record.priority == asked.record.priority;
    priority && target(record) == target(&asked.record) && rest == *wants
}

/// Whether the server takes the configs that it asks to be published (§6.2).
async fn works(deployment: &Deployment<'_>, place: &Place, document: &OriginSvcb, log: &CheckLog) {
    for (index, asked) in document.endpoints.iter().enumerate() {
        let port = asked.record.params.port;
        let elsewhere = port.is_some_and(|port| port != place.at.address.port());
        let Some(list) = &asked.record.params.ech else {
            continue;
        };
        if elsewhere || !asked.record.target.is_root() || *list == place.list {
            continue;
        }
        let offer = RealOffer::from_selection(list.select(), ConfigSource::Dns)
            .and_then(|offer| offer.hiding(&deployment.host));
        let why = match offer {
            None => "no config is usable and hides the host".to_owned(),
            Some(offer) => {
                let tls = &deployment.tls.usual;
                let attempt = deployment.offer(tls, place, offer).await;
                if attempt.is_accepted() {
                    continue;
                }
                attempt.why().to_owned()
            }
        };
        let seen = format!("endpoint {}: {why}", index + 1);
        log.find_at(FindingId::OriginSvcbFails, &place.at, seen);
    }
}
