//! What one connection is to do, and what it is made of.

use std::sync::Arc;

use echkit_proto::client::{EchOffer, Guard, Offering};
use echkit_proto::config::Chosen;
use rustls::ClientConfig;
use rustls::client::{ClientConnection, ClientSessionStore};
use rustls_pki_types::ServerName;

use super::outer_name::OuterName;
use super::real_offer::InfoScope;

/// What one connection is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsTarget {
    /// The origin's host: the name inside ECH.
    pub name: ServerName<'static>,
    /// The application protocols to offer, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// The ECH offer.
    pub offer: EchOffer,
    /// The name to show in the outer hello of a real offer, in place of the public_name.
    pub outer_sni: Option<OuterName>,
    /// Which sessions may be resumed, and where new ones go.
    pub sessions: SessionUse,
}

impl TlsTarget {
    /// A connection to `name` without application protocols, ECH or sessions.
    pub fn new(name: ServerName<'static>) -> Self {
        Self {
            name,
            alpn: Vec::new(),
            offer: EchOffer::None,
            outer_sni: None,
            sessions: SessionUse::Off,
        }
    }

    /// The same with these application protocols, in order of preference.
    #[must_use]
    pub fn with_alpn(mut self, protocols: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.alpn = protocols.into_iter().collect();
        self
    }

    /// The same with another ECH offer.
    #[must_use]
    pub fn with_offer(mut self, offer: EchOffer) -> Self {
        self.offer = offer;
        self
    }

    /// The same with this name in the outer hello, or with the public_name.
    #[must_use]
    pub fn with_outer_sni(mut self, name: impl Into<Option<OuterName>>) -> Self {
        self.outer_sni = name.into();
        self
    }

    /// The same with another use of sessions.
    #[must_use]
    pub fn with_sessions(mut self, sessions: SessionUse) -> Self {
        self.sessions = sessions;
        self
    }

    /// The name that replaces the public_name, where there is one to replace.
    pub(super) fn outer_name(&self) -> Option<&OuterName> {
        self.outer_sni.as_ref().filter(|_| self.offer.is_real())
    }

    /// What the guard has to hold the hellos to; `chosen` is the config that is sealed under.
    pub(super) fn offering(&self, chosen: Option<&Chosen>) -> Offering {
        let Some(chosen) = chosen else {
            return Offering::Open;
        };
        Offering::Hidden {
            name: match &self.name {
                ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
                _ => None,
            },
            outer: match self.outer_name() {
                Some(name) => name.as_str().to_owned(),
                None => chosen.contents().public_name.to_string(),
            },
        }
    }
}

/// Which sessions a connection may resume, and where new ones go.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionUse {
    /// None are resumed or kept.
    Off,
    /// The client's own, kept apart by host, port, and whether they come from a real ECH offer.
    ByOrigin {
        /// The origin's port.
        port: u16,
    },
    /// The caller's store. A session from a real offer must not be resumed without one, nor the
    /// other way round: it would tie a hidden visit to a visible one.
    Store(Arc<dyn ClientSessionStore>),
}

/// A rustls configuration for one connection, with what has to go along with it: for callers that
/// make the connection in a way of their own, such as `tokio_rustls::TlsConnector`.
///
/// - The connection has to be made inside of [`InfoScope::enter`].
/// - Everything that it wants to send has to pass the [`Guard`].
///
/// ```
/// use std::sync::Arc;
///
/// # use echkit_proto::config::EchConfigList;
/// # use echkit_proto::key::{EchKey, KeyParams};
/// use echkit_tls::client::{ClientTls, EchOffer, TlsTarget, Trust};
/// # use rustls::RootCertStore;
/// use rustls::{ClientConfig, ClientConnection};
///
/// # let site = rcgen::generate_simple_self_signed(vec!["site.test".to_owned()])?;
/// # let mut roots = RootCertStore::empty();
/// # roots.add(site.cert.der().clone())?;
/// # let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
/// # let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
/// #     Arc::new(roots), provider.clone()).build()?;
/// # let own: Arc<ClientConfig> = Arc::new(ClientConfig::builder_with_provider(provider)
/// #     .with_safe_default_protocol_versions()?
/// #     .with_webpki_verifier(verifier.clone())
/// #     .with_no_client_auth());
/// # let key = EchKey::generate(&KeyParams::new("public.test")?)?;
/// # let list = EchConfigList::from(key.config().clone());
/// // `own` is a rustls configuration, `verifier` what it was made with, `list` from DNS.
/// let tls = ClientTls::builder().like(&own).trust(Trust::verifier(verifier)).build()?;
/// let mut target = TlsTarget::new("hidden.test".try_into()?);
/// target.alpn.clone_from(&own.alpn_protocols);
/// target.offer = EchOffer::real(list.select().chosen.ok_or("no usable config")?);
///
/// let mut prepared = tls.prepare(&target)?;
/// let mut connection = prepared
///     .scope
///     .enter(|| ClientConnection::new(prepared.config, prepared.name))?;
/// let mut flight = Vec::new();
/// connection.write_tls(&mut flight)?;
/// prepared.guard.push(&flight)?;
/// // Now `prepared.guard.cleared()` may be sent.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct PreparedClient {
    /// The configuration, for this connection only.
    pub config: Arc<ClientConfig>,
    /// The name to give to rustls.
    pub name: ServerName<'static>,
    /// Reads the outgoing hellos.
    pub guard: Guard,
    /// Has to be entered around the call that makes the connection.
    pub scope: InfoScope,
}

/// A connection that has made its first hello, of which nothing is sent yet.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClientHandshake {
    /// The connection.
    pub connection: ClientConnection,
    /// What its bytes have to pass.
    pub guard: Guard,
    /// The config of a real offer that was taken in the end.
    pub offered: Option<Chosen>,
}
