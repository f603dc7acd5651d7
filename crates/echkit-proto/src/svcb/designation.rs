//! The encrypted resolvers that a resolver in the clear designates (RFC 9462, RFC 9461).

use core::fmt;
use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use rand::seq::SliceRandom;

use super::name::DomainName;
use super::params::SvcParamKey;
use super::rrset::{Rrset, hints};

/// The name at which a resolver in the clear is asked for its encrypted forms (RFC 9462 §4).
pub const DESIGNATION_NAME: &str = "_dns.resolver.arpa";
/// More designations than this are not tried.
const MAX_CANDIDATES: usize = 8;

/// A protocol at a place that a server designates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesignatedResolver {
    /// The host; its certificate must be good for the address of the resolver that designates it.
    pub target: DomainName,
    /// The port.
    pub port: u16,
    /// Addresses of the target, [`MAX_HINTS`](super::MAX_HINTS) of each family at most.
    pub hints: Vec<IpAddr>,
    /// What is spoken there.
    pub protocol: EncryptedDns,
}

/// An encrypted transport of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncryptedDns {
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// DNS over HTTPS (RFC 8484), with the path.
    Https(String),
}

impl DesignatedResolver {
    /// The URI of this resolver under the address of the one in the clear, at `addresses`: RFC 9462
    /// §4.2 wants the certificate to be good for that address, and §6.3 the URI to have it for a
    /// host.
    pub fn uri(&self, server: IpAddr, addresses: &[IpAddr]) -> String {
        let place = SocketAddr::new(server, self.port);
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(",");
        let (scheme, path) = match &self.protocol {
            EncryptedDns::Tls => ("tls", ""),
            EncryptedDns::Quic => ("quic", ""),
            EncryptedDns::Https(path) => ("https", path.as_str()),
        };
        format!("{scheme}://{place}{path}#{addresses}")
    }
}

impl fmt::Display for DesignatedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            EncryptedDns::Tls => "DNS over TLS",
            EncryptedDns::Quic => "DNS over QUIC",
            EncryptedDns::Https(_) => "DNS over HTTPS",
        };
        write!(f, "{protocol} at {} port {}", self.target, self.port)
    }
}

/// What can be used of the records at [`DESIGNATION_NAME`], in the order in which to try it
/// (RFC 9462 §4).
pub fn designated_resolvers(set: &Rrset, rng: &mut impl Rng) -> Vec<DesignatedResolver> {
    // RFC 9460 §2.4.1: an alias beside services wins, and one here leads nowhere.
    if set.records.iter().any(|record| record.is_alias()) {
        return Vec::new();
    }
    let mut records: Vec<_> = set.records.iter().collect();
    records.shuffle(rng);
    // Stable, so that equals stay shuffled.
    records.sort_by_key(|record| record.priority);
    let mut candidates = Vec::new();
    for record in records {
        let params = &record.params;
        let understood = |key: &SvcParamKey| key.is_known() && *key != SvcParamKey::ECH;
        // RFC 9462 §4: `.` means no resolver at a name without an owner.
        if record.target.is_root() || !params.mandatory.iter().all(understood) {
            continue;
        }
        let hints = hints(params, rng);
        // RFC 9461 §4.1: there is no default protocol.
        for alpn in &params.alpn {
            let (protocol, port) = match alpn.as_slice() {
                b"dot" => (EncryptedDns::Tls, 853),
                b"doq" => (EncryptedDns::Quic, 853),
                b"h2" => match params.dohpath.as_deref().and_then(path) {
                    Some(path) => (EncryptedDns::Https(path), 443),
                    None => continue,
                },
                _ => continue,
            };
            candidates.push(DesignatedResolver {
                target: record.target.clone(),
                port: params.port.unwrap_or(port),
                hints: hints.clone(),
                protocol,
            });
        }
    }
    candidates.retain(|candidate| candidate.port != 0);
    candidates.truncate(MAX_CANDIDATES);
    candidates
}

/// The path that questions are posted to: a template without its variable (RFC 8484 §4.1.1,
/// RFC 9461 §5). `None` for templates that say more.
fn path(template: &str) -> Option<String> {
    let path = template.replace("{?dns}", "").replace("{&dns}", "");
    let simple = path.starts_with('/') && !path.contains(['{', '}', '#']);
    (simple && path != template).then_some(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// The URIs for a server at 192.0.2.1.
    fn uris(records: &[&str]) -> Vec<String> {
        let set = Rrset {
            owner: DESIGNATION_NAME.parse().unwrap(),
            records: records.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let server = "192.0.2.1".parse().unwrap();
        designated_resolvers(&set, &mut StdRng::seed_from_u64(1))
            .iter()
            .map(|candidate| candidate.uri(server, &candidate.hints))
            .collect()
    }

    #[test]
    fn designations_become_uris_in_order_of_priority() {
        let records = [
            "3 dns.test. alpn=h2,h3 dohpath=/dns-query{?dns} ipv4hint=192.0.2.9",
            "1 dns.test. alpn=doq ipv4hint=192.0.2.9 ipv6hint=2001:db8::9",
            "2 dns.test. alpn=dot port=8853 mandatory=alpn,port ipv4hint=192.0.2.9",
        ];
        assert_eq!(
            uris(&records),
            [
                "quic://192.0.2.1:853#2001:db8::9,192.0.2.9",
                "tls://192.0.2.1:8853#192.0.2.9",
                "https://192.0.2.1:443/dns-query#192.0.2.9",
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_is_passed_over() {
        for record in [
            // Names no resolver.
            "1 . alpn=dot",
            "1 dns.test. alpn=h2",
            "1 dns.test. alpn=h2 dohpath=/q{?dns,other}",
            "1 dns.test. alpn=h2 dohpath=/q",
            "1 dns.test. alpn=coap",
            "1 dns.test. alpn=dot mandatory=key700 key700=x",
            "1 dns.test. alpn=dot port=0",
            "1 dns.test. port=853",
        ] {
            assert_eq!(uris(&[record]), [""; 0], "{record}");
            let good = "2 dns.test. alpn=dot ipv4hint=192.0.2.9";
            assert_eq!(uris(&[record, good]), ["tls://192.0.2.1:853#192.0.2.9"]);
        }
        assert_eq!(uris(&["0 dns.test.", "1 dns.test. alpn=dot"]), [""; 0]);
    }
}
