//! The records by which the resolver designates its encrypted forms (RFC 9462 §4).

use std::net::SocketAddr;

use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, Record, RecordType};

use crate::names::{DOH_PATH, in_zone};
use crate::zone::{self, TTL};

/// The zone without an owner: every resolver answers for it on its own.
pub(crate) const ZONE: &str = "resolver.arpa";

/// The encrypted forms that a resolver has, by the ALPN ids of their protocols, the preferred
/// first.
pub(crate) fn records(forms: &[(&str, SocketAddr)]) -> Result<Vec<Record>, String> {
    let record = |(place, (alpn, address)): (usize, &(&str, SocketAddr))| {
        let more = match *alpn {
            "h2" => format!(" dohpath={}{{?dns}}", DOH_PATH),
            _ => String::new(),
        };
        let text = format!(
            "{} {}. alpn={alpn} port={} ipv4hint={}{more}",
            place + 1,
            in_zone("dns"),
            address.port(),
            address.ip(),
        );
        let svcb: echkit_proto::svcb::Record =
            text.parse().map_err(|error| format!("`{text}`: {error}"))?;
        let wire = svcb
            .encode()
            .map_err(|error| format!("`{text}`: {error}"))?;
        let rdata = RData::Unknown {
            code: RecordType::SVCB,
            rdata: NULL::with(wire),
        };
        let owner = zone::name(&format!("_dns.{ZONE}"))?;
        Ok(Record::from_rdata(owner, TTL, rdata))
    };
    forms.iter().enumerate().map(record).collect()
}
