//! Proxies on loopback, good, odd and hostile, that keep what passes: HTTP CONNECT and absolute-form
//! (RFC 9112 §3.2), over TCP or TLS, and SOCKS5 (RFC 1928). The first byte of a client decides which.
//!
//! A [`Testbed`](crate::Testbed) has one for each row of [`proxy_list`](crate::proxy_list); tests
//! start others with [`TestProxy::start`]. No proxy connects to anywhere but loopback.

mod capture;
mod destination;
mod habit;
mod http;
mod socks;
mod tunnel;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::accept::each_connection;
use crate::case::Ipv6;
use crate::error::TestbedError;
use crate::ports;

pub use capture::ProxyCapture;
pub use habit::{PROXY_PASSWORD, PROXY_USER, ProxyHabit};

pub(crate) use capture::ProxyRecorder;

use capture::ProxyEntry;

/// A proxy on 127.0.0.1 and, where the machine has it, on ::1 at the same port. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct TestProxy {
    addresses: Vec<SocketAddr>,
    recorder: ProxyRecorder,
    tasks: JoinSet<()>,
}

impl TestProxy {
    /// Starts a proxy on a free port.
    ///
    /// # Errors
    ///
    /// When loopback cannot be listened on.
    pub async fn start(habit: ProxyHabit) -> Result<Self, TestbedError> {
        Self::listen(0, habit, None, "a proxy").await
    }

    /// Starts a proxy over TLS on a free port.
    ///
    /// # Errors
    ///
    /// When loopback cannot be listened on.
    pub async fn start_tls(
        habit: ProxyHabit,
        config: impl Into<Arc<ServerConfig>>,
    ) -> Result<Self, TestbedError> {
        Self::listen(0, habit, Some(config.into()), "a proxy").await
    }

    /// Starts a proxy at a port; 0 is any that is free.
    pub(crate) async fn listen(
        port: u16,
        habit: ProxyHabit,
        tls: Option<Arc<ServerConfig>>,
        what: &str,
    ) -> Result<Self, TestbedError> {
        let (listeners, port) = ports::tcp_dual(port, Ipv6::Served, what).await?;
        let recorder = ProxyRecorder::default();
        let mut tasks = JoinSet::new();
        let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
        for listener in listeners {
            addresses.extend(listener.local_addr().ok().filter(SocketAddr::is_ipv6));
            let server = ProxyServer {
                habit,
                tls: tls.clone().map(TlsAcceptor::from),
                recorder: recorder.clone(),
            };
            tasks.spawn(server.serve(listener));
        }
        Ok(Self {
            addresses,
            recorder,
            tasks,
        })
    }

    /// Its address in IPv4.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Its address in IPv6, where the machine has it.
    pub fn ipv6_address(&self) -> Option<SocketAddr> {
        self.addresses.get(1).copied()
    }

    /// Its URI, such as `http://127.0.0.1:3128`.
    pub fn uri(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address())
    }

    /// Its URI with [`PROXY_USER`] and [`PROXY_PASSWORD`].
    pub fn uri_with_credentials(&self, scheme: &str) -> String {
        format!(
            "{scheme}://{PROXY_USER}:{PROXY_PASSWORD}@{}",
            self.address()
        )
    }

    /// What passed, one entry for each connection, oldest first: up to 64 KiB in each direction of
    /// the last 1024. Of a proxy over TLS it is what was inside.
    pub fn captures(&self) -> Vec<ProxyCapture> {
        self.recorder.captures()
    }

    /// Forgets what was captured.
    pub fn clear_captures(&self) {
        self.recorder.clear();
    }

    /// Where it was asked to connect to, in order.
    pub fn asked(&self) -> Vec<String> {
        let captures = self.captures().into_iter();
        captures.filter_map(|capture| capture.asked).collect()
    }

    /// Whether `name` can be read in what passed, in either direction and in any case of letters.
    pub fn shows(&self, name: &str) -> bool {
        self.captures().iter().any(|capture| capture.contains(name))
    }

    /// How many bytes it has kept.
    pub fn kept(&self) -> usize {
        let captures = self.captures().into_iter();
        captures
            .map(|capture| capture.sent.len() + capture.received.len())
            .sum()
    }

    pub(crate) fn recorder(&self) -> ProxyRecorder {
        self.recorder.clone()
    }

    /// Ends it, and waits until its ports are free.
    pub(crate) async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// What each listener of a proxy does.
#[derive(Clone)]
struct ProxyServer {
    habit: ProxyHabit,
    tls: Option<TlsAcceptor>,
    recorder: ProxyRecorder,
}

impl ProxyServer {
    /// Serves until aborted; its connections end with it.
    async fn serve(self, listener: TcpListener) {
        each_connection(listener, |tcp, client| {
            let server = self.clone();
            async move {
                let entry = server.recorder.begin(client);
                // Clients that leave are expected; the capture says how far they came.
                if let Err(error) = server.connection(tcp, &entry).await {
                    tracing::debug!(%error, "proxied connection ended");
                }
                entry.end();
            }
        })
        .await;
    }

    async fn connection(&self, tcp: TcpStream, entry: &ProxyEntry) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        match &self.tls {
            _ if matches!(self.habit, ProxyHabit::ClosesAtOnce) => Ok(()),
            Some(acceptor) => self.speak(acceptor.accept(tcp).await?, entry).await,
            None => self.speak(tcp, entry).await,
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
        entry: &ProxyEntry,
    ) -> io::Result<()> {
        let mut client = entry.tap_client(stream);
        let first = client.read_u8().await?;
        match self.habit {
            ProxyHabit::Silent => tunnel::read_on(client).await,
            ProxyHabit::Answers(bytes) => tunnel::end_with(client, bytes).await,
            _ if first == socks::VERSION => socks::serve(client, self.habit, entry).await,
            _ => http::serve(client, first, self.habit, entry).await,
        }
    }
}
