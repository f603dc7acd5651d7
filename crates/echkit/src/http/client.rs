//! The HTTP client and its builder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use tokio::time::Instant;
use url::Url;

use super::exchange::{self, H2, HTTP1, Unanswered};
use super::pool::{Channel, Key, Lease, Live, Pool};
use super::redirect;
use super::request::{Request, RequestBuilder};
use super::response::{Response, ResponseBody};
use crate::connect::settings::connection_setters;
use crate::connect::{Connector, ConnectorBuilder, Recorder, Wanted};
use crate::error::{Cause, Error, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::Timeouts;

/// Redirects followed at most, unless said otherwise.
const DEFAULT_REDIRECTS: usize = 10;

/// Connections without a request are kept for this long, unless said otherwise.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Which versions of HTTP to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersions {
    /// HTTP/2 where the server does, else HTTP/1.1.
    #[default]
    Any,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS, by prior knowledge (RFC 9113 §3.3).
    Http2,
}

impl HttpVersions {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Any => vec![H2.to_vec(), HTTP1.to_vec()],
            Self::Http1 => vec![HTTP1.to_vec()],
            Self::Http2 => vec![H2.to_vec()],
        }
    }
}

/// An HTTP client that hides names by ECH.
///
/// Cheap to clone; clones share connections, TLS sessions and settings.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    pool: Arc<Pool>,
    versions: HttpVersions,
    redirects: Option<usize>,
    headers: HeaderMap,
}

impl Client {
    /// A client with the system's resolver, the platform's trust and
    /// [`EchMode::Prefer`](crate::EchMode::Prefer).
    ///
    /// # Errors
    ///
    /// When the system's trusted certificates cannot be read.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Starts with the same settings, to be changed.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The connector below.
    pub fn connector(&self) -> &Connector {
        &self.shared.connector
    }

    /// A GET request.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: &str) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: &str) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A request by any method.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url)
    }

    pub(super) async fn execute(&self, mut request: Request) -> Result<Response, Error> {
        for (name, value) in &self.shared.headers {
            if !request.headers.contains_key(name) {
                request.headers.append(name.clone(), value.clone());
            }
        }
        let limits = Limits::new(&self.shared.connector.policy().timeouts);
        let first_host = request.url.host_str().map(str::to_owned);
        let mut redirects = Vec::new();
        loop {
            // A list given by hand is for the host that it was given with.
            let manual = request.url.host_str() == first_host.as_deref();
            let response = self.one(&mut request, manual, &limits).await?;
            let to = self
                .shared
                .redirects
                .and_then(|_| redirect::location(response.status, &response.headers))
                .map(str::to_owned);
            let Some(to) = to else {
                return Ok(Response {
                    redirects,
                    ..response
                });
            };
            let report = response.report();
            let failed = |cause: Cause| Error::from(cause).with_report(report.clone());
            if Some(redirects.len()) >= self.shared.redirects {
                return Err(failed(Cause::Redirect {
                    from: request.url.to_string(),
                    to,
                    reason: format!("it would be number {}", redirects.len() + 1),
                }));
            }
            // Relative references count from where the response came from, upgrade included.
            request.url = response.url;
            let mode = self.shared.connector.policy().ech;
            redirect::follow(&mut request, response.status, &to, mode).map_err(failed)?;
            redirects.push(report);
        }
    }

    /// One request without redirects.
    async fn one(
        &self,
        request: &mut Request,
        manual: bool,
        limits: &Limits,
    ) -> Result<Response, Error> {
        let origin = Origin::from_url(&request.url).map_err(|error| Cause::Url {
            url: request.url.to_string(),
            reason: error.to_string(),
        })?;
        let key = Key {
            ech: self.shared.connector.policy().ech,
            origin,
            manual,
        };
        if let Some(live) = self.shared.pool.take(&key) {
            let recorder = Arc::new(live.recorder.again(request.url.as_str()));
            match self.over(live, &key, request, recorder, limits).await {
                Err(unanswered) if unanswered.again => {
                    // It was closed while it waited.
                }
                outcome => return outcome.map_err(|unanswered| unanswered.error),
            }
        }
        let url = request.url.to_string();
        let live = self.open(&key, &url, limits).await?;
        if let Channel::Http2(sender, users) = &live.channel {
            let channel = Channel::Http2(sender.clone(), Arc::clone(users));
            let shared = Live {
                channel,
                origin: live.origin.clone(),
                recorder: Arc::clone(&live.recorder),
            };
            self.shared.pool.put(key.clone(), shared);
        }
        let recorder = Arc::clone(&live.recorder);
        self.over(live, &key, request, recorder, limits)
            .await
            .map_err(|unanswered| unanswered.error)
    }

    /// A connection of its own.
    async fn open(&self, key: &Key, url: &str, limits: &Limits) -> Result<Live, Error> {
        let alpn = self.shared.versions.alpn();
        let connection = self
            .shared
            .connector
            .open(&Wanted {
                origin: &key.origin,
                alpn: &alpn,
                url: Some(url),
                manual: key.manual,
                deadline: limits.head(),
            })
            .await?;
        let only_h2 = self.shared.versions == HttpVersions::Http2;
        if only_h2 && connection.origin().scheme == Scheme::Https && connection.alpn() != Some(H2) {
            let cause = Cause::Http {
                host: key.origin.host.to_string(),
                reason: "the server does not speak HTTP/2".to_owned(),
                source: None,
            };
            return Err(Error::from(cause).with_report(connection.report()));
        }
        let report = connection.report();
        match limits.head() {
            None => exchange::open(connection, only_h2).await,
            Some(until) => tokio::time::timeout_at(until, exchange::open(connection, only_h2))
                .await
                .unwrap_or_else(|_| Err(limits.exceeded(&key.origin).with_report(report))),
        }
    }

    /// One request over one connection.
    async fn over(
        &self,
        mut live: Live,
        key: &Key,
        request: &mut Request,
        recorder: Arc<Recorder>,
        limits: &Limits,
    ) -> Result<Response, Unanswered> {
        let mut url = request.url.clone();
        upgrade(&mut url, &live.origin);
        let work = Box::pin(exchange::exchange(&mut live, request, &recorder));
        let response = match limits.head() {
            None => work.await?,
            Some(until) => tokio::time::timeout_at(until, work).await.map_err(|_| {
                recorder.stop_clock();
                let error = limits.exceeded(&key.origin);
                Unanswered {
                    error: error.with_report(recorder.snapshot()),
                    again: false,
                }
            })??,
        };
        let (head, incoming) = response.into_parts();
        let lease = Lease {
            pool: Arc::downgrade(&self.shared.pool),
            key: key.clone(),
            live,
        };
        Ok(Response {
            url,
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: ResponseBody::new(key.origin.host.to_string(), incoming, recorder)
                .with_lease(lease)
                .with_limit(limits.whole),
            redirects: Vec::new(),
        })
    }
}

/// When a request must have come how far.
struct Limits {
    response: Option<(Instant, Duration)>,
    whole: Option<(Instant, Duration)>,
}

impl Limits {
    fn new(timeouts: &Timeouts) -> Self {
        let now = Instant::now();
        let limit = |after: Option<Duration>| after.map(|after| (now + after, after));
        Self {
            response: limit(timeouts.response),
            whole: limit(timeouts.total),
        }
    }

    /// Until when the response's head must be there.
    fn first(&self) -> Option<(Instant, Duration)> {
        match (self.response, self.whole) {
            (Some(response), Some(whole)) => Some(response.min(whole)),
            (response, whole) => response.or(whole),
        }
    }

    fn head(&self) -> Option<Instant> {
        self.first().map(|(until, _)| until)
    }

    fn exceeded(&self, origin: &Origin) -> Error {
        Cause::Timeout {
            host: origin.host.to_string(),
            step: Step::Total,
            after: self.first().map(|(_, after)| after).unwrap_or_default(),
        }
        .into()
    }
}

/// Writes the upgrade of an `http` URL (RFC 9460 §9.5) into it.
fn upgrade(url: &mut Url, origin: &Origin) {
    if url.scheme() == "http" && origin.scheme == Scheme::Https {
        // Neither can fail: both schemes are special ones, and the URL has a host.
        let _ = url.set_scheme("https");
        let _ = url.set_port(Some(origin.port));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connector", &self.shared.connector)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    connector: ConnectorBuilder,
    versions: HttpVersions,
    redirects: Option<usize>,
    headers: HeaderMap,
    keep_alive: Option<Duration>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("echkit/", env!("CARGO_PKG_VERSION"))),
        );
        Self {
            connector: ConnectorBuilder::default(),
            versions: HttpVersions::default(),
            redirects: Some(DEFAULT_REDIRECTS),
            headers,
            keep_alive: Some(DEFAULT_KEEP_ALIVE),
        }
    }
}

impl ClientBuilder {
    connection_setters!(connector.settings);

    /// Which versions of HTTP to speak.
    pub fn http(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// How many redirects to follow; `None` returns the redirect itself. Ten by default.
    ///
    /// `Authorization` and `Cookie` are not sent to another origin.
    pub fn redirects(mut self, limit: Option<usize>) -> Self {
        self.redirects = limit;
        self
    }

    /// How long a connection is kept for the next request to the same origin; `None` makes a
    /// connection for each request. A minute by default.
    pub fn keep_alive(mut self, keep: Option<Duration>) -> Self {
        self.keep_alive = keep;
        self
    }

    /// Header fields for each request that does not have them itself.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Reads what has to be read.
    ///
    /// # Errors
    ///
    /// When trusted certificates cannot be read, or when settings contradict each other.
    pub fn build(self) -> Result<Client, Error> {
        Ok(Client {
            shared: Arc::new(Shared {
                connector: self.connector.build()?,
                pool: Pool::new(self.keep_alive),
                versions: self.versions,
                redirects: self.redirects,
                headers: self.headers,
            }),
        })
    }
}
