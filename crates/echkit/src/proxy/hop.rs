//! A proxy as connections are made through it.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::fault::ProxyFault;
use super::http_connect::http_connect;
use super::proxy_uri::{Proxy, ProxyKind};
use super::socks::socks_connect;
use super::target::ProxyTarget;
use super::tcp_race::connect_first;
use super::wire::Wire;

/// A proxy as connections are made through it.
#[derive(Clone, Debug)]
pub(crate) struct ProxyHop {
    proxy: Proxy,
    /// For a proxy over TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl ProxyHop {
    /// `tls` is for a proxy over TLS, and made for no other.
    pub(crate) fn new<E>(
        proxy: Proxy,
        tls: impl FnOnce() -> Result<Arc<ClientConfig>, E>,
    ) -> Result<Self, E> {
        let tls = match proxy.kind() {
            ProxyKind::Https => Some(tls()?),
            _ => None,
        };
        Ok(Self { proxy, tls })
    }

    /// The proxy.
    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Connects to the proxy, at the first of its addresses that takes the connection.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr]) -> Result<Wire, ProxyFault> {
        let unreachable = |source| ProxyFault::Unreachable { source };
        let tcp = connect_first(addresses, TcpStream::connect).await;
        let tcp = tcp.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let Some(config) = &self.tls else {
            return Ok(Wire::Tcp(tcp));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let handshake = connector.connect(self.proxy.host().server_name(), tcp);
        let failed = |source| ProxyFault::Tls { source };
        Ok(Wire::TlsToProxy(Box::new(handshake.await.map_err(failed)?)))
    }

    /// Connects to `target` through the proxy.
    pub(crate) async fn tunnel(
        &self,
        addresses: &[SocketAddr],
        target: ProxyTarget,
    ) -> Result<Wire, ProxyFault> {
        let mut wire = self.connect(addresses).await?;
        match self.proxy.kind().is_http() {
            true => {
                http_connect(&mut wire, &self.proxy, &target.to_string()).await?;
                Ok(wire)
            }
            false => socks_connect(wire, &self.proxy, target).await,
        }
    }
}
