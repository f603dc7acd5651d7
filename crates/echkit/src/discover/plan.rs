//! From facts to endpoints in order (RFC 9460 §3, RFC 9848 §5.1).

use std::collections::HashSet;
use std::net::IpAddr;

use echkit_proto::config::NameExposure;
use echkit_proto::race::Target;
use echkit_proto::svcb::{
    DEFAULT_ALPN, DomainName, HttpsFindings, PlannedPlace, Reliance, Service,
};

use super::addresses::{Addresses, Missing};
use super::https::HttpsLookup;
use super::{
    DiscoverError, DiscoverOptions, Discovery, Endpoint, EndpointKind, HttpsAnswer, RecordUnused,
    RecordVerdict, TargetHint, Warning,
};
use crate::origin::{Host, HostName, Scheme};

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
        let HttpsLookup {
            findings,
            failed,
            ttl,
        } = lookup;
        self.aliases.clone_from(&findings.aliases);
        self.alias_problem.clone_from(&findings.alias_problem);
        self.records = findings.records.iter().map(RecordVerdict::from).collect();
        self.https_ttl = ttl;
        self.ttl = ttl;
        self.https = match (failed, findings.malformed) {
            (Some(error), _) => HttpsAnswer::Failed(error),
            (None, Some(malformed)) => HttpsAnswer::Malformed(malformed),
            (None, None) if findings.found => HttpsAnswer::Found,
            (None, None) => HttpsAnswer::None,
        };
        self.warn_about_records(&findings);
        // Without ECH nothing in the records keeps an `https` origin from being connected to.
        let needed = options.ech || self.origin.scheme == Scheme::Http;
        if let HttpsAnswer::Failed(error) = &self.https
            && self.protected
            && needed
        {
            // RFC 9460 §3.1
            let error = error.clone();
            self.error = Some(DiscoverError::HttpsLookup {
                name: findings.last,
                error,
            });
            return Vec::new();
        }
        let plan = findings.plan(self.origin.scheme, self.origin.port, options.ech);
        self.https_upgrade = plan.https_upgrade;
        self.svcb_reliant = plan.reliance != Reliance::Optional;
        if options.ech {
            self.warn_about_ech(&findings.services, &findings.last);
        }
        if let Reliance::NoCommonProtocol(protocols) = plan.reliance {
            self.error = Some(DiscoverError::NoCommonProtocol {
                host: self.origin.host.clone(),
                protocols,
            });
        }
        let port = plan.port;
        let mut planned = Vec::new();
        for place in plan.places {
            match place {
                PlannedPlace::Service(service) => {
                    planned.extend(self.plan_service(service, port, options));
                }
                PlannedPlace::AliasEnd(end) => match HostName::from_dns(&end) {
                    Some(name) => planned.push(Planned::plain(
                        EndpointKind::AliasEnd,
                        Host::Name(name),
                        port,
                    )),
                    None => self.warnings.push(Warning::NotAHostName(end)),
                },
                PlannedPlace::Authority => planned.push(Planned::plain(
                    EndpointKind::Authority,
                    self.origin.host.clone(),
                    port,
                )),
            }
        }
        planned
    }

    fn plan_service(
        &mut self,
        service: Service,
        port: u16,
        options: &DiscoverOptions,
    ) -> Option<Planned> {
        let Some(target) = HostName::from_dns(&service.target) else {
            self.records[service.record].why_not = Some(RecordUnused::NotAHostName);
            self.warnings.push(Warning::NotAHostName(service.target));
            return None;
        };
        let hints = service
            .hints
            .into_iter()
            .filter(|hint| options.family.allows(*hint));
        let endpoint = Endpoint {
            alpn: service.alpn,
            ech: service.ech,
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

    fn warn_about_records(&mut self, findings: &HttpsFindings) {
        let name = findings.last.clone();
        match &self.https {
            HttpsAnswer::Failed(error) => self.warnings.push(Warning::Failed {
                name,
                error: error.clone(),
            }),
            HttpsAnswer::Malformed(malformed) => self.warnings.push(Warning::Malformed {
                name,
                malformed: *malformed,
            }),
            HttpsAnswer::Found | HttpsAnswer::None => match &findings.alias_problem {
                Some(problem) => self.warnings.push(problem.clone().into()),
                None if findings.services.is_empty() && !findings.records.is_empty() => {
                    self.warnings.push(Warning::NoCompatibleRecord(name));
                }
                None => {}
            },
        }
    }

    fn warn_about_ech(&mut self, services: &[Service], name: &DomainName) {
        let with = services.iter().filter(|service| service.ech.is_some());
        let with = with.count();
        if with > 0 && with < services.len() {
            self.warnings.push(Warning::PartialEch(name.clone()));
        }
        let host = self.origin.host.name().map(HostName::as_str);
        for service in services {
            let Some(ech) = &service.ech else { continue };
            let Some(chosen) = ech.chosen() else {
                let reasons = ech.verdicts().iter();
                self.warnings.push(Warning::NoUsableConfig {
                    target: service.target.clone(),
                    reasons: reasons.filter_map(|v| v.why_not.clone()).collect(),
                });
                continue;
            };
            let public_name = &chosen.contents().public_name;
            let exposure = host.map_or(NameExposure::None, |host| public_name.exposes(host));
            if exposure != NameExposure::None {
                self.warnings.push(Warning::ExposingPublicName {
                    target: service.target.clone(),
                    public_name: public_name.clone(),
                    exposure,
                });
            }
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
                // They were not waited for.
                continue;
            }
            if endpoint.addresses.is_empty() {
                let hint = self.note_missing(&endpoint, known);
                first_missing.get_or_insert((endpoint.target, hint, known.clone()));
            } else if !repeats(&endpoint, &self.endpoints) {
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
    fn note_missing(&mut self, endpoint: &Endpoint, known: &Addresses) -> Option<TargetHint> {
        let index = endpoint.record?;
        let record = &mut self.records[index];
        let target = endpoint.target.clone();
        // §2.5.2: `.` is the owner name, which has addresses only where it is a host.
        let prefixed = target
            .name()
            .is_some_and(|name| name.as_str().starts_with('_'));
        let hint = (prefixed && record.record.target.is_root()).then(|| TargetHint {
            target: target.clone(),
            host: self.origin.host.clone(),
        });
        let why_not = match &known.missing {
            Some(Missing::Failed(error)) => RecordUnused::AddressUnknown {
                target,
                error: error.clone(),
            },
            Some(Missing::NoSuchHost) => RecordUnused::NoSuchTarget(target),
            _ => RecordUnused::NoAddress(target),
        };
        self.warnings.push(Warning::NoAddresses {
            record: index,
            why_not: why_not.clone(),
            hint: hint.clone(),
        });
        record.why_not = Some(why_not);
        hint
    }
}

/// Whether trying `later` would be trying one of `earlier` once more: same place, TLS over TCP, no
/// ECH.
fn repeats(later: &Endpoint, earlier: &[Endpoint]) -> bool {
    if later.kind == EndpointKind::Service {
        return false;
    }
    let over_tcp = |endpoint: &Endpoint| {
        endpoint.alpn.is_empty()
            || endpoint
                .alpn
                .iter()
                .any(|id| id == DEFAULT_ALPN || id == b"h2")
    };
    let addresses: HashSet<&IpAddr> = later.addresses.iter().collect();
    earlier
        .iter()
        .filter(|earlier| earlier.ech.is_none() && earlier.port == later.port && over_tcp(earlier))
        .any(|earlier| {
            let there = earlier.addresses.iter();
            let common: HashSet<_> = there.filter(|one| addresses.contains(one)).collect();
            common.len() == addresses.len()
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::origin::Origin;

    fn endpoint(kind: EndpointKind, port: u16, protocol: &str, addresses: &[u8]) -> Endpoint {
        let host = Origin::parse("https://a.test").unwrap().host;
        let addresses = addresses.iter().map(|last| [192, 0, 2, *last].into());
        Endpoint {
            alpn: vec![protocol.as_bytes().to_vec()],
            addresses: addresses.collect(),
            ..Planned::plain(kind, host, port).endpoint
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_repeats_one_that_has_all_its_addresses(
            service in any::<bool>(),
            wanted in prop::collection::vec(0..4_u8, 0..6),
            earlier in prop::collection::vec(
                (
                    443..445_u16,
                    prop::sample::select(vec!["h2", "h3", "http/1.1"]),
                    prop::collection::vec(0..4_u8, 0..6),
                ),
                0..5,
            ),
        ) {
            let kind = match service {
                true => EndpointKind::Service,
                false => EndpointKind::Authority,
            };
            let expected = !service
                && earlier.iter().any(|(port, protocol, addresses)| {
                    *port == 443
                        && *protocol != "h3"
                        && wanted.iter().all(|address| addresses.contains(address))
                });
            let earlier: Vec<_> = earlier
                .iter()
                .map(|(port, protocol, addresses)| {
                    endpoint(EndpointKind::Service, *port, protocol, addresses)
                })
                .collect();
            let later = endpoint(kind, 443, "http/1.1", &wanted);
            prop_assert_eq!(repeats(&later, &earlier), expected);
        }
    }
}
