//! Sessions without the key exchange group that a hidden site has asked for.

use std::sync::Arc;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// A session store that neither keeps nor gives a group hint.
///
/// rustls remembers which group a server chose, and sends a share of it in the next **outer**
/// hello. After a HelloRetryRequest from a hidden site that share would tell visits to it from
/// visits to other sites behind the same public_name (RFC 9849 §10.5). Without the hint each visit
/// begins with the same shares.
#[derive(Debug)]
pub(super) struct WithoutGroupHints(pub(super) Arc<dyn ClientSessionStore>);

impl ClientSessionStore for WithoutGroupHints {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}
