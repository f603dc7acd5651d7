//! TLS sessions as values: Python's callers say which session to resume.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// Tickets of TLS 1.3 kept for one session.
const MAX_TICKETS: usize = 8;
/// OpenSSL's default life of a session, in seconds.
const LIFETIME: u64 = 7200;

#[derive(Debug, Default)]
struct Kept {
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

/// What one connection keeps, and what it may resume.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: Mutex<Kept>,
    /// The store of the session that the connection offers.
    offered: Option<Arc<Self>>,
    /// Whether the server has resumed that session.
    resumed: AtomicBool,
    /// The session's number and when it began, from its first use on.
    identity: OnceLock<([u8; 32], u64)>,
}

impl Store {
    /// A store for a connection that offers a session. A ticket of TLS 1.3 is for one connection
    /// (RFC 8446 §C.4); where the session is resumed, the tickets that the server sends are new ones
    /// for it, so that it can be offered again.
    pub(crate) fn resuming(offered: &Arc<Self>) -> Self {
        Self {
            offered: Some(Arc::clone(offered)),
            ..Self::default()
        }
    }

    /// Notes that the server has resumed the session that was offered.
    pub(crate) fn note_resumed(&self) {
        self.resumed.store(true, Ordering::Relaxed);
    }

    /// The session that goes on, if one does.
    fn continued(&self) -> Option<&Arc<Self>> {
        let offered = self.offered.as_ref();
        offered.filter(|_| self.resumed.load(Ordering::Relaxed))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_tls12(&self, value: Tls12ClientSessionValue) {
        match self.continued() {
            Some(session) => session.keep_tls12(value),
            None => self.kept().tls12 = Some(value),
        }
    }

    fn tls12(&self) -> Option<Tls12ClientSessionValue> {
        let own = self.kept().tls12.clone();
        own.or_else(|| self.offered.as_ref()?.tls12())
    }

    fn forget_tls12(&self) {
        self.kept().tls12 = None;
        if let Some(offered) = &self.offered {
            offered.forget_tls12();
        }
    }

    fn keep_ticket(&self, value: Tls13ClientSessionValue) {
        if let Some(session) = self.continued() {
            return session.keep_ticket(value);
        }
        let mut kept = self.kept();
        if kept.tls13.len() == MAX_TICKETS {
            kept.tls13.remove(0);
        }
        kept.tls13.push(value);
    }

    fn take_ticket(&self) -> Option<Tls13ClientSessionValue> {
        let own = self.kept().tls13.pop();
        own.or_else(|| self.offered.as_ref()?.take_ticket())
    }

    fn is_empty(&self) -> bool {
        let kept = self.kept();
        kept.tls12.is_none() && kept.tls13.is_empty()
    }
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.keep_tls12(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.forget_tls12();
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.keep_ticket(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.take_ticket()
    }
}

/// A session of a finished handshake.
#[pyclass(frozen, module = "echkit.ssl")]
#[derive(Debug)]
pub(crate) struct SSLSession {
    store: Arc<Store>,
    /// The identity of the context that made it.
    pub(crate) context: usize,
}

impl SSLSession {
    /// The session of a connection, if there is something to resume it with.
    pub(crate) fn of(store: &Arc<Store>, context: usize) -> Option<Self> {
        // Once told, it stays: its last ticket may be in use.
        if store.is_empty() && store.identity.get().is_none() {
            return None;
        }
        Some(Self {
            store: Arc::clone(store),
            context,
        })
    }

    /// What it can be resumed with.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn identity(&self) -> &([u8; 32], u64) {
        self.store.identity.get_or_init(|| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs());
            (rand::random(), now)
        })
    }
}

#[pymethods]
impl SSLSession {
    /// A number of its own, which a resumption keeps.
    #[getter]
    fn id(&self) -> &[u8] {
        &self.identity().0
    }

    /// When it began.
    #[getter]
    fn time(&self) -> u64 {
        self.identity().1
    }

    /// How long it may be resumed, in seconds.
    #[getter]
    fn timeout(&self) -> u64 {
        LIFETIME
    }

    /// How long the server meant its ticket to be used, in seconds.
    #[getter]
    fn ticket_lifetime_hint(&self) -> u64 {
        LIFETIME
    }

    /// Whether there is something to resume with.
    #[getter]
    fn has_ticket(&self) -> bool {
        !self.store.is_empty()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.identity().0 == other.identity().0
    }

    fn __hash__(&self) -> u64 {
        self.identity()
            .0
            .iter()
            .take(8)
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
