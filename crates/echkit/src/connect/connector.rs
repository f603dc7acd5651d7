//! The connector: from an origin to a stream, with a report.

use std::fmt;
use std::sync::Arc;

use super::attempt_log::AttemptLog;
use super::connection::Connection;
use super::connection_request::ConnectionRequest;
use super::connection_settings::{ConnectionSettings, connection_setters};
use super::connector_parts::ConnectorParts;
use super::establish::establish;
use crate::cache::ConfigCache;
use crate::deadline::Deadline;
use crate::error::{Cause, Error};
use crate::origin::Origin;
use crate::policy::{EchMode, Policy};

/// Connects to origins: discovery, ECH, TLS, retries. For any protocol over TLS.
///
/// Cheap to clone; clones share sessions and settings.
#[derive(Clone)]
pub struct Connector {
    pub(super) parts: Arc<ConnectorParts>,
}

impl Connector {
    /// Starts with the system's resolver, the platform's trust and [`EchMode::Prefer`](crate::EchMode::Prefer).
    pub fn builder() -> ConnectorBuilder {
        ConnectorBuilder::default()
    }

    /// The choices that this connector was made with.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// The retry configs that are kept for later connections.
    pub fn cache(&self) -> &ConfigCache {
        &self.parts.cache
    }

    /// Connects to `origin`, offering `alpn` in this order.
    ///
    /// The hello offers every protocol given, whatever a record says (RFC 9460 §7.1.2). An `http`
    /// origin is connected to over TLS when DNS says so (RFC 9460 §9.5), else in the clear.
    ///
    /// # Errors
    ///
    /// With a report about what was tried: see [`Cause`] for each reason.
    pub async fn connect(&self, origin: &Origin, alpn: &[&[u8]]) -> Result<Connection, Error> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|id| id.to_vec()).collect();
        let timeouts = &self.parts.policy.timeouts;
        let limit = Deadline::within(timeouts.response).step(timeouts.total);
        self.open(&ConnectionRequest {
            origin,
            alpn: &alpn,
            url: None,
            manual: true,
            deadline: limit.until,
        })
        .await
    }

    /// Connects, and attaches the report to an error.
    pub(crate) async fn open(&self, request: &ConnectionRequest<'_>) -> Result<Connection, Error> {
        let log = AttemptLog::new();
        // Boxed: the whole of a connection is a large future, and callers' stacks may be small.
        let established = Box::pin(establish(&self.parts, request, &log)).await;
        let report = established.report(request.url, &log);
        match established.outcome {
            Ok(stream) => Ok(Connection {
                stream,
                origin: established.origin,
                report,
                meter: log.meter().clone(),
            }),
            Err(cause) => Err(Error::from(cause).with_report(report)),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("policy", &self.parts.policy)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Connector`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConnectorBuilder {
    pub(crate) settings: ConnectionSettings,
}

impl ConnectorBuilder {
    connection_setters!(settings);

    /// Reads what has to be read.
    ///
    /// # Errors
    ///
    /// When trusted certificates cannot be read, when the URI of the resolver names none, or when
    /// settings contradict each other.
    pub fn build(self) -> Result<Connector, Error> {
        let Self { settings } = self;
        if settings.outer_sni.is_some() && !settings.policy.ech.offers() {
            return Err(Cause::Setting {
                setting: "outer SNI",
                reason: format!("has no meaning with ECH mode {}", settings.policy.ech),
            }
            .into());
        }
        if settings.manual.is_some() && !settings.policy.ech.offers() {
            return Err(Cause::Setting {
                setting: "ECHConfigList",
                reason: format!("has no meaning with ECH mode {}", settings.policy.ech),
            }
            .into());
        }
        if settings.policy.learn
            && (settings.policy.ech != EchMode::Prefer || !settings.policy.retry)
        {
            return Err(Cause::Setting {
                setting: "learn",
                reason:
                    "shows the origin's name once and connects again; it needs ECH mode prefer \
                         and retries"
                        .to_owned(),
            }
            .into());
        }
        let tls = settings.tls.build()?;
        let resolver = settings.resolver.build(&tls)?;
        Ok(Connector {
            parts: Arc::new(ConnectorParts {
                policy: settings.policy,
                tls,
                resolver,
                outer_sni: settings.outer_sni,
                manual: settings.manual,
                overrides: settings.overrides,
                cache: settings.cache,
                proxies: settings.proxies,
            }),
        })
    }
}
