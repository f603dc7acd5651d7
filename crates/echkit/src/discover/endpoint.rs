//! Where to connect.

use std::net::IpAddr;

use echkit_proto::svcb::EchOfRecord;

use crate::origin::Host;

/// One place at which an origin can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// What made it an endpoint.
    pub kind: EndpointKind,
    /// The host whose addresses these are. Certificates are checked for the *origin*, never for
    /// this name (RFC 9460 §9.4).
    pub target: Host,
    /// The port to connect to.
    pub port: u16,
    /// The SVCB ALPN set (RFC 9460 §7.1.1): it decides between TCP and QUIC. A ClientHello offers
    /// everything that the client speaks on that transport, whatever is in here (§7.1.2).
    /// Empty where no record says anything.
    pub alpn: Vec<Vec<u8>>,
    /// Addresses in the order of the answers, IPv6 first.
    pub addresses: Vec<IpAddr>,
    /// Whether the addresses are the record's hints, for want of answers (RFC 9460 §7.3).
    pub from_hints: bool,
    /// The ECHConfigList that the record carries, and the config in it that the client can use.
    pub ech: Option<EchOfRecord>,
    /// The record in [`Discovery::records`](super::Discovery::records) that this comes from.
    pub record: Option<usize>,
}

impl Endpoint {
    /// Whether the record has an ECHConfig that the client can use.
    pub fn can_offer_ech(&self) -> bool {
        self.ech.as_ref().is_some_and(EchOfRecord::is_usable)
    }
}

/// What made a place an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointKind {
    /// A compatible ServiceMode record.
    Service,
    /// The end of an alias chain without such records (RFC 9460 §3).
    AliasEnd,
    /// The origin's own host and port, as if there were no records.
    Authority,
    /// Named by the caller; of the records it has the ECHConfigs alone.
    Fixed,
}
