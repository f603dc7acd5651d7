//! The proxy that a resolver is reached through.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::bootstrap::Bootstrap;
use super::exchange::Patience;
use super::options::ResolverOptions;
use crate::origin::Origin;
use crate::proxy::{Proxy, ProxyFault, ProxyHop, ProxyTarget, ProxyVariableError, Wire};

/// The proxy that a resolver over TLS or HTTPS is reached through.
#[derive(Debug)]
pub(super) struct ResolverProxy {
    hop: ProxyHop,
    /// Where the proxy is. The resolver can be asked only once there is a connection through the
    /// proxy.
    addresses: Bootstrap,
    patience: Patience,
}

impl ResolverProxy {
    /// The proxy of a resolver; `None` is the direct way.
    ///
    /// # Errors
    ///
    /// When the variable that counts does not name a proxy that can be used.
    pub(super) fn choose(
        resolver: &Origin,
        tls: &Arc<ClientConfig>,
        options: &ResolverOptions,
    ) -> Result<Option<Self>, ProxyVariableError> {
        let Some(proxy) = options.proxies.proxy_for(resolver)?.cloned() else {
            return Ok(None);
        };
        let hop = ProxyHop::new(proxy, || {
            Ok(match &options.proxy_tls {
                Some(config) => Arc::clone(config),
                None => for_proxies(tls),
            })
        })?;
        Ok(Some(Self {
            addresses: Bootstrap::of(hop.proxy().host()),
            patience: options.patience(),
            hop,
        }))
    }

    /// The proxy.
    pub(super) fn proxy(&self) -> &Proxy {
        self.hop.proxy()
    }

    /// The proxy's name, where the system's resolver is asked for it.
    pub(super) fn looked_up(&self) -> Option<String> {
        let looked_up = self.addresses.is_looked_up();
        looked_up.then(|| self.proxy().host().to_string())
    }

    /// Connects to an address of the resolver. The proxy is told the address alone.
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<Wire> {
        let proxy = self.proxy();
        let connected = match self.addresses.resolve(&self.patience).await {
            Ok(found) if found.is_empty() => Err(ProxyFault::Unresolved {
                reason: "it has no address".to_owned(),
            }),
            Ok(found) => {
                let at = |address| SocketAddr::new(address, proxy.port());
                let addresses: Vec<_> = found.into_iter().map(at).collect();
                let target = ProxyTarget::Address(address);
                self.hop.tunnel(&addresses, target).await
            }
            Err(error) => {
                let reason = error.in_words();
                Err(ProxyFault::Unresolved { reason })
            }
        };
        connected.map_err(|fault| {
            io::Error::other(ResolverProxyError {
                proxy: proxy.to_string(),
                fault,
            })
        })
    }

    /// The error of a handshake with what is behind the proxy.
    pub(super) fn behind(&self, error: &io::Error) -> io::Error {
        let proxy = self.proxy();
        io::Error::other(format!("through proxy {proxy}: {error}"))
    }
}

/// What verifies resolvers, for a proxy: without their protocols.
fn for_proxies(resolvers: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(resolvers);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A resolver could not be reached through its proxy.
#[derive(Debug)]
struct ResolverProxyError {
    proxy: String,
    fault: ProxyFault,
}

/// What to do about a proxy that does not lead to the resolver.
const DIRECT: &str = "; where direct connections are allowed, NO_PROXY (--noproxy) with the \
                      resolver's host makes one";

impl fmt::Display for ResolverProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "through proxy {}: ", self.proxy)?;
        match &self.fault {
            // A resolver is asked for by address, whatever the proxy may know of other hosts.
            ProxyFault::Refused { to, status } => {
                write!(f, "it answered CONNECT {to} with status {status}{DIRECT}")
            }
            ProxyFault::Socks { to, reason, .. } => {
                write!(f, "SOCKS5 to {to} failed: {reason}{DIRECT}")
            }
            fault => fault.fmt(f),
        }
    }
}

impl Error for ResolverProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.fault.source()
    }
}
