//! The HTTP client and its builder.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use echkit_proto::config::EchConfigList;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use tokio::time::Instant;
use url::Url;

use super::exchange::{H2, HTTP1, exchange};
use super::redirect;
use super::request::{Request, RequestBuilder};
use super::response::{Response, ResponseBody};
use crate::connect::{Connector, ConnectorBuilder, Wanted};
use crate::dns::Resolver;
use crate::error::{Cause, Error, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::{AddressFamily, EchMode, Policy, Timeouts};
use crate::tls::ClientTlsBuilder;

/// Redirects followed at most, unless said otherwise.
const DEFAULT_REDIRECTS: usize = 10;

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
/// Cheap to clone; clones share TLS sessions and settings.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    versions: HttpVersions,
    redirects: Option<usize>,
    headers: HeaderMap,
}

impl Client {
    /// A client with the system's resolver, the platform's trust and [`EchMode::Prefer`].
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
        let limit = self.shared.connector.policy().timeouts.total;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let first_host = request.url.host_str().map(str::to_owned);
        let mut redirects = Vec::new();
        loop {
            // A list given by hand is for the host that it was given with.
            let manual = request.url.host_str() == first_host.as_deref();
            let response = self.one(&mut request, manual, deadline).await?;
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
        deadline: Option<Instant>,
    ) -> Result<Response, Error> {
        let origin = Origin::from_url(&request.url).map_err(|error| Cause::Url {
            url: request.url.to_string(),
            reason: error.to_string(),
        })?;
        let alpn = self.shared.versions.alpn();
        let connection = self
            .shared
            .connector
            .open(&Wanted {
                origin: &origin,
                alpn: &alpn,
                url: Some(request.url.as_str()),
                manual,
                deadline,
            })
            .await?;
        let host = origin.host.to_string();
        let only_h2 = self.shared.versions == HttpVersions::Http2;
        let before = connection.report();
        if only_h2 && connection.origin().scheme == Scheme::Https && connection.alpn() != Some(H2) {
            let cause = Cause::Http {
                host,
                reason: "the server does not speak HTTP/2".to_owned(),
                source: None,
            };
            return Err(Error::from(cause).with_report(before));
        }
        let mut url = request.url.clone();
        upgrade(&mut url, connection.origin());
        let work = Box::pin(exchange(connection, request, only_h2));
        let (response, recorder) = match deadline {
            None => work.await?,
            Some(deadline) => tokio::time::timeout_at(deadline, work)
                .await
                .map_err(|_| {
                    let cause = Cause::Timeout {
                        host: host.clone(),
                        step: Step::Total,
                        after: self
                            .shared
                            .connector
                            .policy()
                            .timeouts
                            .total
                            .unwrap_or_default(),
                    };
                    Error::from(cause).with_report(before)
                })??,
        };
        let (head, incoming) = response.into_parts();
        Ok(Response {
            url,
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: ResponseBody {
                host,
                incoming,
                recorder,
            },
            redirects: Vec::new(),
        })
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
        }
    }
}

impl ClientBuilder {
    /// How much ECH is needed; [`EchMode::Prefer`] by default.
    pub fn ech(mut self, mode: EchMode) -> Self {
        self.connector.policy_mut().ech = mode;
        self
    }

    /// Whether a rejected offer may be followed by a second connection; true by default.
    pub fn retry(mut self, retry: bool) -> Self {
        self.connector.policy_mut().retry = retry;
        self
    }

    /// How long each step may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.connector.policy_mut().timeouts = timeouts;
        self
    }

    /// Which addresses may be used.
    pub fn family(mut self, family: AddressFamily) -> Self {
        self.connector.policy_mut().family = family;
        self
    }

    /// All choices at once.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.connector = self.connector.policy(policy);
        self
    }

    /// Whom to ask for records and addresses; the system's resolver by default.
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.connector = self.connector.resolver(resolver);
        self
    }

    /// Trust, client certificate, key log.
    pub fn tls(mut self, tls: ClientTlsBuilder) -> Self {
        self.connector = self.connector.tls(tls);
        self
    }

    /// An ECHConfigList to offer in place of the one in DNS: at the host of each request's URL,
    /// not where redirects lead to.
    pub fn ech_config(mut self, list: EchConfigList) -> Self {
        self.connector = self.connector.ech_config(list);
        self
    }

    /// The name to show in the outer hello, in place of the public_name.
    ///
    /// # Errors
    ///
    /// When it is an address, `none`, or not a host name.
    pub fn outer_sni(mut self, name: &str) -> Result<Self, Error> {
        self.connector = self.connector.outer_sni(name)?;
        Ok(self)
    }

    /// Addresses of a host at a port, in place of those in DNS. Its records are still asked for.
    ///
    /// # Errors
    ///
    /// When `host` is no host name.
    pub fn resolve(
        mut self,
        host: &str,
        port: u16,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, Error> {
        self.connector = self.connector.resolve(host, port, addresses)?;
        Ok(self)
    }

    /// Where to connect for a host and port. Its records are not asked for.
    ///
    /// # Errors
    ///
    /// When one of the hosts is neither a name nor an address.
    pub fn connect_to(
        mut self,
        host: &str,
        port: u16,
        to_host: &str,
        to_port: u16,
    ) -> Result<Self, Error> {
        self.connector = self.connector.connect_to(host, port, to_host, to_port)?;
        Ok(self)
    }

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
                versions: self.versions,
                redirects: self.redirects,
                headers: self.headers,
            }),
        })
    }
}
