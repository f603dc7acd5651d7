//! What DNS says about an origin, for Python.

use std::net::{IpAddr, SocketAddr};

use echkit::discover::{DiscoverError, Discovery, DnsReport, Endpoint, EndpointKind, Peer};
use echkit::origin::Host;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::ech_config::EchConfigList;

/// What DNS says about an origin.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Found(pub(crate) Discovery);

/// What to offer, and why nothing may be sent.
type OfferOrRefusal = (Option<EchConfigList>, Option<String>);

#[pymethods]
impl Found {
    /// All of it, as a JSON document.
    fn document(&self) -> String {
        document(&self.0).to_string()
    }

    /// What to offer to a peer, which is given by address and port, without an address where it has
    /// none, or as `None` where it is not known; or why no ClientHello may be sent to it.
    fn offer_to(
        &self,
        peer: Option<(Option<IpAddr>, u16)>,
        required: bool,
    ) -> PyResult<OfferOrRefusal> {
        let peer = match peer {
            None => Peer::Unknown,
            Some((None, _)) => Peer::WithoutAddress,
            Some((Some(address), port)) => Peer::At(SocketAddr::new(address, port)),
        };
        match self.0.offer_to(peer, required) {
            Ok(offer) => Ok((offer.map(EchConfigList::of).transpose()?, None)),
            Err(refusal) => Ok((None, Some(refusal.to_string()))),
        }
    }
}

fn document(discovery: &Discovery) -> Value {
    json!({
        "origin": discovery.origin.to_string(),
        "host": discovery.origin.host.to_string(),
        "port": discovery.origin.port,
        "dns": DnsReport::from(discovery),
        "endpoints": discovery.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "error": discovery.error.as_ref().map(|error| json!({
            "kind": error_kind(error),
            "message": error.to_string(),
        })),
        "ttl_s": discovery.ttl.map(|ttl| ttl.as_secs()),
        "elapsed_ms": discovery.elapsed.as_micros() as f64 / 1000.0,
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "kind": match endpoint.kind {
            EndpointKind::Service => "service",
            EndpointKind::AliasEnd => "alias_end",
            EndpointKind::Authority => "authority",
            EndpointKind::Fixed => "fixed",
            _ => "other",
        },
        "target": match &endpoint.target {
            Host::Name(name) => name.to_string(),
            Host::Ip(address) => address.to_string(),
        },
        "port": endpoint.port,
        "alpn": endpoint
            .alpn
            .iter()
            .map(|id| id.escape_ascii().to_string())
            .collect::<Vec<_>>(),
        "addresses": endpoint.addresses,
        "from_hints": endpoint.from_hints,
        "ech": endpoint.ech.as_ref().map(|ech| ech.list().to_base64()),
        "ech_usable": endpoint.can_offer_ech(),
        "record": endpoint.record,
    })
}

fn error_kind(error: &DiscoverError) -> &'static str {
    match error {
        DiscoverError::NoSuchHost(_) => "no_such_host",
        DiscoverError::NoAddresses { .. } => "no_addresses",
        DiscoverError::AddressLookup { .. } => "address_lookup",
        DiscoverError::HttpsLookup { .. } => "https_lookup",
        DiscoverError::NoCommonProtocol { .. } => "no_common_protocol",
        _ => "other",
    }
}
