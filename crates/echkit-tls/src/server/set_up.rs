//! Making a server, and what must hold before.

use std::sync::Arc;

use echkit_proto::server::EchKeyHandle;
use rustls::ServerConfig;

use super::provider;
use super::self_test::{self, UnknownRustls};
use super::settings::EchServer;

impl EchServer {
    /// A server that opens hellos with `keys` and serves both the sites inside and outside
    /// (shared mode).
    ///
    /// The first one of a process runs a self-test of the rustls that is linked in: about a
    /// millisecond of handshakes in memory.
    ///
    /// Session tickets are padded ([`PaddedTickets`](super::PaddedTickets)), and every record keeps
    /// as much room free as retry_configs take, whatever became of the offer: record lengths do not
    /// tell accepted connections from others (RFC 9849 §10.10.4).
    ///
    /// An accepted hello for whose name the certificate resolver of `config` has no certificate is
    /// answered with unrecognized_name (RFC 6066 §3), one without a name with missing_extension
    /// (RFC 8446 §9.2). [`ResolvesServerCertUsingSni`](rustls::server::ResolvesServerCertUsingSni)
    /// decides by the name; a resolver that has one certificate for all, as that of
    /// `with_single_cert`, serves every name. Hellos whose offer was rejected, or that made none,
    /// rustls answers as without ECH: where there is no certificate, with access_denied.
    ///
    /// # Errors
    ///
    /// When `config` was not built with [`provider()`](super::provider()), or when rustls does not
    /// behave as this crate relies on.
    pub fn new(
        config: Arc<ServerConfig>,
        keys: impl Into<EchKeyHandle>,
    ) -> Result<Self, SetupError> {
        if !provider::is_ours(config.crypto_provider()) {
            return Err(SetupError::Provider);
        }
        self_test::of_this_process().map_err(SetupError::Rustls)?;
        Ok(Self::untested(config, keys.into()))
    }

    /// A backend server of split mode: confirms inner hellos without opening anything.
    ///
    /// Only for servers that only a trusted client-facing server can reach: an inner hello
    /// is taken for one that ECH protected.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn backend(config: Arc<ServerConfig>) -> Result<Self, SetupError> {
        let mut server = Self::new(config, EchKeyHandle::default())?;
        server.rules.backend = true;
        Ok(server)
    }
}

/// A server cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The configuration has another crypto provider.
    #[error("build the rustls::ServerConfig with echkit::server::provider()")]
    Provider,
    /// rustls does not behave as this crate relies on.
    #[error(transparent)]
    Rustls(UnknownRustls),
}
