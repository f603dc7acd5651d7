//! A server of an encrypted transport: its name, and its addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::bootstrap::Bootstrap;
use super::resolver_proxy::ResolverProxy;
use crate::origin::Host;
use crate::proxy::Wire;

/// A server of an encrypted transport.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Its name, against which its certificate is checked (RFC 8310 §8.1).
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) addresses: Bootstrap,
    /// The proxy that leads to it, for what runs over TCP.
    pub(super) proxy: Option<ResolverProxy>,
}

impl Upstream {
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.host.server_name()
    }

    /// Connects to one of its addresses over TCP, through the proxy where there is one, and performs
    /// the TLS handshake.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> io::Result<TlsStream<Wire>> {
        let tls = TlsConnector::from(Arc::clone(config));
        match &self.proxy {
            Some(proxy) => {
                let wire = Box::pin(proxy.connect(address)).await?;
                let connected = tls.connect(self.server_name(), wire).await;
                connected.map_err(|error| proxy.behind(&error))
            }
            None => {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                tls.connect(self.server_name(), Wire::Tcp(tcp)).await
            }
        }
    }
}
