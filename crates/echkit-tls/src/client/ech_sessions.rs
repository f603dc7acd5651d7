//! The sessions of connections whose hello has an ECH extension.

use std::sync::Arc;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// A session store for connections that offer ECH or GREASE, out of the caller's store.
///
/// - It gives no session of TLS 1.2. rustls offers TLS 1.3 only in such hellos, yet would name that
///   session in them, which a real offer must not (RFC 9849 §6.1).
/// - For real offers, it neither keeps nor gives a group hint. rustls remembers which group a
///   server chose, and sends a share of it in the next **outer** hello. After a HelloRetryRequest
///   from a hidden site that share would tell visits to it from visits to other sites behind the
///   same public_name (RFC 9849 §10.5). Without the hint each visit begins with the same shares.
#[derive(Debug)]
pub(super) struct EchSessions {
    pub(super) store: Arc<dyn ClientSessionStore>,
    /// Whether the offer is a real one.
    pub(super) is_real: bool,
}

impl ClientSessionStore for EchSessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        if !self.is_real {
            self.store.set_kx_hint(name, group);
        }
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        match self.is_real {
            true => None,
            false => self.store.kx_hint(name),
        }
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.store.set_tls12_session(name, value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.store.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.store.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.store.take_tls13_ticket(name)
    }
}
