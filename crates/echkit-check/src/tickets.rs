//! The session tickets of one connection, to be offered once more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use echkit::rustls::NamedGroup;
use echkit::rustls::client::{
    ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use echkit::rustls::pki_types::ServerName;

/// Tickets of one connection that are kept. Servers send one to four.
const MAX_TICKETS: usize = 8;

/// Keeps tickets, and gives each out once, for whichever name it is asked: a probe says for itself
/// to which name it offers a ticket.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl Tickets {
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tls13ClientSessionValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = self.lock();
        if tickets.len() < MAX_TICKETS {
            tickets.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().pop()
    }
}
