//! The HTTP client and its builder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};

#[cfg(feature = "cookies")]
use super::cookies::CookieJar;
use super::observed_head::{ObservedHead, Observer};
use super::pool::{DEFAULT_IDLE_PER_ORIGIN, Pool};
use super::versions::HttpVersions;
use crate::connect::connection_settings::connection_setters;
use crate::connect::{Connector, ConnectorBuilder};
use crate::error::Error;

/// Redirects followed at most, unless said otherwise.
const DEFAULT_REDIRECTS: usize = 10;

/// Connections without a request are kept for this long, unless said otherwise.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a body may be for [`Response::bytes`](super::Response::bytes) and what builds on it,
/// unless said otherwise: 64 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 64 * 1024 * 1024;

/// An HTTP client that hides names by ECH.
///
/// Cheap to clone; clones share connections, TLS sessions and settings.
///
/// ```no_run
/// use std::time::Duration;
///
/// use echkit::policy::Timeouts;
/// use echkit::{Client, EchMode};
///
/// # async fn example() -> Result<(), echkit::Error> {
/// let client = Client::builder()
///     .ech(EchMode::Require)
///     .dns("https://dns.example/dns-query#192.0.2.1")
///     .timeouts(Timeouts::default().with_total(Duration::from_secs(30)))
///     .build()?;
/// let mut response = client.get("https://nominal.ech.test/").send().await?;
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

/// What the requests of a client share.
pub(super) struct Shared {
    pub(super) connector: Connector,
    pub(super) pool: Arc<Pool>,
    pub(super) versions: HttpVersions,
    pub(super) redirects: Option<usize>,
    pub(super) headers: HeaderMap,
    pub(super) body_limit: usize,
    pub(super) observer: Option<Observer>,
    #[cfg(feature = "cookies")]
    pub(super) cookies: Option<CookieJar>,
    #[cfg(feature = "decompress")]
    pub(super) decompress: bool,
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
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connector", &self.shared.connector)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Client`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use echkit::policy::Timeouts;
/// use echkit::tls::{ClientTls, Trust};
/// use echkit::{Client, EchMode};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder()
///     .ech(EchMode::Require)
///     // The resolver is encrypted too, so that no name is in the clear.
///     .dns("https://dns.example/dns-query#192.0.2.1")
///     .tls(ClientTls::builder().trust(Trust::ca_file("ca.pem")?))
///     .timeouts(Timeouts::default().with_total(Duration::from_secs(30)))
///     .redirects(None)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    connector: ConnectorBuilder,
    versions: HttpVersions,
    redirects: Option<usize>,
    headers: HeaderMap,
    keep_alive: Option<Duration>,
    idle_per_origin: usize,
    body_limit: usize,
    observer: Option<Observer>,
    #[cfg(feature = "cookies")]
    cookies: Option<CookieJar>,
    #[cfg(feature = "decompress")]
    decompress: bool,
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
            idle_per_origin: DEFAULT_IDLE_PER_ORIGIN,
            body_limit: DEFAULT_BODY_LIMIT,
            observer: None,
            #[cfg(feature = "cookies")]
            cookies: None,
            #[cfg(feature = "decompress")]
            decompress: false,
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
    /// `Authorization` and `Cookie` are not sent to another origin, and of `Referer` only its origin
    /// is. From `https` to `http` neither `Referer` nor `Origin` goes, and the report warns where ECH
    /// was wanted; [`EchMode::Require`](crate::EchMode::Require) refuses.
    pub fn redirects(mut self, limit: Option<usize>) -> Self {
        self.redirects = limit;
        self
    }

    /// How long a connection is kept for the next request to the same origin; `None` makes a
    /// connection for each request. A minute by default.
    ///
    /// A response may end before its request's body is sent. What is left of that body must go out
    /// within this time too (a minute with `None`), or the connection is closed.
    pub fn keep_alive(mut self, keep: Option<Duration>) -> Self {
        self.keep_alive = keep;
        self
    }

    /// How many connections over HTTP/1.1 are kept for one origin while no request uses them; six by
    /// default, and 128 in all at most. Where more requests than that run at once, more keep threads
    /// from making connections anew.
    pub fn idle_per_origin(mut self, count: usize) -> Self {
        self.idle_per_origin = count;
        self
    }

    /// How many bytes of a body [`Response::bytes`](super::Response::bytes), `text` and `json` may
    /// hold in memory; [`DEFAULT_BODY_LIMIT`] by default. Bodies that are read by
    /// [`Response::chunk`](super::Response::chunk) have no limit.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Header fields for each request that does not have them itself.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Shows the head of each request and response to `observe`, as it goes by. The header fields
    /// hold what is sent: credentials and cookies too.
    pub fn observe(mut self, observe: impl Fn(ObservedHead<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observe));
        self
    }

    /// Keeps cookies in `jar`, and sends them (feature `cookies`). Without it `Set-Cookie` has no
    /// effect.
    #[cfg(feature = "cookies")]
    pub fn cookies(mut self, jar: CookieJar) -> Self {
        self.cookies = Some(jar);
        self
    }

    /// Asks for compressed bodies (gzip, br, zstd, deflate), and decompresses them as they are read
    /// (feature `decompress`); false by default. Several gzip members or zstd frames are one body; what
    /// follows the end of a gzip, brotli or deflate body is ignored. A request with an `Accept-Encoding` of its own keeps
    /// it. [`body_limit`](Self::body_limit) counts what comes out.
    #[cfg(feature = "decompress")]
    pub fn decompress(mut self, decompress: bool) -> Self {
        self.decompress = decompress;
        self
    }

    /// Reads what has to be read.
    ///
    /// # Errors
    ///
    /// As those of [`ConnectorBuilder::build`].
    pub fn build(self) -> Result<Client, Error> {
        Ok(Client {
            shared: Arc::new(Shared {
                connector: self.connector.build()?,
                pool: Pool::new(self.keep_alive, self.idle_per_origin),
                versions: self.versions,
                redirects: self.redirects,
                headers: self.headers,
                body_limit: self.body_limit,
                observer: self.observer,
                #[cfg(feature = "cookies")]
                cookies: self.cookies,
                #[cfg(feature = "decompress")]
                decompress: self.decompress,
            }),
        })
    }
}
