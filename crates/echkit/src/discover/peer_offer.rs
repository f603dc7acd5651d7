//! Which ECH offer goes with a connection that is there already (RFC 9460 §3, RFC 9848 §5), and
//! when nothing may be sent over it: for callers that connect on their own.

use std::net::SocketAddr;

use echkit_proto::client::{ConfigSource, RealOffer};
use echkit_proto::svcb::EchOfRecord;

use super::{DiscoverError, Discovery, Endpoint, HttpsAnswer};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The caller does not know: it passes bytes on to something else.
    Unknown,
    /// It has no address, as behind a Unix socket.
    WithoutAddress,
    /// It has one.
    At(SocketAddr),
}

impl Peer {
    /// Whether an endpoint is, or may be, this peer.
    fn is(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Unknown => true,
            Self::WithoutAddress => false,
            Self::At(peer) => {
                let address = peer.ip().to_canonical();
                peer.port() == endpoint.port && endpoint.addresses.contains(&address)
            }
        }
    }
}

/// No ClientHello may be sent: it would show a name that ECH can hide, or that it must.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoClientHello {
    /// DNS failed, or leads to no endpoint though its records offer ECH.
    #[error(transparent)]
    Discovery(Box<DiscoverError>),
    /// ECH is required and there is nothing to offer.
    #[error("ECH is required, and {0}")]
    Required(String),
    /// There are records with ECH, and they are about other places: a proxy, an old address.
    #[error("the peer is not an endpoint of the HTTPS records with ech, which are at {0}")]
    PeerElsewhere(String),
}

impl Discovery {
    /// What to offer to `peer`; `None` where the records offer nothing and ECH is not `required`.
    /// Where it is, configs whose public_name is the origin's own name are passed over.
    ///
    /// A record applies only to its own endpoints. Where some record offers ECH and none applies,
    /// an attacker could have steered the connection there to see the name.
    ///
    /// An address that no answer here holds may be from another answer for the same name, as with
    /// hosts whose addresses rotate. DNS cannot tell then, and the name and port decide: a record for
    /// the origin's own name applies to its port at any such address. A server there that does not
    /// have its key rejects the offer, and the name stays hidden.
    ///
    /// # Errors
    ///
    /// When no ClientHello may be sent.
    pub fn offer_to(&self, peer: Peer, required: bool) -> Result<Option<RealOffer>, NoClientHello> {
        if let Some(error) = &self.error
            && (matches!(self.https, HttpsAnswer::Failed(_)) || self.could_offer_ech())
        {
            return Err(NoClientHello::Discovery(Box::new(error.clone())));
        }
        let host = self.origin.host.to_string();
        let usable: Vec<(&Endpoint, RealOffer)> = self
            .endpoints
            .iter()
            .filter_map(|endpoint| {
                let selection = endpoint.ech.as_ref()?.selection()?.clone();
                let offer = RealOffer::from_selection(selection, ConfigSource::Dns)?;
                match required {
                    true => Some((endpoint, offer.hiding(&host)?)),
                    false => Some((endpoint, offer)),
                }
            })
            .collect();
        if usable.is_empty() {
            return match required {
                true => Err(NoClientHello::Required(self.why_no_ech())),
                false => Ok(None),
            };
        }
        let places = places(&usable);
        let here = usable
            .iter()
            .find(|(endpoint, _)| peer.is(endpoint))
            .or_else(|| {
                usable
                    .iter()
                    .find(|(endpoint, _)| self.may_be_at(peer, endpoint))
            })
            .map(|(_, offer)| offer.clone());
        here.map(Some).ok_or(NoClientHello::PeerElsewhere(places))
    }

    /// Whether a peer of unknown address may be an endpoint of the origin's own name.
    fn may_be_at(&self, peer: Peer, endpoint: &Endpoint) -> bool {
        let Peer::At(at) = peer else { return false };
        let address = at.ip().to_canonical();
        let is_known = self
            .endpoints
            .iter()
            .any(|e| e.addresses.contains(&address));
        // RFC 9460 §2.5: the root stands for the record's own name. An alias has led elsewhere.
        let record = endpoint.record.and_then(|index| self.records.get(index));
        let own = endpoint.target == self.origin.host
            || record.is_some_and(|verdict| verdict.record.target.is_root());
        !is_known && at.port() == endpoint.port && own && self.aliases.is_empty()
    }

    /// Whether a compatible record has a config that can be used.
    fn could_offer_ech(&self) -> bool {
        self.records
            .iter()
            .filter(|record| record.why_not.is_none())
            .any(|record| record.ech.as_ref().is_some_and(EchOfRecord::is_usable))
    }
}

fn places(usable: &[(&Endpoint, RealOffer)]) -> String {
    let places: Vec<String> = usable
        .iter()
        .flat_map(|(endpoint, _)| {
            let port = endpoint.port;
            endpoint
                .addresses
                .iter()
                .map(move |address| format!("{address} port {port}"))
        })
        .collect();
    places.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::IpAddr;

    use echkit_proto::config::EchConfigList;
    use echkit_proto::key::{EchKey, KeyParams};

    use super::super::EndpointKind;
    use super::*;
    use crate::dns::{Resolver, ResolverOptions};
    use crate::origin::Origin;

    fn ech(public_name: &str) -> EchOfRecord {
        let key = EchKey::generate(&KeyParams::new(public_name).unwrap()).unwrap();
        EchOfRecord::judge(EchConfigList::from(key.config().clone()))
    }

    fn endpoint(address: &str, port: u16, ech: Option<EchOfRecord>) -> Endpoint {
        Endpoint {
            kind: EndpointKind::Service,
            target: Origin::parse("https://site.example").unwrap().host,
            port,
            alpn: Vec::new(),
            addresses: vec![address.parse::<IpAddr>().unwrap()],
            from_hints: false,
            ech,
            record: None,
        }
    }

    fn discovery(endpoints: Vec<Endpoint>) -> Discovery {
        let resolver =
            Resolver::from_uri("udp://127.0.0.1:53", &ResolverOptions::default()).unwrap();
        let origin = Origin::parse("https://site.example").unwrap();
        let mut discovery = Discovery::new(&resolver, &origin);
        discovery.endpoints = endpoints;
        discovery
    }

    fn at(peer: &str) -> Peer {
        Peer::At(peer.parse().unwrap())
    }

    #[test]
    fn a_record_applies_to_its_own_endpoints_alone() {
        let (one, other) = (ech("one.example"), ech("other.example"));
        let found = discovery(vec![
            endpoint("192.0.2.1", 443, Some(one.clone())),
            endpoint("192.0.2.2", 8443, Some(other.clone())),
            endpoint("192.0.2.3", 443, None),
        ]);
        for (peer, offer) in [
            (at("192.0.2.1:443"), &one),
            (at("[::ffff:192.0.2.1]:443"), &one),
            (at("192.0.2.2:8443"), &other),
            (Peer::Unknown, &one),
        ] {
            for required in [false, true] {
                let offered = found.offer_to(peer, required).unwrap().unwrap();
                assert_eq!(Some(&offered.chosen), offer.chosen());
            }
        }
        for peer in [
            at("192.0.2.1:8443"),
            at("192.0.2.3:443"),
            at("198.51.100.1:80"),
            Peer::WithoutAddress,
        ] {
            let refusal = found.offer_to(peer, false).unwrap_err();
            assert!(matches!(refusal, NoClientHello::PeerElsewhere(_)));
            let text = refusal.to_string();
            assert!(
                text.ends_with("192.0.2.1 port 443, 192.0.2.2 port 8443"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_of_another_answer_for_the_origins_name_gets_the_offer() {
        let key = ech("one.example");
        let own = endpoint("192.0.2.1", 443, Some(key.clone()));
        let mut other = own.clone();
        other.target = Origin::parse("https://elsewhere.example").unwrap().host;
        let rotated = at("198.51.100.1:443");
        let found = discovery(vec![own.clone()]);
        let offered = found.offer_to(rotated, false).unwrap().unwrap();
        assert_eq!(Some(&offered.chosen), key.chosen());
        // An alias has led to other addresses than the origin's.
        let mut aliased = discovery(vec![own]);
        aliased.aliases = vec!["elsewhere.example".parse().unwrap()];
        for found in [discovery(vec![other]), aliased] {
            assert!(matches!(
                found.offer_to(rotated, false),
                Err(NoClientHello::PeerElsewhere(_))
            ));
        }
    }

    #[test]
    fn without_a_usable_config_the_hello_goes_out_unless_ech_is_required() {
        let found = discovery(vec![endpoint("192.0.2.1", 443, None)]);
        let elsewhere = at("198.51.100.1:443");
        assert!(found.offer_to(elsewhere, false).unwrap().is_none());
        let refusal = found.offer_to(elsewhere, true).unwrap_err();
        assert!(matches!(refusal, NoClientHello::Required(_)));
    }

    #[test]
    fn a_public_name_that_is_the_host_is_not_offered_where_ech_is_required() {
        let exposing = ech("SITE.example");
        let found = discovery(vec![endpoint("192.0.2.1", 443, Some(exposing.clone()))]);
        let peer = at("192.0.2.1:443");
        let offered = found.offer_to(peer, false).unwrap().unwrap();
        assert_eq!(Some(&offered.chosen), exposing.chosen());
        let refusal = found.offer_to(peer, true).unwrap_err();
        assert!(matches!(refusal, NoClientHello::Required(_)));
    }
}
