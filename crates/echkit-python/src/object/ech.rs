//! What became of Encrypted Client Hello, in the numbers of the CPython proposal.

use rustls::Connection;

use super::{SslObject, lock};

// `SSL_ECH_STATUS_*`.
const ECH_GREASE: i32 = 2;
const ECH_SUCCESS: i32 = 1;
const ECH_FAILED: i32 = 0;
const ECH_NOT_TRIED: i32 = -101;
const ECH_NOT_CONFIGURED: i32 = -103;
const ECH_FAILED_ECH: i32 = -105;
const ECH_FAILED_ECH_BAD_NAME: i32 = -106;

impl SslObject {
    /// (code, inner name, outer name) of Encrypted Client Hello.
    pub(super) fn ech_status(&self) -> (i32, Option<String>, Option<String>) {
        let settings = lock(&self.settings);
        let settings = settings.get();
        let core = lock(&self.core);
        let code = if self.server_side || (settings.ech().is_none() && !settings.greases()) {
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
