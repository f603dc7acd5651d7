//! The connector: from an origin to a stream, with a report.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use echkit_proto::config::EchConfigList;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::overrides::Overrides;
use super::record::Recorder;
use super::run::{self, Wanted};
use super::settings::{Settings, connection_setters};
use crate::cache::ConfigCache;
use crate::dns::Resolver;
use crate::error::{Cause, Error};
use crate::origin::Origin;
use crate::policy::{EchMode, Policy};
use crate::report::Report;
use crate::tls::{ClientTls, Guarded, OuterName};

/// Connects to origins: discovery, ECH, TLS, retries. For any protocol over TLS.
///
/// Cheap to clone; clones share sessions and settings.
#[derive(Clone)]
pub struct Connector {
    pub(super) shared: Arc<Shared>,
}

/// What all connections of a connector share.
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) tls: ClientTls,
    pub(super) resolver: Resolver,
    pub(super) outer_sni: Option<OuterName>,
    pub(super) manual: Option<EchConfigList>,
    pub(super) overrides: Overrides,
    pub(super) cache: ConfigCache,
}

impl Connector {
    /// Starts with the system's resolver, the platform's trust and [`EchMode::Prefer`](crate::EchMode::Prefer).
    pub fn builder() -> ConnectorBuilder {
        ConnectorBuilder::default()
    }

    /// The choices that this connector was made with.
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// The retry configs that are kept for later connections.
    pub fn cache(&self) -> &ConfigCache {
        &self.shared.cache
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
        let timeouts = &self.shared.policy.timeouts;
        let limit = match (timeouts.response, timeouts.total) {
            (Some(response), Some(total)) => Some(response.min(total)),
            (response, total) => response.or(total),
        };
        self.open(&Wanted {
            origin,
            alpn: &alpn,
            url: None,
            manual: true,
            deadline: limit.map(|limit| tokio::time::Instant::now() + limit),
        })
        .await
    }

    /// Connects, and attaches the report to an error.
    pub(crate) async fn open(&self, wanted: &Wanted<'_>) -> Result<Connection, Error> {
        let mut report = Report::new(wanted.origin.to_string(), self.shared.policy.ech);
        report.url = wanted.url.map(str::to_owned);
        let recorder = Arc::new(Recorder::new(report));
        // Boxed: the whole of a connection is a large future, and callers' stacks may be small.
        let outcome = Box::pin(run::run(&self.shared, wanted, &recorder)).await;
        recorder.stop_clock();
        match outcome {
            Ok((stream, origin)) => Ok(Connection {
                stream,
                origin,
                recorder,
            }),
            Err(cause) => Err(Error::from(cause).with_report(recorder.snapshot())),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("policy", &self.shared.policy)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Connector`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConnectorBuilder {
    pub(crate) settings: Settings,
}

impl ConnectorBuilder {
    connection_setters!(settings);

    /// Reads what has to be read.
    ///
    /// # Errors
    ///
    /// When trusted certificates cannot be read, or when settings contradict each other.
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
        Ok(Connector {
            shared: Arc::new(Shared {
                policy: settings.policy,
                tls: settings.tls.build()?,
                resolver: settings.resolver.unwrap_or_else(Resolver::system),
                outer_sni: settings.outer_sni,
                manual: settings.manual,
                overrides: settings.overrides,
                cache: settings.cache,
            }),
        })
    }
}

/// A connection that is ready for its protocol.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    origin: Origin,
    recorder: Arc<Recorder>,
}

impl Connection {
    /// What was offered, shown and got, with the bytes up to now.
    pub fn report(&self) -> Report {
        self.recorder.snapshot()
    }

    /// The origin: `https` where an `http` origin was upgraded.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Stream::Plain(_) => None,
        }
    }

    /// The stream, and the report as it stands.
    pub fn into_parts(self) -> (Stream, Report) {
        let report = self.recorder.snapshot();
        (self.stream, report)
    }

    pub(crate) fn into_recorded(self) -> (Stream, Arc<Recorder>) {
        (self.stream, self.recorder)
    }
}

/// A stream to an origin.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// Over TLS.
    Tls(Box<TlsStream<Guarded<TcpStream>>>),
    /// In the clear: an `http` origin without HTTPS records.
    Plain(Box<Guarded<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::Plain(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Self::Plain(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Self::Plain(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Plain(stream) => stream.is_write_vectored(),
        }
    }
}
