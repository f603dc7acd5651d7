//! Resolvers by URI.

use std::net::{IpAddr, SocketAddr};

use url::Url;

use super::bootstrap::Bootstrap;
use super::classic::{Classic, Protocol};
#[cfg(feature = "dns-https")]
use super::doh::Doh;
#[cfg(any(feature = "dns-https", feature = "dns-quic"))]
use super::doh_target::DohTarget;
use super::dot::Dot;
use super::link::Link;
use super::options::ResolverOptions;
use super::resolver_proxy::ResolverProxy;
use super::system::System;
use super::transport::{Encrypted, Transport};
use super::upstream::Upstream;
#[cfg(feature = "dns-quic")]
use super::{doh3::Doh3, doq::Doq};
use crate::origin::{Host, Origin};
use crate::proxy::{Proxy, ProxyVariableError};

/// The port of DNS in the clear (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// That of DNS over TLS (RFC 7858 §3.1) and over QUIC (RFC 9250 §4.1.1).
const ENCRYPTED_PORT: u16 = 853;

/// Schemes that need a TLS configuration.
pub(super) const ENCRYPTED: [&str; 4] = ["tls", "https", "h3", "quic"];

/// Those among them that run over TCP, and so through proxies.
const OVER_TCP: [&str; 2] = ["tls", "https"];

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
    /// The host that is asked; `None` where the system says which.
    pub(super) host: Option<Host>,
    /// The name that has to be looked up for it in the clear.
    pub(super) looked_up: Option<String>,
    /// The proxy that it is reached through.
    pub(super) proxy: Option<Proxy>,
    /// The name of that proxy, where it has to be looked up in the clear.
    pub(super) proxy_looked_up: Option<String>,
}

pub(super) fn parse(uri: &str, options: &ResolverOptions) -> Result<Parsed, ResolverError> {
    let whole = match uri.contains("://") || socket_address(uri, DNS_PORT).is_none() {
        true => uri.to_owned(),
        false => format!("udp://{uri}"),
    };
    parse_whole(whole, options)
}

impl Parsed {
    /// One in the clear.
    fn clear(uri: String, transport: Transport, host: Option<Host>) -> Self {
        Self {
            uri,
            transport,
            host,
            looked_up: None,
            proxy: None,
            proxy_looked_up: None,
        }
    }
}

fn parse_whole(uri: String, options: &ResolverOptions) -> Result<Parsed, ResolverError> {
    if uri == "system" {
        let transport = Transport::System(System::of_host());
        return Ok(Parsed::clear(uri, transport, None));
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(ResolverError::NoScheme(uri));
    };
    match scheme {
        "udp" | "tcp" => {
            let Some(server) = socket_address(rest, DNS_PORT) else {
                return Err(ResolverError::Address(uri));
            };
            let protocol = match scheme {
                "udp" => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            let transport = Transport::Classic(Classic::new(vec![server], protocol));
            let host = Host::Ip(server.ip());
            Ok(Parsed::clear(uri, transport, Some(host)))
        }
        _ if ENCRYPTED.contains(&scheme) => encrypted(&uri, scheme, rest, options),
        _ => Err(ResolverError::Scheme(scheme.to_owned())),
    }
}

fn encrypted(
    uri: &str,
    scheme: &str,
    rest: &str,
    options: &ResolverOptions,
) -> Result<Parsed, ResolverError> {
    let refused = |reason: String| ResolverError::Encrypted {
        uri: uri.to_owned(),
        reason,
    };
    if let Some(feature) = lacking(scheme) {
        let reason = format!("echkit was compiled without its feature {feature}");
        return Err(refused(reason));
    }
    let Some(tls) = &options.tls else {
        return Err(ResolverError::NoTls(uri.to_owned()));
    };
    #[cfg(any(feature = "dns-https", feature = "dns-quic"))]
    let (plain, variable) = match scheme {
        "https" | "h3" => DohTarget::split(rest).map_err(refused)?,
        _ => (rest.to_owned(), None),
    };
    #[cfg(not(any(feature = "dns-https", feature = "dns-quic")))]
    let plain = rest;
    let mut url =
        Url::parse(&format!("https://{plain}")).map_err(|error| refused(error.to_string()))?;
    let origin = Origin::from_url(&url).map_err(|error| refused(error.to_string()))?;
    let given = url.fragment().map(ToOwned::to_owned);
    url.set_fragment(None);
    let addresses = match (given, &origin.host) {
        (Some(list), _) => Bootstrap::Fixed(bootstrap(&list).map_err(refused)?),
        (None, host) => Bootstrap::of(host),
    };
    let looked_up = addresses.is_looked_up().then(|| origin.host.to_string());
    let proxy = match OVER_TCP.contains(&scheme) {
        true => {
            ResolverProxy::choose(&origin, tls, options).map_err(|error| ResolverError::Proxy {
                uri: uri.to_owned(),
                error,
            })?
        }
        false => None,
    };
    let through = proxy.as_ref().map(|proxy| proxy.proxy().clone());
    let proxy_looked_up = proxy.as_ref().and_then(ResolverProxy::looked_up);
    let upstream = |port| Upstream {
        host: origin.host.clone(),
        port,
        addresses,
        proxy,
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
                .map_err(|error| refused(error.to_string()))?;
            Box::new(Link::new(upstream(origin.port), doh3))
        }
        _ => {
            if url.path() != "/" || url.query().is_some() {
                return Err(refused("only a host and a port are allowed".to_owned()));
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
                    let doq = Doq::new(tls).map_err(|error| refused(error.to_string()))?;
                    Box::new(Link::new(upstream, doq))
                }
                _ => Box::new(Link::new(upstream, Dot::new(tls))),
            }
        }
    };
    Ok(Parsed {
        uri: uri.to_owned(),
        transport: Transport::Encrypted(transport),
        host: Some(origin.host),
        looked_up,
        proxy: through,
        proxy_looked_up,
    })
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
    /// The variable that names the proxy for an encrypted resolver does not hold one.
    #[error("{uri:?} has a proxy that cannot be used: {error}")]
    Proxy {
        /// The resolver's URI.
        uri: String,
        /// The variable, and what is wrong with it.
        error: ProxyVariableError,
    },
    /// An encrypted transport needs to know whom to trust.
    #[error("{0:?} needs a TLS configuration")]
    NoTls(String),
}
