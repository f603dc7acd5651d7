//! From facts to endpoints in order (RFC 9460 §3, RFC 9848 §5.1).

use std::net::IpAddr;

use echkit_proto::race::Target;
use echkit_proto::svcb::{DEFAULT_ALPN, DomainName, Service, is_svcb_reliant};

use super::addresses::{Addresses, Missing};
use super::https::HttpsLookup;
use super::{
    DiscoverError, DiscoverOptions, Discovery, Endpoint, EndpointKind, HttpsAnswer, Warning,
};
use crate::origin::{Host, HostName, Scheme};

/// Records beyond this many are not tried: each may need two more questions.
const MAX_SERVICES: usize = 32;

/// An endpoint whose addresses are still to be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) endpoint: Endpoint,
    /// Whose addresses it has.
    pub(crate) target: Target,
    pub(crate) hints: Vec<IpAddr>,
}

impl Planned {
    /// An endpoint about which no record says anything.
    pub(super) fn plain(kind: EndpointKind, target: Host, port: u16) -> Self {
        let endpoint = Endpoint {
            kind,
            target,
            port,
            alpn: Vec::new(),
            addresses: Vec::new(),
            from_hints: false,
            ech: None,
            ech_usable: false,
            record: None,
        };
        Self {
            endpoint,
            target: Target::OWN,
            hints: Vec::new(),
        }
    }
}

impl Discovery {
    /// Takes the records in, and plans the endpoints that come of them.
    pub(super) fn plan(&mut self, lookup: HttpsLookup, options: &DiscoverOptions) -> Vec<Planned> {
        self.https = lookup.answer;
        self.aliases = lookup.aliases;
        self.alias_problem = lookup.alias_problem;
        self.records = lookup.records;
        self.https_ttl = lookup.ttl;
        self.ttl = lookup.ttl;
        self.warnings.extend(lookup.warnings);
        // Without ECH nothing in the records keeps an `https` origin from being connected to.
        let needed = options.ech || self.origin.scheme == Scheme::Http;
        if let HttpsAnswer::Failed(error) = &self.https
            && self.protected
            && needed
        {
            // RFC 9460 §3.1
            let error = error.clone();
            self.error = Some(DiscoverError::HttpsLookup {
                name: lookup.last,
                error,
            });
            return Vec::new();
        }
        // §9.5: an alias or a compatible record stands for "use https".
        let says_https =
            !self.aliases.is_empty() || self.alias_problem.is_some() || !lookup.services.is_empty();
        self.https_upgrade = self.origin.scheme == Scheme::Http && says_https;
        let port = if self.https_upgrade {
            self.origin.to_https().port
        } else {
            self.origin.port
        };

        self.warn_about_ech(&lookup.services, &lookup.last, options);
        self.svcb_reliant = options.ech && is_svcb_reliant(&lookup.services);
        let mut planned = Vec::new();
        for service in lookup.services.into_iter().take(MAX_SERVICES) {
            planned.extend(self.plan_service(service, port, options));
        }
        if self.svcb_reliant {
            return planned;
        }
        // §3: what an alias leads to comes before the origin's own host. Not where §3.1 or §2.2
        // want it to be as if there were no records.
        let trusted =
            self.alias_problem.is_none() && !matches!(self.https, HttpsAnswer::Malformed(_));
        if trusted && let Some(end) = self.aliases.last() {
            match HostName::from_dns(end) {
                Some(name) => {
                    planned.push(Planned::plain(
                        EndpointKind::AliasEnd,
                        Host::Name(name),
                        port,
                    ));
                }
                None => self.warnings.push(Warning::NotAHostName(end.clone())),
            }
        }
        planned.push(Planned::plain(
            EndpointKind::Authority,
            self.origin.host.clone(),
            port,
        ));
        planned
    }

    fn plan_service(
        &mut self,
        service: Service,
        port: u16,
        options: &DiscoverOptions,
    ) -> Option<Planned> {
        let Some(target) = HostName::from_dns(&service.target) else {
            self.records[service.record].why_not = Some("its target is not a host name".into());
            self.warnings.push(Warning::NotAHostName(service.target));
            return None;
        };
        let hints = service
            .hints
            .into_iter()
            .filter(|hint| options.families.allow(hint));
        let endpoint = Endpoint {
            alpn: service.alpn,
            ech: service.ech,
            ech_usable: service.ech_usable,
            record: Some(service.record),
            ..Planned::plain(
                EndpointKind::Service,
                Host::Name(target),
                service.port.unwrap_or(port),
            )
            .endpoint
        };
        Some(Planned {
            endpoint,
            target: Target::OWN,
            hints: hints.collect(),
        })
    }

    fn warn_about_ech(
        &mut self,
        services: &[Service],
        name: &DomainName,
        options: &DiscoverOptions,
    ) {
        if !options.ech {
            return;
        }
        let with = services
            .iter()
            .filter(|service| service.ech.is_some())
            .count();
        if with > 0 && with < services.len() {
            self.warnings.push(Warning::PartialEch(name.clone()));
        }
        for service in services.iter().filter(|s| s.ech.is_some() && !s.ech_usable) {
            let configs = &self.records[service.record].configs;
            let reasons: Vec<_> = configs.iter().filter_map(|c| c.why_not.clone()).collect();
            self.warnings.push(Warning::NoUsableConfig {
                target: service.target.clone(),
                reasons: reasons.join("; "),
            });
        }
    }

    /// Gives the planned endpoints their addresses, by target; those without any fall away.
    pub(super) fn settle(&mut self, planned: Vec<Planned>, found: &[((Host, u16), Addresses)]) {
        let mut first_missing = None;
        for Planned {
            mut endpoint,
            target,
            hints,
        } in planned
        {
            let (_, known) = &found[target.0];
            if let Some(ttl) = known.ttl {
                self.ttl = Some(self.ttl.map_or(ttl, |least| least.min(ttl)));
            }
            endpoint.addresses.clone_from(&known.list);
            if endpoint.addresses.is_empty() && !hints.is_empty() {
                endpoint.addresses = hints;
                endpoint.from_hints = true;
            }
            if endpoint.addresses.is_empty() && known.pending {
                // Nobody waited for them.
                continue;
            }
            if endpoint.addresses.is_empty() {
                let hint = self.note_missing(&endpoint, known);
                first_missing.get_or_insert((endpoint.target, hint, known.clone()));
            } else if !self
                .endpoints
                .iter()
                .any(|earlier| repeats(&endpoint, earlier))
            {
                self.endpoints.push(endpoint);
            }
        }
        if self.endpoints.is_empty() && self.error.is_none() {
            // The origin's own host is what the user knows; a target is named when the records
            // allow nothing else.
            let host = self.origin.host.clone();
            let own = found
                .iter()
                .find(|((target, _), _)| *target == host && !self.svcb_reliant);
            self.error = Some(match (own, first_missing) {
                (Some((_, known)), _) => known.error(&host, None),
                (None, Some((target, hint, known))) => known.error(&target, hint),
                (None, None) => DiscoverError::NoAddresses { host, hint: None },
            });
        }
    }

    /// Says why an endpoint falls away, and what the zone should have said if that is plain.
    fn note_missing(&mut self, endpoint: &Endpoint, known: &Addresses) -> Option<String> {
        let index = endpoint.record?;
        let record = &mut self.records[index];
        let target = &endpoint.target;
        let reason = match &known.missing {
            Some(Missing::Failed(error)) => format!("the address of {target} is unknown: {error}"),
            Some(Missing::NoSuchHost) => format!("its target {target} does not exist"),
            _ => format!("its target {target} has no address"),
        };
        // §2.5.2: `.` is the owner name, which has addresses only where it is a host.
        let prefixed = target
            .name()
            .is_some_and(|name| name.as_str().starts_with('_'));
        let hint = (prefixed && record.record.target.is_root()).then(|| {
            let host = &self.origin.host;
            format!("the HTTPS record says \".\", which means {target}; it should name {host}")
        });
        self.warnings.push(Warning::NoAddresses {
            record: index,
            reason: hint.clone().unwrap_or_else(|| reason.clone()),
        });
        record.why_not = Some(reason);
        hint
    }
}

/// Whether trying `later` would be trying `earlier` once more: same place, TLS over TCP, no ECH.
fn repeats(later: &Endpoint, earlier: &Endpoint) -> bool {
    let over_tcp = |endpoint: &Endpoint| {
        endpoint.alpn.is_empty()
            || endpoint
                .alpn
                .iter()
                .any(|id| id == DEFAULT_ALPN || id == b"h2")
    };
    later.kind != EndpointKind::Service
        && earlier.ech.is_none()
        && over_tcp(earlier)
        && later.port == earlier.port
        && later
            .addresses
            .iter()
            .all(|address| earlier.addresses.contains(address))
}
