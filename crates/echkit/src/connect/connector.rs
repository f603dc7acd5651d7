//! The connector: from an origin to a stream, with a report.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use echkit_tls::client::OuterName;
use tracing::Instrument;

use super::attempt_log::AttemptLog;
use super::connection::Connection;
use super::connection_request::ConnectionRequest;
use super::connection_settings::{ConnectionSettings, connection_setters};
use super::connector_parts::ConnectorParts;
use super::establish::establish;
use crate::cache::ConfigCache;
use crate::deadline::Deadline;
use crate::dns::Resolver;
use crate::error::{Cause, Error};
use crate::origin::Origin;
use crate::policy::{EchMode, Policy};

/// How many there have been in this process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// Connects to origins: discovery, ECH, TLS, retries. For any protocol over TLS.
///
/// Cheap to clone; clones share sessions and settings.
///
/// ```no_run
/// use echkit::connect::Connector;
/// use echkit::{EchMode, Origin};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = Connector::builder().ech(EchMode::Require).build()?;
/// let origin: Origin = "https://imap.example:993".parse()?;
/// let connection = connector.connect(&origin, &[b"imap"]).await?;
/// println!("ECH: {}", connection.report().ech.status);
///
/// let (mut stream, _) = connection.into_parts();
/// stream.write_all(b"a logout\r\n").await?;
/// let mut said = String::new();
/// stream.read_to_string(&mut said).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    pub(super) parts: Arc<ConnectorParts>,
}

impl Connector {
    /// Starts with the system's resolver, the platform's trust and
    /// [`EchMode::Prefer`](crate::EchMode::Prefer).
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
            forward: false,
        })
        .await
    }

    /// The HTTP proxy that requests to `origin` are sent to in absolute-form (RFC 9112 §3.2.2), by
    /// those who say that they do so ([`ConnectionRequest::forward`]).
    #[cfg(feature = "http")]
    pub(crate) fn forwarding_proxy(&self, origin: &Origin) -> Option<&crate::proxy::Proxy> {
        let proxy = self.parts.proxies.proxy_for(origin).ok().flatten()?;
        super::proxy_route::forwards(proxy, origin).then_some(proxy)
    }

    /// Connects, and attaches the report to an error.
    pub(crate) async fn open(&self, request: &ConnectionRequest<'_>) -> Result<Connection, Error> {
        let log = AttemptLog::new();
        // Boxed: the whole of a connection is a large future, and callers' stacks may be small.
        // Tells the events of connections that are made side by side apart, without their names.
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let span = tracing::debug_span!("connection", number);
        let work = establish(&self.parts, request, &log).instrument(span.clone());
        let established = Box::pin(work).await;
        span.in_scope(|| match &established.outcome {
            Ok(_) => tracing::debug!(ech = %established.ech_status(), "connected"),
            // The error's text names the host.
            Err(cause) => tracing::debug!(kind = cause.kind().as_str(), "connection failed"),
        });
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
    /// When trusted certificates cannot be read, and when a setting makes no sense
    /// ([`Cause::Setting`] names the first one): a URI that names no resolver, hosts that are none,
    /// settings that contradict each other.
    pub fn build(self) -> Result<Connector, Error> {
        let Self { settings } = self;
        if settings.outer_sni.is_some() && !settings.policy.ech.offers() {
            return Err(Cause::Setting {
                setting: "outer SNI",
                reason: format!("has no effect with ECH mode {}", settings.policy.ech),
            }
            .into());
        }
        if settings.manual.is_some() && !settings.policy.ech.offers() {
            return Err(Cause::Setting {
                setting: "ECHConfigList",
                reason: format!("has no effect with ECH mode {}", settings.policy.ech),
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
        let outer_sni = settings.outer_sni.as_deref().map(OuterName::new);
        let outer_sni = outer_sni.transpose()?;
        let overrides = settings.overrides.build()?;
        let tls = match &settings.recorder {
            Some(recorder) => settings.tls.origin_key_log(Arc::new(recorder.clone())),
            None => settings.tls,
        }
        .build()?;
        let resolver = settings.resolver.build(&tls, &settings.proxies)?;
        Ok(Connector {
            parts: Arc::new(ConnectorParts {
                policy: settings.policy,
                tls,
                resolver,
                outer_sni,
                manual: settings.manual,
                overrides,
                cache: settings.cache,
                proxies: settings.proxies,
                system: Resolver::system(),
                proxy_resolves: settings.proxy_resolves,
                recorder: settings.recorder,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_builder_takes_any_value_and_build_names_the_setting_that_it_refuses() {
        let loopback = [Ipv4Addr::LOCALHOST.into()];
        let builder = Connector::builder;
        for (builder, refused, reason) in [
            (builder().outer_sni("192.0.2.1"), "outer SNI", "address"),
            (builder().outer_sni("none"), "outer SNI", "stand out"),
            (builder().outer_sni("a..b"), "outer SNI", "a..b"),
            (builder().resolve("a..b", 443, loopback), "resolve", "a..b"),
            (
                builder().connect_to("a..b", 443, "b.test", 443),
                "connect_to",
                "a..b",
            ),
            (
                builder().connect_to("a.test", 443, "b..c", 443),
                "connect_to",
                "b..c",
            ),
            (builder().dns("nowhere://"), "resolver", "nowhere"),
        ] {
            let error = builder.build().unwrap_err();
            let Cause::Setting {
                setting,
                reason: why,
            } = error.cause()
            else {
                panic!("{error}");
            };
            assert_eq!(*setting, refused);
            assert!(why.contains(reason), "{why}");
        }
    }
}
