//! What is checked: the origin, its discovery, and the places that the records lead to.

use std::net::SocketAddr;

use echkit::config::EchConfigList;
use echkit::discover::Discovery;
use echkit::dns::Resolver;
use echkit::origin::Origin;
use echkit::tls::{ClientTls, ConfigSource, EchOffer, RealOffer, TlsTarget};
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;

use crate::dial::{Attempt, Dialer};
use crate::finding::Location;
use crate::log::CheckLog;

/// Places that are probed, at most: a zone may name a thousand.
const MAX_PLACES: usize = 32;

/// Connections to one host at the same time.
const AT_ONCE: usize = 8;

/// The protocols that handshakes offer where nothing is said of them.
pub(crate) const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS as the probes need it.
#[derive(Debug)]
pub(crate) struct ProbeTls {
    pub(crate) usual: ClientTls,
    /// Its first key share fits no server.
    pub(crate) retrying: ClientTls,
    /// TLS 1.2 alone.
    pub(crate) tls12: ClientTls,
}

/// A deployment under check.
#[derive(Debug)]
pub(crate) struct Deployment<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) host: String,
    pub(crate) discovery: &'a Discovery,
    pub(crate) resolver: &'a Resolver,
    pub(crate) tls: &'a ProbeTls,
    /// Where authoritative servers listen.
    pub(crate) name_server_port: u16,
    pub(crate) dialer: Dialer,
    /// Every address of every endpoint whose record has a config that hides the host.
    pub(crate) places: Vec<Place>,
}

/// An endpoint with ECH, at one of its addresses.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) at: Location,
    /// The endpoint's place in the discovery.
    pub(crate) endpoint: usize,
    /// What the record says that the endpoint speaks.
    pub(crate) alpn: Vec<Vec<u8>>,
    /// The configs of the record that hide the host.
    pub(crate) offer: RealOffer,
    /// The list of the record.
    pub(crate) list: EchConfigList,
    /// The first connection under the published key, which later probes build on.
    published: OnceCell<Attempt>,
    /// A connection without ECH, which shows the host's name.
    plain: OnceCell<Attempt>,
}

impl<'a> Deployment<'a> {
    /// Runs `probe` at every place, at a few of them at the same time.
    pub(crate) async fn at_each_place<'b, F>(&'b self, probe: impl FnMut(&'b Place) -> F)
    where
        F: Future<Output = ()>,
    {
        stream::iter(&self.places)
            .for_each_concurrent(AT_ONCE, probe)
            .await;
    }

    pub(crate) fn new(
        origin: &'a Origin,
        discovery: &'a Discovery,
        resolver: &'a Resolver,
        tls: &'a ProbeTls,
        dialer: Dialer,
        name_server_port: u16,
        log: &CheckLog,
    ) -> Self {
        let host = origin.host.to_string();
        let mut places = places(&host, discovery);
        if places.len() > MAX_PLACES {
            let more = places.split_off(MAX_PLACES).len();
            log.skip(
                "addresses",
                format!("{more} more: at most {MAX_PLACES} addresses of a host are probed"),
            );
        }
        Self {
            origin,
            host,
            discovery,
            resolver,
            tls,
            name_server_port,
            dialer,
            places,
        }
    }

    /// Connects to a place with this offer, under the host's name.
    pub(crate) async fn connect(
        &self,
        tls: &ClientTls,
        place: &Place,
        offer: EchOffer,
        alpn: &[&[u8]],
    ) -> Attempt {
        let target = TlsTarget::new(self.origin.host.server_name())
            .with_offer(offer)
            .with_alpn(alpn.iter().map(|id| id.to_vec()));
        self.dialer.dial(tls, &target, &place.at).await
    }

    /// Connects with real ECH and the usual protocols.
    pub(crate) async fn offer(&self, tls: &ClientTls, place: &Place, offer: RealOffer) -> Attempt {
        let offer = EchOffer::Real(Box::new(offer));
        self.connect(tls, place, offer, &PROTOCOLS).await
    }

    /// What came of the published key at a place; connects once.
    pub(crate) async fn published<'p>(&self, place: &'p Place) -> &'p Attempt {
        let connect = || self.offer(&self.tls.usual, place, place.offer.clone());
        place.published.get_or_init(connect).await
    }

    /// Whether a place has accepted the published key so far.
    pub(crate) fn is_accepted(&self) -> bool {
        let mut attempts = self.places.iter().filter_map(|p| p.published.get());
        attempts.any(Attempt::is_accepted)
    }

    /// What came of a connection without ECH; connects once, and shows the host's name.
    pub(crate) async fn plain<'p>(&self, place: &'p Place) -> &'p Attempt {
        let connect = || self.connect(&self.tls.usual, place, EchOffer::None, &PROTOCOLS);
        place.plain.get_or_init(connect).await
    }

    /// The offer that follows from retry_configs; `None` where none of them hides the host.
    pub(crate) fn retry_offer(&self, list: &EchConfigList) -> Option<RealOffer> {
        RealOffer::from_selection(list.select(), ConfigSource::Retry)?.hiding(&self.host)
    }
}

fn places(host: &str, discovery: &Discovery) -> Vec<Place> {
    let mut places = Vec::new();
    for (index, endpoint) in discovery.endpoints.iter().enumerate() {
        let Some(ech) = &endpoint.ech else { continue };
        let selection = ech.selection().cloned();
        let offer = selection
            .and_then(|selection| RealOffer::from_selection(selection, ConfigSource::Dns))
            .and_then(|offer| offer.hiding(host));
        let Some(offer) = offer else { continue };
        for address in &endpoint.addresses {
            let at = Location {
                target: endpoint.target.to_string(),
                address: SocketAddr::new(*address, endpoint.port),
            };
            // Twenty records with one list and one target are one place.
            let known = |other: &Place| other.at == at && other.list == *ech.list();
            if !places.iter().any(known) {
                places.push(Place {
                    at,
                    endpoint: index,
                    alpn: endpoint.alpn.clone(),
                    offer: offer.clone(),
                    list: ech.list().clone(),
                    published: OnceCell::new(),
                    plain: OnceCell::new(),
                });
            }
        }
    }
    places
}
