//! SVCB and HTTPS records (RFC 9460) with their `ech` parameter (RFC 9848), as bytes and values.
//!
//! [`query_name`] says where to ask, [`Record::parse`] reads raw RDATA, and [`Rrset::resolve`]
//! turns the records of one answer into what they mean for a client: an alias to follow, or
//! endpoints in the order in which to try them, with the reason for each record passed over.
//! [`AliasWalk`] follows aliases from answer to answer, and [`HttpsFindings::plan`] makes the
//! places to connect to of what it found.
//!
//! Everything here is about the `https` mapping of RFC 9460 §9; the wire and text forms are the
//! same for SVCB records.

mod designation;
mod ech;
mod lines;
mod name;
mod params;
mod plan;
mod record;
mod rrset;
mod text;
mod walk;

pub use designation::{DESIGNATION_NAME, DesignatedResolver, EncryptedDns, designated_resolvers};
pub use ech::EchOfRecord;
pub(crate) use lines::ech_value;
pub use lines::{RecordLine, RecordLineError, looks_like_records, record_lines};
pub use name::{DomainName, NameError};
pub use params::{Params, ParamsError, SvcParamKey};
pub use plan::{EndpointPlan, PlannedPlace, Reliance};
pub use record::{Record, RecordError};
pub use rrset::{
    Capabilities, JudgedRecord, MAX_HINTS, MalformedRrset, RecordUnusable, Resolution, Rrset,
    Service, is_svcb_reliant,
};
pub use text::TextError;
pub use walk::{AliasProblem, AliasWalk, HttpsFindings, WalkStep};

/// The DNS type number of SVCB records (RFC 9460 §14.1).
pub const TYPE_SVCB: u16 = 64;
/// The DNS type number of HTTPS records (RFC 9460 §14.2).
pub const TYPE_HTTPS: u16 = 65;

/// The ALPN set that HTTPS records have unless they say `no-default-alpn` (RFC 9460 §9).
pub const DEFAULT_ALPN: &[u8] = b"http/1.1";

/// The scheme of an origin, as far as HTTPS records care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The port that a URL of this scheme means when it names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme as URLs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The port of the `https` URL that replaces this origin: port 80 becomes 443, others stay
/// (RFC 9460 §9.5).
pub fn https_port(scheme: Scheme, port: u16) -> u16 {
    match (scheme, port) {
        (Scheme::Http, 80) => 443,
        _ => port,
    }
}

/// Where the HTTPS record of an origin lives (RFC 9460 §9.1).
///
/// An `http` origin is asked for as its `https` counterpart (§9.5). An origin whose host is an IP
/// address has no such name. Fails only where the host is so long that no prefix fits.
pub fn query_name(scheme: Scheme, host: &DomainName, port: u16) -> Result<DomainName, NameError> {
    match https_port(scheme, port) {
        443 => Ok(host.clone()),
        port => host.prepend("_https")?.prepend(format!("_{port}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn asks_at_the_host_or_below_its_port() {
        let host: DomainName = "example.com".parse().unwrap();
        for (scheme, port, name) in [
            (Scheme::Https, 443, "example.com"),
            (Scheme::Http, 80, "example.com"),
            (Scheme::Http, 443, "example.com"),
            (Scheme::Https, 8443, "_8443._https.example.com"),
            (Scheme::Https, 80, "_80._https.example.com"),
            (Scheme::Http, 8080, "_8080._https.example.com"),
        ] {
            assert_eq!(query_name(scheme, &host, port).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_host_too_long_for_the_prefix_is_an_error() {
        let host = format!("{}.{}", vec!["a".repeat(63); 3].join("."), "a".repeat(61));
        let host: DomainName = host.parse().unwrap();
        assert!(query_name(Scheme::Https, &host, 443).is_ok());
        assert_eq!(
            query_name(Scheme::Https, &host, 8443),
            Err(NameError::TooLong)
        );
    }
}
