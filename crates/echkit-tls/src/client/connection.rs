//! One rustls configuration per connection, out of parts that stay the same.
//!
//! rustls ties ECH to the configuration, so that each ECHConfig needs one of its own. Sessions are
//! resumed across them because they share the session store and the same verifier and client
//! certificate resolver: rustls compares these two by identity.

use std::fmt;
use std::sync::Arc;

use echkit_proto::client::{EchOffer, Guard};
use echkit_proto::config::Chosen;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{
    ClientConnection, ClientSessionStore, EchConfig, EchMode, ResolvesClientCert, Resumption,
};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, KeyLog, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, EchConfigListBytes, PrivateKeyDer};

use super::any_certificate::AnyCertificate;
use super::ech_sessions::EchSessions;
use super::grease::grease;
use super::offer_log::BothKeyLogs;
use super::outer_name::Verifiers;
use super::real_offer::{InfoScope, RustlsOffer, is_encapsulation_error};
use super::sessions::{Scope, Sessions};
use super::target::{ClientHandshake, PreparedClient, SessionUse, TlsTarget};
use super::{Trust, log_notice};
use crate::error::ClientSetupError;

/// What stays the same for every TLS connection of a client.
///
/// Callers with a verifier, client certificates, sessions, cryptography or a key log of their own
/// hand them to the builder, and get the same offers:
///
/// ```
/// use std::sync::Arc;
///
/// use echkit_proto::config::EchConfigList;
/// # use echkit_proto::key::{EchKey, KeyParams};
/// use echkit_tls::client::{
///     ClientTls, EchOffer, OfferOutcome, SessionUse, TlsTarget, Trust, default_provider,
/// };
/// use rustls::client::ClientSessionMemoryCache;
///
/// # fn own_verifier() -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
/// #     let key = rcgen::generate_simple_self_signed(vec!["site.test".to_owned()]).unwrap();
/// #     let mut roots = rustls::RootCertStore::empty();
/// #     roots.add(key.cert.der().clone()).unwrap();
/// #     let provider = Arc::new(default_provider());
/// #     rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
/// #         .build()
/// #         .unwrap()
/// # }
/// # let key = EchKey::generate(&KeyParams::new("public.test")?)?;
/// # let published = EchConfigList::from(key.config().clone()).encode();
/// // Once for many connections: all that is not about ECH.
/// let tls = ClientTls::builder()
///     .provider(Arc::new(default_provider()))
///     .versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
///     .trust(Trust::verifier(own_verifier()))
///     .build()?;
///
/// // For each connection: the name, the offer, and where sessions are.
/// let list = EchConfigList::parse(&published)?;
/// let mut target = TlsTarget::new("hidden.test".try_into()?);
/// target.alpn = vec![b"http/1.1".to_vec()];
/// target.sessions = SessionUse::Store(Arc::new(ClientSessionMemoryCache::new(8)));
/// target.offer = match list.select().chosen {
///     Some(chosen) => EchOffer::real(chosen),
///     None => EchOffer::Grease,
/// };
/// let mut handshake = tls.handshake(&target)?;
///
/// // What rustls wants to send passes the guard, and only what is cleared is sent.
/// let mut flight = Vec::new();
/// handshake.connection.write_tls(&mut flight)?;
/// handshake.guard.push(&flight)?;
/// assert_eq!(handshake.guard.hellos()[0].outer_sni.as_deref(), Some("public.test"));
///
/// // When the handshake has ended: what became of the offer.
/// let outcome = OfferOutcome::read(&handshake.connection, None);
/// assert_eq!(outcome, OfferOutcome::Undecided);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ClientTls {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    verifiers: Verifiers,
    any_certificate: bool,
    /// Verifies proxies over TLS.
    proxy_verifier: Arc<dyn ServerCertVerifier>,
    client_certificate: Arc<dyn ResolvesClientCert>,
    /// Of resolvers and proxies.
    key_log: Arc<dyn KeyLog>,
    /// Of origins.
    origin_key_log: Arc<dyn KeyLog>,
    sessions: Sessions,
    /// Whose settings every configuration takes over.
    template: Option<Arc<ClientConfig>>,
}

impl ClientTls {
    /// Starts with the platform's trust, no client certificate and no key log.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Whether certificates of origins are not verified: see
    /// [`ClientTlsBuilder::dangerous_accept_any_certificate`].
    pub fn accepts_any_certificate(&self) -> bool {
        self.any_certificate
    }

    /// Makes a connection with its first hello, and the guard that its bytes have to pass.
    ///
    /// Where encapsulating to the key of the chosen config fails, the next usable one is taken.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration, no config's key can be used, or the outer SNI names
    /// the origin.
    pub fn handshake(&self, target: &TlsTarget) -> Result<ClientHandshake, ClientSetupError> {
        let mut configs = target.offer.configs().peekable();
        if configs.peek().is_none() {
            return self.handshake_with(target, None);
        }
        log_notice::warn_once();
        let mut last = None;
        for chosen in configs {
            match self.handshake_with(target, Some(chosen)) {
                Err(ClientSetupError::Tls { host, source }) if is_encapsulation_error(&source) => {
                    last = Some(ClientSetupError::Tls { host, source });
                }
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| ClientSetupError::Setting {
            setting: "ECH",
            reason: "there is no config to offer".to_owned(),
        }))
    }

    /// Makes the configuration for one connection, for callers that make the connection in a way
    /// of their own. A real offer is made with its first config.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration, or the outer SNI names the origin.
    pub fn prepare(&self, target: &TlsTarget) -> Result<PreparedClient, ClientSetupError> {
        self.prepare_with(target, target.offer.configs().next())
    }

    fn handshake_with(
        &self,
        target: &TlsTarget,
        chosen: Option<&Chosen>,
    ) -> Result<ClientHandshake, ClientSetupError> {
        let PreparedClient {
            config,
            name,
            guard,
            scope,
        } = self.prepare_with(target, chosen)?;
        let connection = scope
            .enter(|| ClientConnection::new(config, name))
            .map_err(|source| ClientSetupError::Tls {
                host: target.name.to_str().into_owned(),
                source,
            })?;
        Ok(ClientHandshake {
            connection,
            guard,
            offered: chosen.cloned(),
        })
    }

    fn prepare_with(
        &self,
        target: &TlsTarget,
        chosen: Option<&Chosen>,
    ) -> Result<PreparedClient, ClientSetupError> {
        let host = target.name.to_str();
        let refused = |source: rustls::Error| ClientSetupError::Tls {
            host: host.clone().into_owned(),
            source,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let mut verifier = self.verifiers.plain();
        let mut scope = InfoScope::NONE;
        let mut kem = None;
        let builder = match (&target.offer, chosen) {
            (_, Some(chosen)) => {
                kem = Some(chosen.suite().kem);
                let outer_name = target.outer_name();
                if let Some(name) = outer_name {
                    name.check_against(&host)?;
                    verifier = self.verifiers.renaming(chosen, name)?;
                }
                let given =
                    RustlsOffer::new(chosen, outer_name, &self.origin_key_log).map_err(refused)?;
                let list = EchConfigListBytes::from(given.list);
                let config = EchConfig::new(list, &[given.suite]).map_err(refused)?;
                scope = given.scope;
                builder.with_ech(EchMode::Enable(config))
            }
            (EchOffer::Grease, None) => {
                let (config, suite) = grease().map_err(refused)?;
                kem = Some(suite.kem);
                builder.with_ech(EchMode::Grease(config))
            }
            _ => builder.with_protocol_versions(&self.versions),
        }
        .map_err(refused)?;
        if self.any_certificate && !is_exposed(chosen, &host) {
            verifier = Arc::new(AnyCertificate {
                inner: self.verifiers.plain(),
                only: Some(target.name.clone()),
            });
        }
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&self.client_certificate));
        if let Some(template) = &self.template {
            take_over(&mut config, template);
        }
        config.alpn_protocols.clone_from(&target.alpn);
        config.key_log = Arc::clone(&self.origin_key_log);
        config.resumption = match self.session_store(target) {
            Some(store) => Resumption::store(store),
            None => Resumption::disabled(),
        };
        Ok(PreparedClient {
            config: Arc::new(config),
            name: target.name.clone(),
            guard: Guard::new(target.offering(chosen), kem),
            scope,
        })
    }

    fn session_store(&self, target: &TlsTarget) -> Option<Arc<dyn ClientSessionStore>> {
        let real = target.offer.configs().next().is_some();
        let store = match &target.sessions {
            SessionUse::Off => return None,
            SessionUse::Store(store) => Arc::clone(store),
            SessionUse::ByOrigin { port } => self.sessions.store(&Scope {
                host: target.name.to_str().to_ascii_lowercase(),
                port: *port,
                ech: real,
            }),
        };
        Some(match &target.offer {
            EchOffer::None => store,
            _ => Arc::new(EchSessions {
                store,
                is_real: real,
            }),
        })
    }

    /// A rustls configuration for resolvers: with the same trust, without ECH, since their names
    /// are not hidden, and without the client certificate, which is for origins. It offers TLS 1.3
    /// alone, so that the network does not read the resolver's certificate either.
    ///
    /// # Errors
    ///
    /// When the provider does not support TLS 1.3.
    pub fn plain_config(&self) -> Result<Arc<ClientConfig>, ClientSetupError> {
        let verifier = self.verifiers.plain();
        self.without_ech(&[&rustls::version::TLS13], verifier)
            .map(Arc::new)
    }

    /// A rustls configuration for HTTP proxies over TLS: as that for resolvers, with TLS 1.2 and
    /// HTTP/1.1, and with the trust of [`ClientTlsBuilder::proxy_trust`].
    ///
    /// # Errors
    ///
    /// When the provider supports no version of TLS.
    pub fn proxy_config(&self) -> Result<Arc<ClientConfig>, ClientSetupError> {
        let mut config =
            self.without_ech(rustls::ALL_VERSIONS, Arc::clone(&self.proxy_verifier))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn without_ech(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<ClientConfig, ClientSetupError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(|error| ClientSetupError::Setting {
                setting: "cryptography",
                reason: error.to_string(),
            })?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.key_log = Arc::clone(&self.key_log);
        Ok(config)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// Builds [`ClientTls`].
#[derive(Clone, Default)]
#[must_use]
pub struct ClientTlsBuilder {
    trust: Trust,
    any_certificate: bool,
    proxy_trust: Option<Trust>,
    any_proxy_certificate: bool,
    provider: Option<Arc<CryptoProvider>>,
    versions: Option<Vec<&'static SupportedProtocolVersion>>,
    client_certificate: Option<Arc<dyn ResolvesClientCert>>,
    key_log: Option<Arc<dyn KeyLog>>,
    origin_key_log: Option<Arc<dyn KeyLog>>,
    template: Option<Arc<ClientConfig>>,
}

impl ClientTlsBuilder {
    /// Which certificates to trust.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Whether every certificate of an origin is accepted without verification, as by curl's `-k`:
    /// anyone is on the way can read and change everything. False by default.
    ///
    /// ECH then hides the name from those who only listen. A rejection cannot be authenticated
    /// (RFC 9849 §6.1.7): it is a failure, its retry configs are not used, and ECH is not taken for
    /// switched off. A config whose public_name is the origin's own name cannot tell the two cases
    /// apart, and certificates are verified there. Sessions are not resumed. Resolvers are verified
    /// by [`Self::trust`] all the same.
    pub fn dangerous_accept_any_certificate(mut self, accept: bool) -> Self {
        self.any_certificate = accept;
        self
    }

    /// Which certificates of proxies over TLS to trust, in place of [`Self::trust`].
    pub fn proxy_trust(mut self, trust: Trust) -> Self {
        self.proxy_trust = Some(trust);
        self
    }

    /// Whether every certificate of a proxy over TLS is taken without verification, as by curl's
    /// `--proxy-insecure`: an attacker before the proxy can read what the proxy is told, credentials
    /// and addresses. Origins are verified all the same. False by default.
    pub fn dangerous_accept_any_proxy_certificate(mut self, accept: bool) -> Self {
        self.any_proxy_certificate = accept;
        self
    }

    /// The cryptography of TLS itself; aws-lc-rs by default.
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// The versions of TLS to offer where there is no ECH extension; 1.3 and 1.2 by default. With
    /// one, real or GREASE, rustls offers TLS 1.3 only.
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = Some(versions.to_vec());
        self
    }

    /// Takes over what `config` says: its cryptography, client certificate and key log, and its
    /// settings of SNI, fragment size, certificate compression, extraction of secrets, ALPN check,
    /// extended master secret and ticket requests.
    ///
    /// rustls gives neither its verifier nor its session store out: hand the former to
    /// [`Self::trust`] with [`Trust::verifier`], and the latter to [`TlsTarget::sessions`]. Early
    /// data is not used.
    pub fn like(self, config: &Arc<ClientConfig>) -> Self {
        let mut builder = self
            .provider(Arc::clone(config.crypto_provider()))
            .client_certificate_resolver(Arc::clone(&config.client_auth_cert_resolver))
            .key_log(Arc::clone(&config.key_log));
        builder.template = Some(Arc::clone(config));
        builder
    }

    /// A certificate to show where a server asks for one. It is never shown to a server that
    /// rejected ECH (RFC 9849 §6.1.6).
    ///
    /// # Errors
    ///
    /// When the key does not fit the certificate, or is of a kind that is not supported.
    pub fn client_certificate(
        self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ClientSetupError> {
        let provider = self
            .provider
            .clone()
            .unwrap_or_else(|| Arc::new(default_provider()));
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            ClientSetupError::Setting {
                setting: "client certificate",
                reason: error.to_string(),
            }
        })?;
        Ok(self
            .client_certificate_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified))))
    }

    /// Chooses a client certificate for each connection.
    pub fn client_certificate_resolver(mut self, resolver: Arc<dyn ResolvesClientCert>) -> Self {
        self.client_certificate = Some(resolver);
        self
    }

    /// Where session secrets are logged, such as [`rustls::KeyLogFile`], those of real ECH offers
    /// included (`ECH_SECRET` and `ECH_CONFIG`, RFC 9850). A key log holds what opens the hidden
    /// name.
    pub fn key_log(mut self, key_log: Arc<dyn KeyLog>) -> Self {
        self.key_log = Some(key_log);
        self
    }

    /// A second key log, for connections with origins alone, beside [`Self::key_log`]: for what
    /// records these connections.
    pub fn origin_key_log(mut self, key_log: Arc<dyn KeyLog>) -> Self {
        self.origin_key_log = Some(key_log);
        self
    }

    /// Reads what has to be read and makes the shared parts.
    ///
    /// # Errors
    ///
    /// When certificates to trust cannot be read.
    pub fn build(self) -> Result<ClientTls, ClientSetupError> {
        let provider = self
            .provider
            .unwrap_or_else(|| Arc::new(default_provider()));
        let verifier = self.trust.build(&provider)?;
        let mut proxy_verifier = match &self.proxy_trust {
            Some(trust) => trust.build(&provider)?,
            None => Arc::clone(&verifier),
        };
        if self.any_proxy_certificate {
            proxy_verifier = Arc::new(AnyCertificate {
                inner: proxy_verifier,
                only: None,
            });
        }
        let key_log = self
            .key_log
            .unwrap_or_else(|| Arc::new(rustls::NoKeyLog {}));
        let origin_key_log = match self.origin_key_log {
            Some(own) => Arc::new(BothKeyLogs([Arc::clone(&key_log), own])),
            None => Arc::clone(&key_log),
        };
        Ok(ClientTls {
            provider,
            versions: self
                .versions
                .unwrap_or_else(|| rustls::DEFAULT_VERSIONS.to_vec()),
            verifiers: Verifiers::new(verifier),
            any_certificate: self.any_certificate,
            proxy_verifier,
            client_certificate: self
                .client_certificate
                .unwrap_or_else(|| Arc::new(NoClientCertificate)),
            key_log,
            origin_key_log,
            sessions: Sessions::default(),
            template: self.template,
        })
    }
}

impl fmt::Debug for ClientTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsBuilder").finish_non_exhaustive()
    }
}

/// Whether rustls asks its verifier for the origin's own name when this config is rejected.
fn is_exposed(chosen: Option<&Chosen>, host: &str) -> bool {
    chosen.is_some_and(|chosen| {
        let public_name = chosen.contents().public_name.to_string();
        public_name.eq_ignore_ascii_case(host)
    })
}

/// Takes over the settings that [`ClientTlsBuilder::like`] names.
fn take_over(config: &mut ClientConfig, template: &ClientConfig) {
    config.enable_sni = template.enable_sni;
    config.max_fragment_size = template.max_fragment_size;
    config.enable_secret_extraction = template.enable_secret_extraction;
    config.check_selected_alpn = template.check_selected_alpn;
    config.require_ems = template.require_ems;
    config.time_provider = Arc::clone(&template.time_provider);
    config
        .cert_decompressors
        .clone_from(&template.cert_decompressors);
    config
        .cert_compressors
        .clone_from(&template.cert_compressors);
    config.cert_compression_cache = Arc::clone(&template.cert_compression_cache);
    config
        .send_ticket_request
        .clone_from(&template.send_ticket_request);
}

/// The cryptography of TLS itself, unless another is chosen: rustls on aws-lc-rs.
pub fn default_provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// One instance for all configurations: rustls' own would be a new one for each, and its identity
/// decides about resumption.
#[derive(Debug)]
struct NoClientCertificate;

impl ResolvesClientCert for NoClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
