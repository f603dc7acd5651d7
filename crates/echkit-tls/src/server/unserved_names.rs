//! Names in accepted hellos for which there is no certificate.
//!
//! rustls answers a hello whose certificate cannot be found with access_denied, whatever the
//! reason. For a name that is not served RFC 6066 §3 has unrecognized_name, and for a server that
//! needs a name and gets none RFC 8446 §9.2 has missing_extension. The certificate resolver is
//! wrapped, so that it is known when it is the one that found nothing.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::interpose::{self, Unserved};

/// A certificate resolver whose failures are noted for the connection that it works for.
#[derive(Debug)]
struct NotedResolver(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for NotedResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let unserved = match hello.server_name() {
            Some(_) => Unserved::UnknownName,
            None => Unserved::NoName,
        };
        let found = self.0.resolve(hello);
        if let Some(shared) = interpose::current() {
            shared.lock().unserved = found.is_none().then_some(unserved);
        }
        found
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}

/// `config`, with a certificate resolver whose failures are noted.
pub(super) fn noted(config: &ServerConfig) -> ServerConfig {
    let mut noted = config.clone();
    noted.cert_resolver = Arc::new(NotedResolver(Arc::clone(&config.cert_resolver)));
    noted
}
