//! TLS sessions as values: Python's callers say which session to resume.

use std::sync::{Arc, Mutex, PoisonError};
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
}

impl Store {
    /// A store that begins with what another one keeps. Tickets of TLS 1.3 are for one use, so
    /// that they move (RFC 8446 §C.4).
    fn resuming(other: &Self) -> Self {
        let mut from = other.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            kept: Mutex::new(Kept {
                tls12: from.tls12.clone(),
                tls13: std::mem::take(&mut from.tls13),
            }),
        }
    }

    fn is_empty(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tls12.is_none() && kept.tls13.is_empty()
    }
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.tls13.len() < MAX_TICKETS {
            kept.tls13.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tls13.pop()
    }
}

/// A session of a finished handshake.
#[pyclass(frozen, module = "echkit.ssl")]
#[derive(Debug)]
pub(crate) struct SSLSession {
    store: Arc<Store>,
    number: [u8; 32],
    created: u64,
    /// The identity of the context that made it.
    pub(crate) context: usize,
}

impl SSLSession {
    /// The session of a connection: the one that was resumed, under its own number.
    pub(crate) fn of(store: &Arc<Store>, resumed: Option<&Self>, context: usize) -> Option<Self> {
        if store.is_empty() {
            return None;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        Some(Self {
            store: Arc::clone(store),
            number: resumed.map_or_else(rand::random, |s| s.number),
            // Never before the session that it continues from, whatever happens to the clock.
            created: resumed.map_or(now, |s| now.max(s.created)),
            context,
        })
    }

    /// A store to begin with.
    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::new(Store::resuming(&self.store))
    }
}

#[pymethods]
impl SSLSession {
    /// A number of its own, which a resumption keeps.
    #[getter]
    fn id(&self) -> &[u8] {
        &self.number
    }

    /// When it began.
    #[getter]
    fn time(&self) -> u64 {
        self.created
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
        self.number == other.number
    }

    fn __hash__(&self) -> u64 {
        self.number
            .iter()
            .take(8)
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
