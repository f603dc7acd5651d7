//! Which proxy the way to an origin leads through, and what the proxy may learn.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::connector_parts::ConnectorParts;
use crate::error::Cause;
use crate::origin::{HostName, Origin, Scheme};
use crate::policy::AddressFamily;
use crate::proxy::{Proxy, ProxyFault, ProxyKind, ProxyTarget};

/// The way to an origin through a proxy.
#[derive(Clone, Debug)]
pub(super) struct ProxyRoute {
    pub(super) proxy: Proxy,
    /// The host that the proxy looks up; `None` where it is asked for addresses alone.
    named: Option<HostName>,
}

impl ProxyRoute {
    /// The way to `origin`; `None` is the direct one.
    ///
    /// # Errors
    ///
    /// Where the proxy would learn a name that ECH may hide. Whether it does is in the record, and
    /// would be known too late: who leaves lookups to a proxy may have no resolver to ask.
    pub(super) fn choose(parts: &ConnectorParts, origin: &Origin) -> Result<Option<Self>, Cause> {
        let found = parts.proxies.proxy_for(origin).map_err(|error| {
            let reason = error.to_string();
            let setting = "proxy";
            Cause::Setting { setting, reason }
        })?;
        let Some(proxy) = found.cloned() else {
            return Ok(None);
        };
        let host = match parts.overrides.endpoint(origin) {
            Some((host, _)) => host,
            None => origin.host.clone(),
        };
        let mut route = Self { proxy, named: None };
        if parts.proxy_resolves || route.proxy.kind() == ProxyKind::Socks5h {
            route.named = host.name().cloned();
        }
        if route.named.is_some() && !parts.proxy_resolves && parts.policy.ech.offers() {
            return Err(route.cause(&origin.host.to_string(), ProxyFault::WouldLearnName));
        }
        Ok(Some(route))
    }

    /// The host that the proxy looks up.
    pub(super) fn named(&self) -> Option<&HostName> {
        self.named.as_ref()
    }

    /// Where the proxy is asked to connect to: the name that it looks up where `address` is its
    /// placeholder, else the address.
    pub(super) fn target(&self, address: SocketAddr) -> ProxyTarget {
        match &self.named {
            Some(name) if address.ip().is_unspecified() => {
                ProxyTarget::Name(name.clone(), address.port())
            }
            _ => ProxyTarget::Address(address),
        }
    }

    /// A placeholder for the addresses of such a host until the proxy is asked for it. It is no
    /// address that can be connected to.
    pub(super) fn stand_in(family: AddressFamily) -> IpAddr {
        match family {
            AddressFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
            AddressFamily::Any | AddressFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// The error of a connection to `host`.
    pub(super) fn cause(&self, host: &str, fault: ProxyFault) -> Cause {
        Cause::Proxy {
            host: host.to_owned(),
            proxy: self.proxy.to_string(),
            fault,
        }
    }
}

/// Whether requests to `origin` may be sent to the proxy in absolute-form, without a tunnel.
pub(super) fn forwards(proxy: &Proxy, origin: &Origin) -> bool {
    proxy.kind().is_http() && origin.scheme == Scheme::Http
}
