//! What an ECH server is made of, shared by all its connections.

use std::sync::Arc;

use echkit_proto::hello::MAX_HELLO;
use echkit_proto::server::{EchKeyHandle, Rules};
use echkit_proto::tls_record::{MAX_PLAINTEXT, RECORD_HEADER_LEN};
use rustls::ServerConfig;

use super::interpose::Padding;
use super::padded_tickets::PaddedTickets;
use super::record_sizes::RecordSizes;
use super::unserved_names::noted;

/// An ECH server: a rustls configuration, ECH keys, and rules. Cheap to clone.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use echkit_proto::key::{EchKey, KeyParams};
/// use echkit_tls::server::{EchKeys, EchServer, provider};
/// use rustls::ServerConfig;
/// use rustls::pki_types::{CertificateDer, PrivateKeyDer};
///
/// # fn example(
/// #     certs: Vec<CertificateDer<'static>>,
/// #     key: PrivateKeyDer<'static>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let config = ServerConfig::builder_with_provider(provider())
///     .with_safe_default_protocol_versions()?
///     .with_no_client_auth()
///     .with_single_cert(certs, key)?;
/// let keys = EchKeys::new(vec![EchKey::generate(&KeyParams::new("public.example")?)?])?;
/// let server = EchServer::new(Arc::new(config), keys)?.with_outer_sni_check(true);
/// // For each connection:
/// let handshake = server.handshake();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EchServer {
    pub(super) config: Arc<ServerConfig>,
    pub(super) records: RecordSizes,
    pub(super) keys: EchKeyHandle,
    pub(super) rules: Rules,
    pub(super) public_name_only: bool,
    pub(super) max_hello: usize,
    pub(super) padding: Padding,
}

impl EchServer {
    /// The server, without the checks of [`EchServer::new`].
    pub(super) fn untested(config: Arc<ServerConfig>, keys: EchKeyHandle) -> Self {
        let config = PaddedTickets::in_config(Arc::new(noted(&config)));
        Self {
            records: RecordSizes::new(&config),
            config,
            keys,
            rules: Rules::default(),
            public_name_only: false,
            max_hello: MAX_HELLO,
            padding: Padding::default(),
        }
    }

    /// Tries every key on every offer (RFC 9849 §7.1, second method). For deployments whose
    /// clients send random config_ids; each try costs an HPKE operation.
    pub fn with_trial_decryption(mut self, on: bool) -> Self {
        self.rules.trial_decryption = on;
        self
    }

    /// Refuses opened offers whose outer name is not the public_name (RFC 9849 §7.1).
    pub fn with_outer_sni_check(mut self, on: bool) -> Self {
        self.rules.check_outer_sni = on;
        self
    }

    /// Serves hellos without accepted ECH only under a public_name of the keys, and answers
    /// others with unrecognized_name. Browsers that found no record ask for sites in the clear:
    /// they are turned away.
    pub fn with_public_name_only(mut self, on: bool) -> Self {
        self.public_name_only = on;
        self
    }

    /// Refuses hellos longer than this. Default, and most: 65,535 bytes.
    pub fn with_max_hello(mut self, bytes: usize) -> Self {
        self.max_hello = bytes.min(MAX_HELLO);
        self
    }

    /// Pads each record of the first encrypted flight to a multiple of `step` bytes, where ECH was
    /// offered, accepted or not (RFC 9849 §6.1.3): the length of the certificate would else tell
    /// which site was asked for. Choose more than the longest flight takes. Default: 0, no padding.
    ///
    /// A flight that fills several records shows how many they are, and what follows the handshake
    /// is not padded.
    pub fn with_flight_padding(mut self, step: usize) -> Self {
        let most = match self.config.max_fragment_size {
            Some(max) => max.saturating_sub(RECORD_HEADER_LEN),
            None => MAX_PLAINTEXT,
        };
        self.padding = Padding { step, most };
        self
    }

    /// The rustls configuration.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The keys, to swap them.
    pub fn keys(&self) -> &EchKeyHandle {
        &self.keys
    }
}
