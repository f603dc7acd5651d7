//! The hosts of a case, and what the DNS says of them.

use crate::case::{Case, Spec, UrlPort};
use crate::configs::Keys;
use crate::error::TestbedError;
use crate::names::{PUBLIC, in_zone};
use crate::zone::{Owner, Resolve};

/// The hosts of a case: its own, and further ones below it that are served alike.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// The labels before the zone's name; the case's own host first.
    labels: Vec<String>,
}

impl Hosts {
    pub(crate) fn of(case: &str, more: u16) -> Self {
        let further = (1..=more).map(|number| format!("h{number}.{case}"));
        Self {
            labels: std::iter::once(case.to_owned()).chain(further).collect(),
        }
    }

    /// All of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.labels.iter().map(|labels| in_zone(labels))
    }

    /// The names that the site's certificate has.
    pub(crate) fn certified(&self) -> Vec<String> {
        let own = self.names().take(1);
        let further = self.names().take(1).map(|own| format!("*.{own}"));
        own.chain(further.filter(|_| self.labels.len() > 1))
            .collect()
    }

    /// Where clients look for HTTPS records (RFC 9460 §9.1).
    pub(crate) fn query_names(&self, port: u16) -> impl Iterator<Item = String> + '_ {
        self.names()
            .flat_map(move |host| [host.clone(), format!("_{port}._https.{host}")])
    }
}

/// The case as it is served, with the records of all its hosts.
pub(crate) fn published(
    spec: &Spec,
    hosts: &Hosts,
    keys: &Keys,
    port: u16,
    closed_port: u16,
    ipv6: bool,
) -> Result<Case, TestbedError> {
    let list = |list: &_| keys.list(list);
    let mut zone = Vec::new();
    for (index, labels) in hosts.labels.iter().enumerate() {
        let cx = Resolve {
            labels,
            port,
            closed_port,
            ipv6,
            list: &list,
        };
        for record in &spec.records {
            // Where the records lead to is there once for all hosts.
            if index == 0 || record.owner == Owner::Origin {
                zone.extend(record.resolve(&cx).map_err(wrong_zone(spec.name))?);
            }
        }
    }
    let mut urls = hosts.names().map(|host| match spec.url_port {
        UrlPort::Server => format!("https://{host}:{port}/"),
        UrlPort::Default => format!("https://{host}/"),
    });
    Ok(Case {
        name: spec.name.to_owned(),
        about: spec.about.to_owned(),
        host: in_zone(spec.name),
        url: urls.next().unwrap_or_default(),
        more_urls: urls.collect(),
        port,
        public_name: in_zone(PUBLIC),
        zone,
        expect: spec.expect.clone(),
    })
}

pub(crate) fn wrong_zone(case: &str) -> impl Fn(String) -> TestbedError + '_ {
    move |reason| TestbedError::Zone {
        case: case.to_owned(),
        reason,
    }
}
