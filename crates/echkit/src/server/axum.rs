//! The listener below axum.

use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::TcpStream;

use super::EchOutcome;
use super::acceptor::Accepted;
use super::listener::Listener;

/// What axum's handlers may know of a connection over a [`Listener`].
///
/// ```no_run
/// use axum::extract::ConnectInfo;
/// use axum::{Router, routing};
/// use echkit::server::{ConnectionInfo, Listener};
///
/// async fn page(ConnectInfo(info): ConnectInfo<ConnectionInfo>) -> String {
///     format!("{} came with ECH {:?}", info.address, info.ech)
/// }
///
/// # async fn serve(listener: Listener) -> std::io::Result<()> {
/// let site = Router::new().route("/", routing::get(page));
/// axum::serve(listener, site.into_make_service_with_connect_info::<ConnectionInfo>()).await
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The client's address.
    pub address: SocketAddr,
    /// What became of the client's ECH offer.
    pub ech: EchOutcome,
}

impl Connected<IncomingStream<'_, Listener>> for ConnectionInfo {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            ech: stream.io().outcome.clone(),
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Accepted<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}
