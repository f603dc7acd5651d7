//! What is checked: the origin, its discovery, and the places that the records lead to.

use std::net::SocketAddr;
use std::sync::Arc;

use echkit::config::EchConfigList;
use echkit::discover::{DiscoverOptions, Discovery, FixedAddresses};
use echkit::dns::Resolver;
use echkit::origin::Origin;
use echkit::policy::AddressFamily;
use echkit::rustls::pki_types::ServerName;
use echkit::tls::{ClientTls, ConfigSource, EchOffer, RealOffer, SessionUse, TlsTarget};
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::dial::{Attempt, AttemptEnd, Dialer};
use crate::fetch::{Fetched, Target, fetch};
use crate::finding::Location;
use crate::log::CheckLog;
use crate::report::FirstFlight;
use crate::tickets::Tickets;

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
    /// Without post-quantum groups, so that hellos are small.
    pub(crate) small: ClientTls,
    /// Its first key share fits no server.
    pub(crate) retrying: ClientTls,
    /// TLS 1.2 alone.
    pub(crate) tls12: ClientTls,
}

/// What a checker has for all deployments.
#[derive(Debug)]
pub(crate) struct CheckerParts {
    pub(crate) tls: ProbeTls,
    pub(crate) resolver: Resolver,
    pub(crate) discovery: DiscoverOptions,
    /// Where authoritative servers listen.
    pub(crate) name_server_port: u16,
    /// Where hosts are asked without TLS, if not at port 80.
    pub(crate) http_port: Option<u16>,
    pub(crate) dialer: Dialer,
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
    /// Where the host is asked without TLS; `None` where that is not known.
    pub(crate) http_port: Option<u16>,
    /// Addresses that are given and not looked up.
    pub(crate) fixed: &'a [FixedAddresses],
    /// The kinds of addresses to use.
    pub(crate) family: AddressFamily,
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
    /// The page of the host over ECH.
    page: OnceCell<PageVisit>,
}

/// A connection with real ECH over which a page was asked for.
#[derive(Debug)]
pub(crate) struct PageVisit {
    pub(crate) attempt: Attempt,
    /// The response, or why there is none.
    pub(crate) response: Result<Fetched, String>,
    /// The session tickets that came with it.
    pub(crate) tickets: Arc<Tickets>,
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
        checker: &'a CheckerParts,
        origin: &'a Origin,
        discovery: &'a Discovery,
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
        // The site without TLS that belongs to another port than 443 is anyone's guess.
        let own = (origin.port == 443).then_some(80);
        Self {
            origin,
            host,
            discovery,
            resolver: &checker.resolver,
            tls: &checker.tls,
            name_server_port: checker.name_server_port,
            http_port: checker.http_port.or(own),
            fixed: &checker.discovery.resolve,
            family: checker.discovery.family,
            dialer: checker.dialer.clone(),
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

    /// The first flight at the first place that has accepted the published key so far.
    pub(crate) fn first_flight(&self) -> Option<FirstFlight> {
        self.places.iter().find_map(|place| {
            let attempt = place.published.get().filter(|a| a.is_accepted())?;
            Some(FirstFlight {
                bytes: attempt.session.as_ref()?.first_flight,
                at: place.at.clone(),
                config: place.offer.chosen.config().encoded().to_vec(),
            })
        })
    }

    /// What came of a connection without ECH; connects once, and shows the host's name.
    pub(crate) async fn plain<'p>(&self, place: &'p Place) -> &'p Attempt {
        let connect = || self.connect(&self.tls.usual, place, EchOffer::None, &PROTOCOLS);
        place.plain.get_or_init(connect).await
    }

    /// One place of each endpoint that accepts the published key: what a server serves is rarely a
    /// matter of the address.
    pub(crate) async fn accepting(&self) -> Vec<&Place> {
        let mut chosen: Vec<&Place> = Vec::new();
        for place in &self.places {
            let known = chosen.iter().any(|other| other.endpoint == place.endpoint);
            if !known && self.published(place).await.is_accepted() {
                chosen.push(place);
            }
        }
        chosen
    }

    /// The page `/` of the host at a place, over ECH; connects once.
    pub(crate) async fn page<'p>(&self, place: &'p Place) -> &'p PageVisit {
        place.page.get_or_init(|| self.visit(place, "/")).await
    }

    /// Asks for a page of the host at a place, over ECH and never without: where the key is rejected,
    /// nothing is sent.
    pub(crate) async fn visit(&self, place: &Place, path: &'static str) -> PageVisit {
        let tickets = Arc::new(Tickets::default());
        let name = self.origin.host.server_name();
        let target = published_target(place, name, &tickets);
        let authority = self.origin.authority();
        let (attempt, response) = self.ask(place, target, authority, path).await;
        PageVisit {
            attempt,
            response,
            tickets,
        }
    }

    /// Offers tickets once more, for `name` and under the published key.
    pub(crate) async fn resume(
        &self,
        place: &Place,
        name: ServerName<'static>,
        tickets: &Arc<Tickets>,
    ) -> Attempt {
        let target = published_target(place, name, tickets);
        self.dialer.dial(&self.tls.usual, &target, &place.at).await
    }

    /// Asks the server of a place, without ECH, for the page of its public_name. The network sees
    /// that name alone.
    pub(crate) async fn visit_public(
        &self,
        place: &Place,
        name: ServerName<'static>,
    ) -> (Attempt, Result<Fetched, String>) {
        let host = name.to_str().into_owned();
        let authority = match place.at.address.port() {
            443 => host,
            port => format!("{host}:{port}"),
        };
        let target = TlsTarget::new(name)
            .with_offer(EchOffer::None)
            .with_alpn(PROTOCOLS.iter().map(|id| id.to_vec()));
        self.ask(place, target, authority, "/").await
    }

    async fn ask(
        &self,
        place: &Place,
        target: TlsTarget,
        authority: String,
        path: &'static str,
    ) -> (Attempt, Result<Fetched, String>) {
        let (attempt, stream) = self.dialer.open(&self.tls.usual, &target, &place.at).await;
        let (Some(stream), AttemptEnd::Finished { alpn }) = (stream, &attempt.end) else {
            let why = attempt.why().to_owned();
            return (attempt, Err(why));
        };
        let page = Target {
            scheme: "https",
            authority,
            path,
        };
        let http2 = alpn.as_deref() == Some(PROTOCOLS[0]);
        let limit = self.dialer.limit;
        let response = timeout(limit, fetch(stream, http2, &page)).await;
        let late = || Err(format!("no response within {} ms", limit.as_millis()));
        (attempt, response.unwrap_or_else(|_| late()))
    }

    /// The offer that follows from retry_configs; `None` where none of them hides the host.
    pub(crate) fn retry_offer(&self, list: &EchConfigList) -> Option<RealOffer> {
        RealOffer::from_selection(list.select(), ConfigSource::Retry)?.hiding(&self.host)
    }
}

/// `name` under the key that is published for a place, with tickets from there and to there.
fn published_target(place: &Place, name: ServerName<'static>, tickets: &Arc<Tickets>) -> TlsTarget {
    TlsTarget::new(name)
        .with_offer(EchOffer::Real(Box::new(place.offer.clone())))
        .with_alpn(PROTOCOLS.iter().map(|id| id.to_vec()))
        .with_sessions(SessionUse::Store(tickets.clone()))
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
                    page: OnceCell::new(),
                });
            }
        }
    }
    places
}
