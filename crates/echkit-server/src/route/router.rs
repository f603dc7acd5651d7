//! The client-facing server: takes clients, and serves each in a task of its own.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use echkit::server::{EchKeyHandle, accept_tcp};
use echkit_proto::server::Rules;
use tokio::net::TcpListener;

use super::connection::{Client, Shared, serve};
use super::limits::RouteLimits;
use super::report::{RouteCounts, RoutedConnection};
use super::table::RouteTable;
use crate::connection_limits::ConnectionLimits;
use crate::drain::Drain;

/// A client-facing server of split mode (RFC 9849 §7.1). Cheap to clone.
///
/// It opens hellos with ECH keys and forwards each to the backend server of its name, as
/// ClientHelloInner. It has no certificate, and terminates no TLS: everything else passes as it
/// is. Hellos without accepted ECH go by the name in the clear, else to the server of the
/// public_name.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use echkit::server::{EchKeyHandle, load_ech_keys};
/// use echkit_server::Drain;
/// use echkit_server::route::{Backend, NameTable, RouteTable, Router};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut inner = NameTable::default();
/// inner.insert("secret.example", Arc::new(Backend::new("app", ["192.0.2.1:443"])?))?;
/// let public = Arc::new(Backend::new("public", ["192.0.2.2:443"])?);
/// let table = RouteTable::new(public).with_inner_names(inner);
/// let router = Router::new(table, EchKeyHandle::new(load_ech_keys("/etc/ech")?));
/// let listener = tokio::net::TcpListener::bind("[::]:443").await?;
/// router.serve(listener, Drain::new()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Router {
    table: Arc<RwLock<Arc<RouteTable>>>,
    keys: EchKeyHandle,
    rules: Rules,
    limits: RouteLimits,
    accept_proxy: bool,
    hellos: ConnectionLimits,
    connections: ConnectionLimits,
    counts: Arc<RouteCounts>,
    on_end: Arc<dyn Fn(&RoutedConnection) + Send + Sync>,
}

impl Router {
    /// A router with the defaults of [`RouteLimits`]. `keys` may be changed while it runs.
    pub fn new(table: RouteTable, keys: impl Into<EchKeyHandle>) -> Self {
        let limits = RouteLimits::default();
        Self {
            table: Arc::new(RwLock::new(Arc::new(table))),
            keys: keys.into(),
            rules: Rules::default(),
            accept_proxy: false,
            hellos: ConnectionLimits::new(limits.hellos, limits.hellos_per_address),
            connections: ConnectionLimits::new(limits.connections, limits.connections_per_address),
            limits,
            counts: Arc::default(),
            on_end: Arc::new(|_| {}),
        }
    }

    /// Has other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: RouteLimits) -> Self {
        self.hellos = ConnectionLimits::new(limits.hellos, limits.hellos_per_address);
        self.connections =
            ConnectionLimits::new(limits.connections, limits.connections_per_address);
        self.limits = limits;
        self
    }

    /// Judges hellos by other rules.
    #[must_use]
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Expects a PROXY protocol header, version 2, before each hello, and takes the client's
    /// address from it. Only where nobody but the forwarder can connect: a header is believed.
    #[must_use]
    pub fn with_proxy_header(mut self, expected: bool) -> Self {
        self.accept_proxy = expected;
        self
    }

    /// Calls `tell` for each connection that has ended, such as for a log.
    #[must_use]
    pub fn on_end(mut self, tell: impl Fn(&RoutedConnection) + Send + Sync + 'static) -> Self {
        self.on_end = Arc::new(tell);
        self
    }

    /// Uses another table for every connection that begins from now on.
    pub fn set_table(&self, table: RouteTable) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The table that is used now.
    pub fn table(&self) -> Arc<RouteTable> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    /// The keys, to swap them.
    pub fn keys(&self) -> &EchKeyHandle {
        &self.keys
    }

    /// What it has counted.
    pub fn counts(&self) -> &RouteCounts {
        &self.counts
    }

    /// Takes clients from `listener` until `drain` begins. Connections that are open then belong to
    /// `drain`, whose `finish` waits for them.
    ///
    /// May be dropped at any time, which closes the listener alone.
    pub async fn serve(&self, listener: TcpListener, drain: Drain) {
        loop {
            let next = async {
                let slot = self.connections.slot().await;
                let hello_slot = self.hellos.slot().await;
                let (tcp, peer) = accept_tcp(&listener).await;
                Client {
                    tcp,
                    peer,
                    hello_slot,
                    slot,
                }
            };
            let client = tokio::select! {
                biased;
                () = drain.begun() => return,
                client = next => client,
            };
            let shared = self.shared();
            let on_end = Arc::clone(&self.on_end);
            drain.spawn(async move {
                let counts = Arc::clone(&shared.counts);
                counts.opened();
                let ended = serve(client, shared).await;
                counts.ended(&ended);
                on_end(&ended);
            });
        }
    }

    fn shared(&self) -> Shared {
        Shared {
            table: self.table(),
            keys: self.keys.load(),
            rules: self.rules,
            limits: self.limits.clone(),
            accept_proxy: self.accept_proxy,
            hellos: self.hellos.clone(),
            connections: self.connections.clone(),
            counts: Arc::clone(&self.counts),
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("table", &self.table)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
