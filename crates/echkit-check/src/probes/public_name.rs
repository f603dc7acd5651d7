//! The public_name of each usable config (RFC 9849 §6.1.7, §10.1).

use echkit::config::NameExposure;
use echkit::dns::RecordType;
use echkit::origin::HostName;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::Deployment;
use crate::log::CheckLog;
use crate::probe::Probe;
use crate::published::usable_configs;

/// Names that are looked up, at most: a list may hold hundreds of configs.
const MAX_NAMES: usize = 8;

pub(crate) struct PublicNames;

impl Probe for PublicNames {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::PublicName
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            let mut names = Vec::new();
            for chosen in usable_configs(deployment.discovery) {
                let name = &chosen.contents().public_name;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if names.len() > MAX_NAMES {
                let more = names.split_off(MAX_NAMES).len();
                log.skip(
                    ProbeFamily::PublicName.as_str(),
                    format!("{more} more: at most {MAX_NAMES} public_names are looked up"),
                );
            }
            for name in names {
                match name.exposes(&deployment.host) {
                    NameExposure::Equal => {
                        log.find(FindingId::PublicNameIsHost, name.to_string());
                        continue;
                    }
                    NameExposure::Contains => {
                        log.find(FindingId::PublicNameContainsHost, name.to_string());
                    }
                    NameExposure::None => {}
                }
                look_up(deployment, &name.to_string(), log).await;
            }
        }
        .boxed()
    }
}

async fn look_up(deployment: &Deployment<'_>, name: &str, log: &CheckLog) {
    let Ok(host) = HostName::parse(name) else {
        return;
    };
    let (v6, v4) = tokio::join!(
        deployment.resolver.query(host.dns(), RecordType::AAAA),
        deployment.resolver.query(host.dns(), RecordType::A),
    );
    let has_address = [&v6, &v4]
        .into_iter()
        .flatten()
        .any(|answer| answer.addresses().next().is_some());
    match (has_address, v6, v4) {
        (true, v6, v4) => {
            let own = deployment.places.iter().map(|place| place.at.address.ip());
            let own: Vec<_> = own.collect();
            let mut public = [v6, v4].into_iter().flatten();
            let shared = public.any(|answer| answer.addresses().any(|ip| own.contains(&ip)));
            match shared || own.is_empty() {
                true => log.pass(format!("the public_name {name} has an address")),
                false => {
                    let seen = format!("{name} has none of the addresses of {}", deployment.host);
                    log.find(FindingId::PublicNameElsewhere, seen);
                }
            }
        }
        (false, Ok(_), Ok(_)) => {
            log.find(
                FindingId::PublicNameUnresolved,
                format!("{name} has neither A nor AAAA records"),
            );
        }
        (false, Err(error), _) | (false, _, Err(error)) => log.skip(
            ProbeFamily::PublicName.as_str(),
            format!("{name} could not be looked up: {error}"),
        ),
    }
}
