//! One client, from its first byte to the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use echkit::server::close_after_alert;
use echkit_proto::server::{ClientFacing, EchKeys, ForwardedHello, Forwarding, Rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::backend::Backend;
use super::limits::RouteLimits;
use super::passed::Passed;
use super::proxy_header::{self, Proxied};
use super::relay::{RelayEnd, relay};
use super::report::{RouteCounts, RouteEnd, RoutedConnection};
use super::table::RouteTable;
use crate::connection_limits::{ConnectionLimits, ConnectionSlot};

/// How much is read at a time while hellos are under way: one with a post-quantum key share.
const READ_SIZE: usize = 4096;

/// What all connections of a router share at the moment when they begin.
pub(super) struct Shared {
    pub(super) table: Arc<RouteTable>,
    pub(super) keys: Arc<EchKeys>,
    pub(super) rules: Rules,
    pub(super) limits: RouteLimits,
    pub(super) accept_proxy: bool,
    pub(super) hellos: ConnectionLimits,
    pub(super) connections: ConnectionLimits,
    pub(super) counts: Arc<RouteCounts>,
}

/// A client that was just accepted.
pub(super) struct Client {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) hello_slot: ConnectionSlot,
    pub(super) slot: ConnectionSlot,
}

/// Serves a client to its end, and says what became of it.
pub(super) async fn serve(client: Client, shared: Shared) -> RoutedConnection {
    let begun = Instant::now();
    let mut ended = RoutedConnection {
        client: client.peer,
        hello: None,
        backend: None,
        to_server: 0,
        to_client: 0,
        duration: begun.elapsed(),
        end: RouteEnd::Nothing,
    };
    let passed = Passed::default();
    ended.end = run(client, &shared, begun, &mut ended, &passed).await;
    ended.to_server = passed.to_server.load(Ordering::Relaxed);
    ended.to_client = passed.to_client.load(Ordering::Relaxed);
    ended.duration = begun.elapsed();
    ended
}

async fn run(
    client: Client,
    shared: &Shared,
    begun: Instant,
    ended: &mut RoutedConnection,
    passed: &Passed,
) -> RouteEnd {
    let Client {
        tcp,
        peer,
        hello_slot,
        slot,
    } = client;
    // Whole flights are written at once; waiting for more only delays them.
    let _ = tcp.set_nodelay(true);
    let limit = shared.limits.hello_timeout;
    let mut opening = Opening {
        until: begun + limit,
        tcp,
        shared,
        proxied: Proxied::Local,
        received: Vec::new(),
        passed,
    };
    if let Ok(local) = opening.tcp.local_addr() {
        opening.proxied = Proxied::Addresses {
            client: peer,
            local,
        };
    }
    if shared.accept_proxy {
        if let Err(end) = opening.read_proxy_header().await {
            return end;
        }
        if let Proxied::Addresses { client, .. } = opening.proxied {
            ended.client = client;
        }
    }
    let address = ended.client.ip();
    let Some(hello_admission) = shared.hellos.admit(hello_slot, address) else {
        return RouteEnd::TooMany;
    };
    let Some(_admission) = shared.connections.admit(slot, address) else {
        return RouteEnd::TooMany;
    };
    let forwarding = match opening.read_hello().await {
        Ok(forwarding) => forwarding,
        Err(end) => return refuse(opening.tcp, end).await,
    };
    shared.counts.hello(forwarding.hello());
    ended.hello = Some(forwarding.hello().clone());
    let backend = match choose(forwarding.hello(), &shared.table) {
        Ok(backend) => Arc::clone(backend),
        Err(end) => return refuse(opening.tcp, end).await,
    };
    ended.backend = Some(Arc::clone(&backend));
    let (mut client, mut server) = match opening.forward(forwarding, &backend).await {
        Ok(both) => both,
        Err((client, end)) => return refuse(client, end).await,
    };
    drop(hello_admission);
    let end = relay(&mut client, &mut server, shared.limits.idle_timeout, passed).await;
    match end {
        RelayEnd::Closed => RouteEnd::Closed,
        RelayEnd::ServerLeft => {
            // What it said last must not be lost to a reset.
            close_after_alert(client).await;
            RouteEnd::Closed
        }
        RelayEnd::Idle => RouteEnd::Idle(shared.limits.idle_timeout),
        RelayEnd::Broken(error) => RouteEnd::Broken(error),
    }
}

/// RFC 9849 §7.1: an accepted hello goes by its inner name, every other one by the name outside.
fn choose<'a>(hello: &ForwardedHello, table: &'a RouteTable) -> Result<&'a Arc<Backend>, RouteEnd> {
    match hello {
        ForwardedHello::Accepted { inner_name, .. } => {
            let name = inner_name.as_deref().ok_or(RouteEnd::NoName)?;
            table.inner(name).ok_or(RouteEnd::UnknownName)
        }
        ForwardedHello::Rejected { outer_name, .. } | ForwardedHello::NotOffered { outer_name } => {
            Ok(table.outer(outer_name.as_deref()))
        }
        _ => Ok(table.outer(None)),
    }
}

/// Sends the alert that tells why, where there is one.
async fn refuse(mut client: TcpStream, end: RouteEnd) -> RouteEnd {
    if let Some(alert) = end.alert()
        && client.write_all(&alert.fatal_record()).await.is_ok()
    {
        close_after_alert(client).await;
    }
    end
}

/// A client whose hellos are under way.
struct Opening<'a> {
    tcp: TcpStream,
    shared: &'a Shared,
    until: Instant,
    proxied: Proxied,
    /// What came and is not taken yet.
    received: Vec<u8>,
    passed: &'a Passed,
}

impl Opening<'_> {
    fn late(&self) -> RouteEnd {
        RouteEnd::HelloTimeout(self.shared.limits.hello_timeout)
    }

    /// Reads on into `received`; false at the end of the stream.
    async fn read_more(&mut self) -> Result<bool, RouteEnd> {
        self.received.reserve(READ_SIZE);
        let read = timeout_at(self.until, self.tcp.read_buf(&mut self.received)).await;
        match read {
            Ok(Ok(len)) => Ok(len > 0),
            Ok(Err(error)) => Err(RouteEnd::Broken(error)),
            Err(_) => Err(self.late()),
        }
    }

    async fn read_proxy_header(&mut self) -> Result<(), RouteEnd> {
        loop {
            match proxy_header::read(&self.received) {
                Ok(Some((proxied, len))) => {
                    self.received.drain(..len);
                    self.proxied = proxied;
                    return Ok(());
                }
                Ok(None) => {
                    if !self.read_more().await? {
                        return Err(match self.received.is_empty() {
                            true => RouteEnd::Nothing,
                            false => RouteEnd::NoProxyHeader,
                        });
                    }
                }
                Err(_) => return Err(RouteEnd::NoProxyHeader),
            }
        }
    }

    async fn read_hello(&mut self) -> Result<Forwarding, RouteEnd> {
        let shared = self.shared;
        let mut facing = ClientFacing::new(shared.rules).with_max_hello(shared.limits.max_hello);
        loop {
            let read = facing.read(&self.received, &shared.keys);
            self.received.clear();
            if let Some(forwarding) = read.map_err(RouteEnd::Refused)? {
                return Ok(forwarding);
            }
            if !self.read_more().await? {
                return Err(match facing.end() {
                    Ok(()) => RouteEnd::Nothing,
                    Err(error) => RouteEnd::Refused(error),
                });
            }
        }
    }

    /// Connects to the backend, and passes on what changes hellos or may: up to the server's
    /// answer, or the hello after a HelloRetryRequest.
    async fn forward(
        mut self,
        mut forwarding: Forwarding,
        backend: &Backend,
    ) -> Result<(TcpStream, TcpStream), (TcpStream, RouteEnd)> {
        let connecting = backend.connect(self.shared.limits.connect_timeout);
        let mut server = match connecting.await {
            Ok(server) => server,
            Err(error) => return Err((self.tcp, RouteEnd::NoBackend(error))),
        };
        // Connecting has a limit of its own.
        self.until = Instant::now() + self.shared.limits.hello_timeout;
        let passing = self.pass_hellos(&mut forwarding, &mut server, backend);
        match passing.await {
            Ok(()) => Ok((self.tcp, server)),
            Err(end) => Err((self.tcp, end)),
        }
    }

    async fn pass_hellos(
        &mut self,
        forwarding: &mut Forwarding,
        server: &mut TcpStream,
        backend: &Backend,
    ) -> Result<(), RouteEnd> {
        let late = self.late();
        let passing = async {
            let mut first = match backend.proxy_header() {
                true => proxy_header::write(self.proxied),
                false => Vec::new(),
            };
            first.extend_from_slice(&forwarding.take_output());
            server.write_all(&first).await?;
            Passed::add(&self.passed.to_server, first.len());
            let mut buffer = vec![0; READ_SIZE];
            let mut from_client = Vec::with_capacity(READ_SIZE);
            let mut client_ended = false;
            while !forwarding.is_transparent() {
                let reading = !client_ended && !forwarding.is_holding();
                tokio::select! {
                    read = self.tcp.read_buf(&mut from_client), if reading => {
                        if read? == 0 {
                            client_ended = true;
                            forwarding.end().map_err(RouteEnd::Refused)?;
                            server.shutdown().await?;
                        }
                        forwarding.read_client(&from_client).map_err(RouteEnd::Refused)?;
                        from_client.clear();
                    }
                    read = server.read(&mut buffer) => {
                        let len = read?;
                        self.tcp.write_all(&buffer[..len]).await?;
                        Passed::add(&self.passed.to_client, len);
                        if len == 0 {
                            self.tcp.shutdown().await?;
                            return Ok(());
                        }
                        forwarding.read_server(&buffer[..len]).map_err(RouteEnd::Refused)?;
                    }
                }
                let output = forwarding.take_output();
                server.write_all(&output).await?;
                Passed::add(&self.passed.to_server, output.len());
            }
            Ok(())
        };
        let passed = timeout_at(self.until, passing).await;
        passed.unwrap_or(Err(late))
    }
}

impl From<io::Error> for RouteEnd {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}
