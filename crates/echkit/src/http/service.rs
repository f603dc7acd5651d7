//! Doors for other HTTP clients: a connector service, and the upgrade from `http` as a layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection as ConnectionInfo};
use hyper_util::rt::TokioIo;
use tower_layer::Layer;
use tower_service::Service;

use super::report_recorder::ReportRecorder;
use super::versions::{H2, HTTP1, HttpVersions};
use crate::connect::{Connector, Stream};
use crate::delegated_stream::delegate_stream;
use crate::error::{Cause, Error};
use crate::origin::{Origin, Scheme};
use crate::report::Report;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Connects for HTTP clients that take a `tower_service::Service<http::Uri>`: hyper-util's
/// `client::legacy::Client`, tonic's `Endpoint::connect_with_connector`, and others.
///
/// Discovery, ECH, TLS and retries are those of the [`Connector`]. The response is a stream that
/// tells hyper-util whether HTTP/2 was agreed on, and that carries a [`ConnectionReport`], which
/// hyper-util puts into the extensions of each response.
///
/// An `http` URI is connected to over TLS where DNS says so (RFC 9460 §9.5), and offers HTTP/1.1
/// alone: a client that takes the request for a plain one would send the wrong `:scheme` over
/// HTTP/2. [`HttpsUpgrade`] above the client rewrites such URIs before.
///
/// ```no_run
/// use echkit::connect::Connector;
/// use echkit::http::{ConnectionReport, HttpsConnector};
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = HttpsConnector::new(Connector::builder().build()?);
/// let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(connector);
/// let response = client.get("https://nominal.ech.test/".parse()?).await?;
/// let report = response.extensions().get::<ConnectionReport>().map(ConnectionReport::report);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HttpsConnector {
    connector: Connector,
    versions: HttpVersions,
}

impl HttpsConnector {
    /// A service on `connector` that offers HTTP/2 and HTTP/1.1.
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            versions: HttpVersions::Any,
        }
    }

    /// Offers these versions of HTTP. gRPC clients want [`HttpVersions::Http2`].
    pub fn with_versions(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// The connector below.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }
}

impl Service<Uri> for HttpsConnector {
    type Response = TokioIo<HttpsStream>;
    type Error = Error;
    type Future = BoxFuture<Self::Response, Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.connector.clone();
        let versions = self.versions;
        Box::pin(async move {
            let origin = origin(&uri)?;
            let alpn: &[&[u8]] = match origin.scheme {
                Scheme::Https => versions.alpn(),
                Scheme::Http => &[HTTP1],
            };
            let connection = connector.connect(&origin, alpn).await?;
            let http2 = connection.alpn() == Some(H2);
            if versions == HttpVersions::Http2 && origin.scheme == Scheme::Https && !http2 {
                let cause = Cause::Http {
                    host: origin.host.to_string(),
                    reason: "the server does not speak HTTP/2".to_owned(),
                    source: None,
                };
                return Err(Error::from(cause).with_report(connection.report()));
            }
            let (stream, recorder) = ReportRecorder::of(connection);
            Ok(TokioIo::new(HttpsStream {
                stream,
                http2,
                report: ConnectionReport(recorder),
            }))
        })
    }
}

fn origin(uri: &Uri) -> Result<Origin, Error> {
    // An authority's credentials are no part of where it leads, and errors must not show them.
    let host = uri.authority().map(|authority| {
        let text = authority.as_str();
        text.rsplit_once('@').map_or(text, |(_, host)| host)
    });
    let url = match (uri.scheme_str(), host) {
        (Some(scheme), Some(host)) => format!("{scheme}://{host}"),
        (_, Some(host)) => host.to_owned(),
        _ => uri.path().to_owned(),
    };
    Origin::parse(&url).map_err(|error| {
        let reason = error.to_string();
        Cause::Url { url, reason }.into()
    })
}

/// A connection that [`HttpsConnector`] has made.
#[derive(Debug)]
pub struct HttpsStream {
    stream: Stream,
    http2: bool,
    report: ConnectionReport,
}

impl HttpsStream {
    /// The report about the connection.
    pub fn report(&self) -> &ConnectionReport {
        &self.report
    }

    /// The stream without the report.
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

impl ConnectionInfo for HttpsStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.report.clone());
        match self.http2 {
            true => connected.negotiated_h2(),
            false => connected,
        }
    }
}

delegate_stream!([] HttpsStream);

/// The report about the connection that a response came over.
///
/// [`HttpsConnector`] attaches it to each connection; hyper-util puts it into the extensions of
/// every response over that connection.
#[derive(Clone, Debug)]
pub struct ConnectionReport(Arc<ReportRecorder>);

impl ConnectionReport {
    /// What was offered, shown and got, with the bytes of the connection up to now.
    pub fn report(&self) -> Report {
        self.0.snapshot()
    }
}

/// Turns requests for `http` URIs into requests for `https` ones where DNS says so
/// (RFC 9460 §9.5), before an HTTP client chooses a connection.
///
/// Goes above the client, not below it: the scheme is part of what connections are kept by. Each
/// request asks DNS, which answers from its cache; [`HttpsConnector`] below asks the same.
#[derive(Clone, Debug)]
pub struct HttpsUpgrade<S> {
    inner: S,
    connector: Connector,
}

impl<S> HttpsUpgrade<S> {
    /// Requests go to `inner`; `connector` says whom DNS upgrades.
    pub fn new(inner: S, connector: Connector) -> Self {
        Self { inner, connector }
    }
}

/// The [`Layer`] that makes [`HttpsUpgrade`].
#[derive(Clone, Debug)]
pub struct HttpsUpgradeLayer {
    connector: Connector,
}

impl HttpsUpgradeLayer {
    /// `connector` says whom DNS upgrades.
    pub fn new(connector: Connector) -> Self {
        Self { connector }
    }
}

impl<S> Layer<S> for HttpsUpgradeLayer {
    type Service = HttpsUpgrade<S>;

    fn layer(&self, inner: S) -> HttpsUpgrade<S> {
        HttpsUpgrade::new(inner, self.connector.clone())
    }
}

impl<S, B> Service<Request<B>> for HttpsUpgrade<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<S::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The clone takes the place of the one that is ready (tower's contract).
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let connector = self.connector.clone();
        Box::pin(async move {
            if request.uri().scheme() == Some(&http::uri::Scheme::HTTP) {
                let origin = origin(request.uri())?;
                let alpn = HttpVersions::Any.alpn();
                let upgraded = connector.upgraded(&origin, alpn).await?;
                *request.uri_mut() = at(&upgraded, request.uri())?;
            }
            inner.call(request).await.map_err(Into::into)
        })
    }
}

/// `uri` with the scheme and authority of `origin`.
fn at(origin: &Origin, uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme(origin.scheme.as_str())
        .authority(origin.authority())
        .path_and_query(path)
        .build()
}
