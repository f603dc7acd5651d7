//! What a server is told to do.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The configuration of an [`HttpServer`](super::HttpServer). [`ServeConfig::from_toml`] reads it
/// from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeConfig {
    /// Where clients connect. Default: port 443 of every address.
    pub listen: Vec<SocketAddr>,
    /// The directory of the ECH keys.
    pub keys: PathBuf,
    /// Whether the group of the key files may read private keys.
    pub group_readable_keys: bool,
    /// The sites; the public name of each ECH key is one of their names.
    pub sites: Vec<ServedSite>,
    /// Refuse hellos without accepted ECH that name another site than a public name. Browsers that
    /// found no HTTPS record are turned away.
    pub public_name_only: bool,
    /// Tell visitors what became of ECH, at [`STATUS_PATH`] of every site.
    pub status_page: bool,
    /// Whether each request is logged, and where.
    pub access_log: Option<AccessLogConfig>,
    /// Where metrics (`/metrics`) and health (`/health`) are served over plain HTTP.
    pub metrics: Option<SocketAddr>,
    /// How often keys change: the `regeninterval` of `/.well-known/origin-svcb`
    /// (draft-ietf-tls-wkech), which every site has then.
    pub origin_svcb: Option<Duration>,
    /// The user that the process becomes once it has bound its ports; see
    /// [`HttpServer::give_up_root`](super::HttpServer::give_up_root).
    pub user: Option<String>,
    /// The group of that user, in place of the one that the system has for it.
    pub group: Option<String>,
    /// Bounds on what clients may take.
    pub limits: ServeLimits,
}

/// Where the status page is.
pub const STATUS_PATH: &str = "/ech-status";

impl ServeConfig {
    /// A server for no site yet, with the defaults.
    pub fn new(keys: impl Into<PathBuf>) -> Self {
        Self {
            listen: vec![(Ipv6Addr::UNSPECIFIED, 443).into()],
            keys: keys.into(),
            group_readable_keys: false,
            sites: Vec::new(),
            public_name_only: false,
            status_page: false,
            access_log: None,
            metrics: None,
            origin_svcb: None,
            user: None,
            group: None,
            limits: ServeLimits::default(),
        }
    }
}

/// An access log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessLogConfig {
    /// The file that lines are added to; `-` is standard output.
    pub file: PathBuf,
    /// How a line looks.
    pub format: AccessLogFormat,
    /// Whether lines have the names that ECH hid, in place of those that the network saw.
    pub inner_names: bool,
}

impl AccessLogConfig {
    /// A log of text lines without names that ECH hid.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            format: AccessLogFormat::default(),
            inner_names: false,
        }
    }
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLogFormat {
    /// Words with spaces between.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// Names that have one certificate and one content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServedSite {
    /// Host names; `*.example.com` stands for every name one label longer than `example.com`.
    pub names: Vec<String>,
    /// The certificate chain (PEM), the site's own first.
    pub certificate: PathBuf,
    /// The private key of the certificate (PEM).
    pub key: PathBuf,
    /// What is served.
    pub content: SiteContent,
    /// How long browsers ask for the site by `https` alone (RFC 6797), in responses that do not say
    /// it themselves. Without it a visitor who types the name shows it over plain HTTP.
    pub hsts: Option<Duration>,
}

impl ServedSite {
    /// A site with these names.
    pub fn new(
        names: Vec<String>,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        content: SiteContent,
    ) -> Self {
        Self {
            names,
            certificate: certificate.into(),
            key: key.into(),
            content,
            hsts: None,
        }
    }
}

/// What a site serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteContent {
    /// The files below a directory.
    Files(PathBuf),
    /// What another server answers.
    Proxy(ProxyTarget),
    /// The status page.
    Status,
}

/// A server behind this one, which is asked over HTTP/1.1 in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyTarget {
    /// `http://HOST:PORT`.
    Tcp {
        /// An address or a name.
        host: String,
        /// The port.
        port: u16,
        /// The names of sites may be read on the way: the host is not this machine.
        in_clear: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl ProxyTarget {
    /// Reads `http://HOST[:PORT]` or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// When it is neither. The text says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!(
                    "{text:?} has no absolute path; write unix:/run/app.sock"
                )),
            };
        }
        let how = "write http://127.0.0.1:8080 or unix:/run/app.sock";
        let uri: http::Uri = text
            .parse()
            .map_err(|_| format!("{text:?} is not a URL; {how}"))?;
        if uri.scheme_str() == Some("https") {
            return Err(format!("{text:?}: backends are not asked over TLS; {how}"));
        }
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'));
        let (Some("http"), Some(authority)) = (uri.scheme_str(), authority) else {
            return Err(format!("{text:?} is not a URL of a backend; {how}"));
        };
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(format!(
                "{text:?} has a path, and requests keep theirs; leave it out"
            ));
        }
        Ok(Self::Tcp {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(80),
            in_clear: false,
        })
    }

    /// Whether requests stay on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let address = bare.parse::<std::net::IpAddr>();
                address.map_or_else(
                    |_| bare.eq_ignore_ascii_case("localhost"),
                    |address| address.to_canonical().is_loopback(),
                )
            }
        }
    }
}

impl fmt::Display for ProxyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Bounds on what clients may take. Each holds whatever a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Handshakes at the same time. One takes about 30 KB. Default: 1024.
    pub handshakes: usize,
    /// Handshakes at the same time from one address, or one IPv6 /64. Default: 64.
    pub handshakes_per_address: usize,
    /// Connections at the same time, those in their handshake included. Default: 10,000.
    pub connections: usize,
    /// Connections at the same time from one address, or one IPv6 /64. Default: 256.
    pub connections_per_address: usize,
    /// How long a handshake may take. Default: 10 seconds.
    pub handshake_time: Duration,
    /// How long the head of a request over HTTP/1.1 may take, from its first byte. Default: 10
    /// seconds.
    pub head_time: Duration,
    /// How long a request's body may pause. Default: 30 seconds.
    pub body_pause: Duration,
    /// How long a connection may be idle, or a client take nothing of a response. Default: 60
    /// seconds.
    pub idle_time: Duration,
    /// How long a backend may take for the head of its response. Default: 60 seconds.
    pub backend_time: Duration,
    /// How long a WebSocket may be silent. Default: one hour.
    pub tunnel_idle: Duration,
    /// The longest ClientHello. Default: 65,535 bytes, the longest that there is.
    pub hello_bytes: usize,
    /// The longest head of a request, all fields together. Default: 64 KiB.
    pub head_bytes: usize,
    /// The most fields in the head of a request over HTTP/1.1. Default: 100.
    pub head_fields: usize,
    /// The longest body of a request. Default: 100 MiB.
    pub body_bytes: u64,
    /// Requests at the same time on one connection over HTTP/2. Default: 128.
    pub streams: u32,
    /// How long connections may take to finish what they have begun when the server ends. Default:
    /// 30 seconds.
    pub drain_time: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            handshakes: 1024,
            handshakes_per_address: 64,
            connections: 10_000,
            connections_per_address: 256,
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(10),
            body_pause: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            backend_time: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            hello_bytes: 65_535,
            head_bytes: 64 * 1024,
            head_fields: 100,
            body_bytes: 100 * 1024 * 1024,
            streams: 128,
            drain_time: Duration::from_secs(30),
        }
    }
}
