//! What became of Encrypted Client Hello, in the numbers of the CPython proposal.

use echkit_tls::server::EchOutcome;
use pyo3::prelude::*;
use rustls::Connection;

use super::{SslObject, lock};
use crate::core::Core;

// `SSL_ECH_STATUS_*`.
const ECH_BACKEND: i32 = 4;
const ECH_GREASE: i32 = 2;
const ECH_SUCCESS: i32 = 1;
const ECH_FAILED: i32 = 0;
const ECH_NOT_TRIED: i32 = -101;
const ECH_NOT_CONFIGURED: i32 = -103;
const ECH_FAILED_ECH: i32 = -105;
const ECH_FAILED_ECH_BAD_NAME: i32 = -106;

impl SslObject {
    /// (code, inner name, outer name) of Encrypted Client Hello.
    pub(super) fn ech_status(&self, py: Python<'_>) -> (i32, Option<String>, Option<String>) {
        let settings = lock(&self.settings).clone_ref(py);
        let settings = settings.get();
        let core = lock(&self.core);
        if self.server_side {
            return server_status(&core);
        }
        let code = if settings.ech().is_none() && !settings.greases() {
            ECH_NOT_CONFIGURED
        } else if core.ech.rejected {
            match (&core.ech.authenticated, &core.ech.retry_configs) {
                (false, _) => ECH_FAILED_ECH_BAD_NAME,
                (true, Some(_)) => ECH_FAILED_ECH,
                (true, None) => ECH_FAILED,
            }
        } else {
            match core.connection() {
                Some(Connection::Client(client)) => match client.ech_status() {
                    rustls::client::EchStatus::Accepted if core.done => ECH_SUCCESS,
                    rustls::client::EchStatus::Grease => ECH_GREASE,
                    _ => ECH_NOT_TRIED,
                },
                _ => ECH_NOT_TRIED,
            }
        };
        (code, self.server_hostname.clone(), core.outer_name())
    }
}

/// A server cannot tell GREASE from an offer under a key that it does not have: both are GREASE to
/// it, as they are to OpenSSL. The names are those that it has read in the hello.
fn server_status(core: &Core) -> (i32, Option<String>, Option<String>) {
    let shown = || match core.connection() {
        Some(Connection::Server(server)) => server.server_name().map(str::to_owned),
        _ => None,
    };
    match &core.opened {
        Some(EchOutcome::Accepted {
            inner_sni,
            outer_sni,
            ..
        }) => (ECH_SUCCESS, inner_sni.clone(), outer_sni.clone()),
        Some(EchOutcome::Rejected { outer_sni, .. }) => (ECH_GREASE, None, outer_sni.clone()),
        Some(EchOutcome::Backend { inner_sni }) => (ECH_BACKEND, inner_sni.clone(), None),
        _ if core.opens_ech => (ECH_NOT_TRIED, None, shown()),
        _ => (ECH_NOT_CONFIGURED, None, shown()),
    }
}
