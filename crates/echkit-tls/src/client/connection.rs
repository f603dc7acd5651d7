//! One rustls configuration per connection, out of parts that stay the same.
//!
//! rustls ties ECH to the configuration, so that each ECHConfig needs one of its own. Sessions are
//! resumed across them because they share the session store and the very same verifier and client
//! certificate resolver: rustls compares these two by identity.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use echkit_proto::client::{Guard, Offering};
use echkit_proto::config::Chosen;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConnection, EchConfig, EchMode, ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, KeyLog, SignatureScheme};
use rustls_pki_types::{CertificateDer, EchConfigListBytes, PrivateKeyDer, ServerName};

use super::outer_name::{OuterName, Renamed};
use super::sessions::{Scope, Sessions};
use super::{Trust, grease};
use crate::error::ClientSetupError;

/// Wrapped verifiers kept at most: one for each pair of outer SNI and public_name.
const MAX_WRAPPED_VERIFIERS: usize = 64;

/// What stays the same for every TLS connection of a client.
pub struct ClientTls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    client_certificate: Arc<dyn ResolvesClientCert>,
    key_log: Arc<dyn KeyLog>,
    sessions: Sessions,
    wrapped_verifiers: Mutex<HashMap<(String, String), Arc<dyn ServerCertVerifier>>>,
}

impl ClientTls {
    /// Starts with the platform's trust, no client certificate and no key log.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Makes a connection and the guard that its bytes have to pass.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration, or the outer SNI names the origin.
    pub fn connection(
        &self,
        target: &TlsTarget,
    ) -> Result<(ClientConnection, Guard), ClientSetupError> {
        let host = target.name.to_str().into_owned();
        let refused = |source: rustls::Error| ClientSetupError::Tls {
            host: host.clone(),
            source,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let mut verifier = Arc::clone(&self.verifier);
        let renamed;
        let mut kem = None;
        let builder = match &target.offer {
            EchOffer::None => builder.with_safe_default_protocol_versions(),
            EchOffer::Grease => {
                let (config, suite) = grease::random().map_err(refused)?;
                kem = Some(suite.kem);
                builder.with_ech(EchMode::Grease(config))
            }
            EchOffer::Real { chosen, outer_sni } => {
                kem = Some(chosen.suite_id().kem);
                let (list, suite) = match outer_sni {
                    None => (chosen.single_list(), chosen.suite),
                    Some(name) => {
                        name.check_against(&host)?;
                        renamed = Renamed::new(chosen, name)?;
                        verifier = self.verifier_for(name, chosen, &renamed);
                        (renamed.list().to_vec(), renamed.suite())
                    }
                };
                let config =
                    EchConfig::new(EchConfigListBytes::from(list), &[suite]).map_err(refused)?;
                builder.with_ech(EchMode::Enable(config))
            }
        }
        .map_err(refused)?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&self.client_certificate));
        config.alpn_protocols.clone_from(&target.alpn);
        config.key_log = Arc::clone(&self.key_log);
        config.resumption = match target.resume {
            true => Resumption::store(self.sessions.store(&Scope {
                host: host.to_ascii_lowercase(),
                port: target.port,
                ech: matches!(target.offer, EchOffer::Real { .. }),
            })),
            false => Resumption::disabled(),
        };
        let connection =
            ClientConnection::new(Arc::new(config), target.name.clone()).map_err(refused)?;
        Ok((connection, Guard::new(target.offering(), kem)))
    }

    /// A rustls configuration with the same trust and without ECH: for resolvers, whose names are
    /// not hidden.
    ///
    /// # Errors
    ///
    /// When the provider supports neither TLS 1.3 nor TLS 1.2.
    pub fn plain_config(&self) -> Result<Arc<ClientConfig>, ClientSetupError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientSetupError::Setting {
                setting: "cryptography",
                reason: error.to_string(),
            })?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier))
            .with_client_cert_resolver(Arc::clone(&self.client_certificate));
        config.key_log = Arc::clone(&self.key_log);
        Ok(Arc::new(config))
    }

    /// The verifier that maps an outer SNI back to the public_name; the same one each time, or
    /// no session would ever be resumed.
    fn verifier_for(
        &self,
        name: &OuterName,
        chosen: &Chosen,
        renamed: &Renamed,
    ) -> Arc<dyn ServerCertVerifier> {
        let mut known = self
            .wrapped_verifiers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (
            name.as_str().to_owned(),
            chosen.contents().public_name.to_string(),
        );
        if known.len() >= MAX_WRAPPED_VERIFIERS && !known.contains_key(&key) {
            known.clear();
        }
        let verifier = known
            .entry(key)
            .or_insert_with(|| renamed.verifier(Arc::clone(&self.verifier)));
        Arc::clone(verifier)
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
    provider: Option<Arc<CryptoProvider>>,
    client_certificate: Option<Arc<dyn ResolvesClientCert>>,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl ClientTlsBuilder {
    /// Which certificates to trust.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The cryptography of TLS itself; aws-lc-rs by default.
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
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

    /// Where session secrets are logged, such as [`rustls::KeyLogFile`]. A key log holds what
    /// opens the hidden name.
    pub fn key_log(mut self, key_log: Arc<dyn KeyLog>) -> Self {
        self.key_log = Some(key_log);
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
        Ok(ClientTls {
            provider,
            verifier,
            client_certificate: self
                .client_certificate
                .unwrap_or_else(|| Arc::new(NoClientCertificate)),
            key_log: self
                .key_log
                .unwrap_or_else(|| Arc::new(rustls::NoKeyLog {})),
            sessions: Sessions::default(),
            wrapped_verifiers: Mutex::default(),
        })
    }
}

impl fmt::Debug for ClientTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsBuilder").finish_non_exhaustive()
    }
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

/// What one connection is to do.
#[derive(Clone, Debug)]
pub struct TlsTarget {
    /// The origin's host: the name inside ECH.
    pub name: ServerName<'static>,
    /// The origin's port, which sessions are kept apart by.
    pub port: u16,
    /// The application protocols to offer, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// The ECH offer.
    pub offer: EchOffer,
    /// Whether sessions may be resumed and kept.
    pub resume: bool,
}

impl TlsTarget {
    fn offering(&self) -> Offering {
        match &self.offer {
            EchOffer::None | EchOffer::Grease => Offering::Open,
            EchOffer::Real { chosen, outer_sni } => Offering::Hidden {
                name: match &self.name {
                    ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
                    _ => None,
                },
                outer: match outer_sni {
                    Some(name) => name.as_str().to_owned(),
                    None => chosen.contents().public_name.to_string(),
                },
            },
        }
    }
}

/// What a hello says about ECH.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EchOffer {
    /// Nothing; TLS 1.2 is allowed.
    None,
    /// GREASE (RFC 9849 §6.2). rustls then offers TLS 1.3 alone.
    Grease,
    /// A real offer (RFC 9849 §6.1).
    Real {
        /// The config and the suite.
        chosen: Chosen,
        /// An outer SNI other than the public_name.
        outer_sni: Option<OuterName>,
    },
}
