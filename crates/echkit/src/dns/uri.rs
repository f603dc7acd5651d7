//! Resolvers by URI.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use echkit_proto::dns::Question;
use rustls::ClientConfig;
use url::Url;

use super::answer::RecordType;
use super::classic::{Classic, Protocol};
#[cfg(feature = "dns-https")]
use super::doh::Doh;
#[cfg(any(feature = "dns-https", feature = "dns-quic"))]
use super::doh_target::DohTarget;
use super::dot::Dot;
use super::link::Link;
use super::options::ResolverOptions;
use super::system::System;
use super::transport::{Encrypted, Transport};
use super::upstream::{Bootstrap, Upstream};
#[cfg(feature = "dns-quic")]
use super::{doh3::Doh3, doq::Doq};
use crate::origin::{Host, Origin};

/// The port of DNS in the clear (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// That of DNS over TLS (RFC 7858 §3.1) and over QUIC (RFC 9250 §4.1.1).
const ENCRYPTED_PORT: u16 = 853;

/// Schemes that need a TLS configuration.
pub(super) const ENCRYPTED: [&str; 4] = ["tls", "https", "h3", "quic"];

/// The feature of this crate that a scheme needs, where that is not there.
fn lacking(scheme: &str) -> Option<&'static str> {
    match scheme {
        "https" if cfg!(not(feature = "dns-https")) => Some("dns-https"),
        "h3" | "quic" if cfg!(not(feature = "dns-quic")) => Some("dns-quic"),
        _ => None,
    }
}

/// The resolver that a URI names.
pub(super) struct Parsed {
    /// The URI in full, where a short form was given.
    pub(super) uri: String,
    pub(super) transport: Transport,
    /// The name that has to be looked up for it in the clear.
    pub(super) looked_up: Option<String>,
}

pub(super) fn parse(uri: &str, options: &ResolverOptions) -> Result<Parsed, ResolverError> {
    let whole = match uri.contains("://") || socket_address(uri, DNS_PORT).is_none() {
        true => uri.to_owned(),
        false => format!("udp://{uri}"),
    };
    let (transport, looked_up) = transport(&whole, options)?;
    Ok(Parsed {
        uri: whole,
        transport,
        looked_up,
    })
}

fn transport(
    uri: &str,
    options: &ResolverOptions,
) -> Result<(Transport, Option<String>), ResolverError> {
    if uri == "system" {
        return Ok((Transport::System(System::of_host()), None));
    }
    let (scheme, rest) = uri
        .split_once("://")
        .ok_or_else(|| ResolverError::NoScheme(uri.to_owned()))?;
    match scheme {
        "udp" | "tcp" => {
            let server = socket_address(rest, DNS_PORT)
                .ok_or_else(|| ResolverError::Address(uri.to_owned()))?;
            let protocol = match scheme {
                "udp" => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            let classic = Classic::new(vec![server], protocol);
            Ok((Transport::Classic(classic), None))
        }
        _ if ENCRYPTED.contains(&scheme) => {
            encrypted(scheme, rest, options).map_err(|reason| match reason {
                Some(reason) => ResolverError::Encrypted {
                    uri: uri.to_owned(),
                    reason,
                },
                None => ResolverError::NoTls(uri.to_owned()),
            })
        }
        _ => Err(ResolverError::Scheme(scheme.to_owned())),
    }
}

/// Fails with `None` when there is no TLS configuration.
fn encrypted(
    scheme: &str,
    rest: &str,
    options: &ResolverOptions,
) -> Result<(Transport, Option<String>), Option<String>> {
    if let Some(feature) = lacking(scheme) {
        return Err(Some(format!(
            "echkit was compiled without its feature {feature}"
        )));
    }
    let tls: &Arc<ClientConfig> = options.tls.as_ref().ok_or(None)?;
    #[cfg(any(feature = "dns-https", feature = "dns-quic"))]
    let (plain, variable) = match scheme {
        "https" | "h3" => DohTarget::split(rest)?,
        _ => (rest.to_owned(), None),
    };
    #[cfg(not(any(feature = "dns-https", feature = "dns-quic")))]
    let plain = rest;
    let mut url = Url::parse(&format!("https://{plain}")).map_err(|error| error.to_string())?;
    let origin = Origin::from_url(&url).map_err(|error| error.to_string())?;
    let given = url.fragment().map(ToOwned::to_owned);
    url.set_fragment(None);
    let mut looked_up = None;
    let addresses = match (given, &origin.host) {
        (Some(list), _) => Bootstrap::Fixed(bootstrap(&list)?),
        (None, Host::Ip(address)) => Bootstrap::Fixed(vec![*address]),
        (None, Host::Name(name)) => {
            looked_up = Some(name.to_string());
            let question = Question {
                name: name.dns().clone(),
                kind: RecordType::A,
            };
            Bootstrap::System(System::of_host(), question)
        }
    };
    let upstream = |port| Upstream {
        host: origin.host.clone(),
        port,
        addresses,
    };
    let transport: Box<dyn Encrypted> = match scheme {
        #[cfg(feature = "dns-https")]
        "https" => {
            let doh = Doh::new(DohTarget::new(&url, variable), tls);
            Box::new(Link::new(upstream(origin.port), doh))
        }
        #[cfg(feature = "dns-quic")]
        "h3" => {
            let doh3 = Doh3::new(DohTarget::new(&url, variable), tls)
                .map_err(|error| error.to_string())?;
            Box::new(Link::new(upstream(origin.port), doh3))
        }
        _ => {
            if url.path() != "/" || url.query().is_some() {
                return Err(Some("only a host and a port are allowed".to_owned()));
            }
            // A URL forgets the port that is the default of its scheme.
            let authority = rest.split(['#', '/']).next().unwrap_or_default();
            let port = authority
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            let upstream = upstream(port.unwrap_or(ENCRYPTED_PORT));
            match scheme {
                #[cfg(feature = "dns-quic")]
                "quic" => {
                    let doq = Doq::new(tls).map_err(|error| error.to_string())?;
                    Box::new(Link::new(upstream, doq))
                }
                _ => Box::new(Link::new(upstream, Dot::new(tls))),
            }
        }
    };
    let transport = Transport::Encrypted(transport);
    Ok((transport, looked_up))
}

/// The addresses after `#`.
fn bootstrap(list: &str) -> Result<Vec<IpAddr>, String> {
    let parsed = list.split(',').map(|item| {
        let item = item.trim();
        Host::address(item).ok_or_else(|| format!("{item:?} after # is not an IP address"))
    });
    parsed.collect()
}

/// An address with or without a port.
fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    Some(SocketAddr::new(Host::address(text)?, port))
}

/// Why a URI does not name a resolver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolverError {
    /// Neither `system` nor a URI.
    #[error(
        "{0:?} is not a resolver; use system, an IP address, udp://IP, tcp://IP, tls://HOST, \
         quic://HOST, https://HOST/PATH or h3://HOST/PATH"
    )]
    NoScheme(String),
    /// A transport that does not exist here.
    #[error("the resolver scheme {0:?} is not supported; use udp, tcp, tls, quic, https or h3")]
    Scheme(String),
    /// `udp` and `tcp` need an address.
    #[error("{0:?} needs an IP address with or without a port, such as udp://192.0.2.1:53")]
    Address(String),
    /// The URI of an encrypted resolver that is not one.
    #[error("{uri:?} is not a resolver: {reason}")]
    Encrypted {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An encrypted transport needs to know whom to trust.
    #[error("{0:?} needs a TLS configuration")]
    NoTls(String),
}
