//! The host without TLS, as clients ask that are given `http://HOST/`: what they send and get shows
//! the host's name. Off in private mode.

use std::net::{IpAddr, SocketAddr};

use echkit::dns::RecordType;
use echkit::origin::Host;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::page::redirect;
use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::Deployment;
use crate::fetch::{Fetched, Target, fetch};
use crate::finding::Location;
use crate::log::CheckLog;
use crate::probe::Probe;

/// Addresses that are tried until one connects.
const MAX_ADDRESSES: usize = 4;

pub(crate) struct Http;

impl Probe for Http {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Http
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        look(deployment, log).boxed()
    }
}

async fn look(deployment: &Deployment<'_>, log: &CheckLog) {
    let left_out = |why: String| log.skip(ProbeFamily::Http.as_str(), why);
    let Some(port) = deployment.http_port else {
        return left_out(format!(
            "the port without TLS that belongs to {} is not known (--http-port)",
            deployment.origin.port
        ));
    };
    let addresses = addresses(deployment, port).await;
    let limit = deployment.dialer.limit;
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let at = Location {
            target: deployment.host.clone(),
            address: SocketAddr::new(address, port),
        };
        let Ok(tcp) = deployment
            .dialer
            .open_plain(at.address, &at.to_string())
            .await
        else {
            continue;
        };
        log.show(ProbeFamily::Http);
        let target = Target {
            scheme: "http",
            authority: match port {
                80 => deployment.host.clone(),
                _ => format!("{}:{port}", deployment.host),
            },
            path: "/",
        };
        let response = timeout(limit, fetch(tcp, false, &target)).await;
        let late = || Err(format!("no response within {} ms", limit.as_millis()));
        return match response.unwrap_or_else(|_| late()) {
            Ok(page) => judge(deployment, &at, &page, log),
            Err(why) => left_out(format!("{at}: {why}")),
        };
    }
    log.pass(format!("nothing answers without TLS at port {port}"));
}

fn judge(deployment: &Deployment<'_>, at: &Location, page: &Fetched, log: &CheckLog) {
    let status = page.status;
    let base = format!("http://{}/", deployment.host);
    match redirect(status, &page.headers, &base) {
        Some(to) if to.scheme() == "https" => {
            let seen = format!("status {status} leads to {to}");
            log.find_at(FindingId::HttpAnswered, at, seen);
        }
        Some(to) => {
            let seen = format!("status {status} leads to {to}");
            log.find_at(FindingId::HttpServesPage, at, seen);
        }
        None if (200..300).contains(&status) => {
            log.find_at(FindingId::HttpServesPage, at, format!("status {status}"));
        }
        None => log.find_at(FindingId::HttpAnswered, at, format!("status {status}")),
    }
}

/// The addresses of the host itself: records say nothing of the site without TLS.
async fn addresses(deployment: &Deployment<'_>, port: u16) -> Vec<IpAddr> {
    let Host::Name(name) = &deployment.origin.host else {
        return Vec::new();
    };
    let family = deployment.family;
    let entry = |host: Option<_>| {
        deployment.fixed.iter().find(|fixed| {
            fixed.host.as_ref() == host && fixed.port.is_none_or(|fixed| fixed == port)
        })
    };
    let all = match entry(Some(name)).or_else(|| entry(None)) {
        Some(fixed) => fixed.addresses.clone(),
        None => {
            let (v6, v4) = tokio::join!(
                deployment.resolver.query(name.dns(), RecordType::AAAA),
                deployment.resolver.query(name.dns(), RecordType::A),
            );
            let answers = [v6, v4].into_iter().flatten();
            answers
                .flat_map(|a| a.addresses().collect::<Vec<_>>())
                .collect()
        }
    };
    all.into_iter()
        .filter(|address| family.allows(*address))
        .collect()
}
