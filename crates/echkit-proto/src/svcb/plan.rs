//! From records to places in order (RFC 9460 §3 and §9.5, RFC 9848 §5.1).

use super::name::DomainName;
use super::rrset::{JudgedRecord, RecordUnusable, Service, is_svcb_reliant};
use super::walk::HttpsFindings;
use super::{Scheme, https_port};

/// Records beyond this many are not tried: each may need two more questions.
const MAX_SERVICES: usize = 32;

/// Where an origin can be connected to, before addresses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// Whether an `http` URL is to be fetched as `https` (RFC 9460 §9.5).
    pub https_upgrade: bool,
    /// The port of the origin after that.
    pub port: u16,
    /// Whether the client must stay within the records.
    pub reliance: Reliance,
    /// The places in the order in which to try them.
    pub places: Vec<PlannedPlace>,
}

/// What made a place worth trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedPlace {
    /// A compatible ServiceMode record.
    Service(Service),
    /// The end of an alias chain without such records, at the origin's port (RFC 9460 §3).
    AliasEnd(DomainName),
    /// The origin's own host and port, as if there were no records.
    Authority,
}

/// Whether a client must stay within the records (RFC 9848 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reliance {
    /// It may also connect as if there were no records.
    Optional,
    /// Every compatible record carries `ech`.
    Records,
    /// Every record carries `ech`, and the client speaks none of their protocols, which are named:
    /// there is nothing to connect to. As if there were no records, the name would be shown where
    /// the publisher always hides it.
    NoCommonProtocol(Vec<Vec<u8>>),
}

impl HttpsFindings {
    /// Plans the places for an origin. `ech` says whether the client does ECH; if not, `ech` is one
    /// more parameter that it does not know.
    pub fn plan(&self, scheme: Scheme, port: u16, ech: bool) -> EndpointPlan {
        // §9.5: an alias or a compatible record means "use https".
        let says_https =
            !self.aliases.is_empty() || self.alias_problem.is_some() || !self.services.is_empty();
        let https_upgrade = scheme == Scheme::Http && says_https;
        let port = match https_upgrade {
            true => https_port(scheme, port),
            false => port,
        };
        let reliance = match ech {
            true => reliance(&self.services, &self.records),
            false => Reliance::Optional,
        };
        let services = self.services.iter().take(MAX_SERVICES).cloned();
        let mut places: Vec<_> = services.map(PlannedPlace::Service).collect();
        if reliance == Reliance::Optional {
            // §3: what an alias leads to comes before the origin's own host. Not where §3.1 or §2.2
            // want it to be as if there were no records.
            if self.alias_problem.is_none() && self.malformed.is_none() {
                places.extend(self.aliases.last().cloned().map(PlannedPlace::AliasEnd));
            }
            places.push(PlannedPlace::Authority);
        }
        EndpointPlan {
            https_upgrade,
            port,
            reliance,
            places,
        }
    }
}

fn reliance(services: &[Service], records: &[JudgedRecord]) -> Reliance {
    if !services.is_empty() {
        return match is_svcb_reliant(services) {
            true => Reliance::Records,
            false => Reliance::Optional,
        };
    }
    let mut protocols: Vec<Vec<u8>> = Vec::new();
    for record in records {
        // What is incompatible for another reason counts as absent (RFC 9460 §8).
        let Some(RecordUnusable::NoCommonAlpn(set)) = &record.why_not else {
            continue;
        };
        if record.ech.is_none() {
            return Reliance::Optional;
        }
        for id in set {
            if !protocols.contains(id) {
                protocols.push(id.clone());
            }
        }
    }
    match protocols.is_empty() {
        true => Reliance::Optional,
        false => Reliance::NoCommonProtocol(protocols),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::svcb::{AliasWalk, Capabilities, Record};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// A list that is well framed and holds nothing usable.
    const ECH: &str = "AAT+DQAA";

    fn plan(texts: &[String], scheme: Scheme, ech: bool) -> EndpointPlan {
        let client = Capabilities {
            alpn: &[b"h2", b"http/1.1"],
            ech,
        };
        let name: DomainName = "a.test".parse().unwrap();
        let mut walk = AliasWalk::new(name.clone(), 8);
        let rdata = texts.iter().map(|text| {
            let record: Record = text.parse().unwrap();
            record.encode().unwrap()
        });
        walk.take(name, rdata, &client, &mut StdRng::seed_from_u64(1));
        walk.finish().plan(scheme, scheme.default_port(), ech)
    }

    #[test]
    fn ech_under_protocols_that_are_not_spoken_forbids_to_go_without() {
        let missing = Reliance::NoCommonProtocol(vec![b"h3".to_vec()]);
        let hidden = format!("1 . alpn=h3 no-default-alpn ech={ECH}");
        for scheme in [Scheme::Https, Scheme::Http] {
            let got = plan(std::slice::from_ref(&hidden), scheme, true);
            assert_eq!((got.reliance, got.places), (missing.clone(), vec![]));
        }
        let more = [hidden.clone(), "2 . mandatory=key700 key700=x".into()];
        assert_eq!(plan(&more, Scheme::Https, true).reliance, missing);
        // One without ech leaves the choice, and so does a client that does none.
        let partly = [hidden.clone(), "2 . alpn=h3 no-default-alpn".into()];
        let open = plan(&partly, Scheme::Https, true);
        assert_eq!(open.reliance, Reliance::Optional);
        assert_eq!(open.places, [PlannedPlace::Authority]);
        let off = plan(&[hidden], Scheme::Https, false);
        assert_eq!(off.places, [PlannedPlace::Authority]);
    }

    #[test]
    fn a_compatible_record_decides_whatever_the_others_speak() {
        let texts = [
            format!("1 . alpn=h2 ech={ECH}"),
            "2 . alpn=h3 no-default-alpn".into(),
        ];
        let got = plan(&texts, Scheme::Http, true);
        assert_eq!(got.reliance, Reliance::Records);
        assert!(got.https_upgrade && got.port == 443 && got.places.len() == 1);
    }

    #[test]
    fn no_more_than_so_many_records_are_tried() {
        let texts: Vec<_> = (1..100).map(|number| format!("{number} b.test.")).collect();
        let got = plan(&texts, Scheme::Https, true);
        assert_eq!(got.places.len(), MAX_SERVICES + 1);
    }
}
