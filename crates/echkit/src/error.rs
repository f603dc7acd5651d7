//! What can go wrong for a client, by what a caller would do about it.
//!
//! The text of an error holds that of the error that it is about; its
//! [`source`](std::error::Error::source) continues with what is below that one. So the text alone
//! is complete for a user, and a chain names everything once. The error itself is in a field.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use echkit_tls::client::ClientSetupError;
pub use echkit_tls::client::TrustOrigin;

use crate::discover::DiscoverError;
use crate::proxy::ProxyFault;
use crate::report::Report;

/// A result of this crate's client.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a connection or request failed, with the report about it.
///
/// Match on [`Error::cause`] for the details, or on [`Error::kind`] for the stable kind.
///
/// ```no_run
/// use echkit::connect::Connector;
/// use echkit::{EchMode, ErrorKind, Origin};
///
/// # async fn example(origin: &Origin) -> Result<(), echkit::Error> {
/// let connector = Connector::builder().ech(EchMode::Require).build()?;
/// match connector.connect(origin, &[b"http/1.1"]).await {
///     Ok(connection) => println!("hidden: {:?}", connection.report().ech.inner_sni),
///     Err(error) => {
///         match error.kind() {
///             ErrorKind::EchRequired => println!("the site has no ECH: {error}"),
///             ErrorKind::Timeout => println!("try again later: {error}"),
///             _ => println!("{error}"),
///         }
///         if let Some(report) = error.report() {
///             println!("{} attempts", report.attempts.len());
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Error(Box<Failure>);

struct Failure {
    cause: Cause,
    report: Option<Report>,
}

impl Error {
    /// What went wrong.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The stable kind, one for each reaction.
    pub fn kind(&self) -> ErrorKind {
        self.0.cause.kind()
    }

    /// What was offered, shown and got until it went wrong; `None` when nothing was tried.
    pub fn report(&self) -> Option<&Report> {
        self.0.report.as_ref()
    }

    /// Takes the cause out.
    pub fn into_cause(self) -> Cause {
        self.0.cause
    }

    /// Takes the report out.
    pub fn into_report(self) -> Option<Report> {
        self.0.report
    }

    /// Attaches the report about the connection, with this error's message in it.
    pub(crate) fn with_report(mut self, mut report: Report) -> Self {
        report.error = Some(self.0.cause.to_string());
        self.0.report = Some(report);
        self
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self(Box::new(Failure {
            cause,
            report: None,
        }))
    }
}

impl From<ClientSetupError> for Cause {
    fn from(error: ClientSetupError) -> Self {
        match error {
            ClientSetupError::Setting { setting, reason } => Self::Setting { setting, reason },
            ClientSetupError::TrustAnchors { origin, reason } => {
                Self::TrustAnchors { origin, reason }
            }
            ClientSetupError::Tls { host, source } => Self::Tls {
                host,
                reason: source.to_string(),
                source: Some(source),
            },
            other => Self::Setting {
                setting: "TLS",
                reason: other.to_string(),
            },
        }
    }
}

impl From<ClientSetupError> for Error {
    fn from(error: ClientSetupError) -> Self {
        Cause::from(error).into()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.cause)
    }
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// A setting makes no sense; nothing was tried.
    Setting {
        /// The setting.
        setting: &'static str,
        /// Why it is refused.
        reason: String,
    },

    /// Certificates to trust could not be read.
    TrustAnchors {
        /// The file, or the system's store.
        origin: TrustOrigin,
        /// Why not.
        reason: String,
    },

    /// The URL is not one that can be fetched.
    Url {
        /// The URL as given.
        url: String,
        /// Why not.
        reason: String,
    },

    /// DNS gave no address, or did not answer where going on would be unsafe.
    Name {
        /// The host.
        host: String,
        /// In words.
        reason: String,
        /// What discovery says, where it failed.
        discovery: Option<Box<DiscoverError>>,
    },

    /// No address could be connected to over TCP.
    Connect {
        /// The host.
        host: String,
        /// The address tried last.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },

    /// A step took longer than allowed.
    Timeout {
        /// The host.
        host: String,
        /// The step.
        step: Step,
        /// The limit.
        after: Duration,
    },

    /// The TLS handshake failed, for a reason other than a certificate.
    Tls {
        /// The host.
        host: String,
        /// In words.
        reason: String,
        /// The error of the TLS stack, where it has one.
        source: Option<rustls::Error>,
    },

    /// The server's certificate is not trusted for the name it has to prove.
    Certificate {
        /// The host.
        host: String,
        /// The name to prove: the origin's, or the public_name after a rejection.
        name: String,
        /// Whether that name is the ECH public_name (RFC 9849 §6.1.7).
        public_name: bool,
        /// What it means, where an ECH rejection could not be authenticated: that the server lacks
        /// the key, and why that may be.
        meaning: Option<String>,
        /// The verifier's error.
        source: Box<rustls::Error>,
    },

    /// A proxy cannot be used, or did not connect to the host.
    Proxy {
        /// The host.
        host: String,
        /// The proxy, without credentials.
        proxy: String,
        /// What went wrong.
        fault: ProxyFault,
    },

    /// ECH is required and unavailable. Nothing that names the origin was sent over TLS.
    EchRequired {
        /// The origin.
        origin: String,
        /// Why not.
        reason: String,
    },

    /// An authenticated server rejected ECH, and trying again is not allowed or did not help
    /// (RFC 9849 §6.1.6).
    EchRejected {
        /// The host.
        host: String,
        /// The name that authenticated the rejection.
        public_name: String,
        /// Why there was no other try.
        reason: String,
    },

    /// Sending on would have shown what ECH hides; nothing was sent.
    Guard {
        /// The host.
        host: String,
        /// What was about to leak.
        source: echkit_proto::client::GuardError,
    },

    /// The server does not speak HTTP as it should, or the connection broke.
    Http {
        /// The host.
        host: String,
        /// In words.
        reason: String,
        /// The error of the HTTP stack.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    /// A redirect that is not followed: too many, or to where ECH cannot protect the request.
    Redirect {
        /// Where the redirect came from.
        from: String,
        /// Where it led.
        to: String,
        /// Why it is not followed.
        reason: String,
    },

    /// The response has an error status, and the caller wanted that to be an error.
    #[cfg(feature = "http")]
    Status {
        /// The URL that the response is from.
        url: String,
        /// The status.
        status: http::StatusCode,
    },

    /// The body is longer than may be held in memory.
    BodyTooLarge {
        /// The host.
        host: String,
        /// The limit in bytes.
        limit: usize,
    },

    /// The body is not what the caller asked it to be read as.
    Decode {
        /// The host.
        host: String,
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { setting, reason } => write!(f, "{setting}: {reason}"),
            Self::TrustAnchors { origin, reason } => {
                write!(
                    f,
                    "cannot load trusted certificates from {origin}: {reason}"
                )
            }
            Self::Url { url, reason } => write!(f, "{url}: {reason}"),
            Self::Name { host, reason, .. } => write!(f, "cannot resolve {host}: {reason}"),
            Self::Connect {
                host,
                address,
                source,
            } => write!(f, "cannot connect to {host} at {address}: {source}"),
            Self::Timeout {
                host,
                step: Step::Read,
                after,
            } => write!(
                f,
                "{host} neither sent nor took anything for {} ms",
                after.as_millis()
            ),
            Self::Timeout { host, step, after } => {
                write!(
                    f,
                    "{step} of {host} timed out after {} ms",
                    after.as_millis()
                )
            }
            Self::Tls { host, reason, .. } => write!(f, "TLS with {host} failed: {reason}"),
            Self::Certificate {
                host,
                meaning: Some(meaning),
                source,
                ..
            } => write!(f, "{host}: {meaning}: {source}"),
            Self::Certificate {
                host, name, source, ..
            } => write!(
                f,
                "the certificate of {host} is not trusted for {name}: {source}"
            ),
            Self::Proxy { host, proxy, fault } => {
                write!(f, "{host} through proxy {proxy}: {fault}")
            }
            Self::EchRequired { origin, reason } => {
                write!(f, "ECH is required for {origin} and unavailable: {reason}")
            }
            Self::EchRejected {
                host,
                public_name,
                reason,
            } => write!(
                f,
                "{host} rejected ECH, authenticated as {public_name}: {reason}"
            ),
            Self::Guard { host, source } => {
                write!(f, "stopped before {host} was sent in the clear: {source}")
            }
            Self::Http { host, reason, .. } => write!(f, "HTTP with {host} failed: {reason}"),
            Self::Redirect { from, to, reason } => {
                write!(f, "redirect from {from} to {to} not followed: {reason}")
            }
            #[cfg(feature = "http")]
            Self::Status { url, status } => write!(f, "{url} answered with status {status}"),
            Self::BodyTooLarge { host, limit } => write!(
                f,
                "the response of {host} is longer than {limit} bytes: stream it, or raise the limit"
            ),
            Self::Decode { host, reason } => {
                write!(f, "the response of {host} could not be read: {reason}")
            }
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } => source.source(),
            Self::Certificate { source, .. } => source.source(),
            Self::Guard { source, .. } => source.source(),
            Self::Tls { source, .. } => source.as_ref()?.source(),
            Self::Proxy { fault, .. } => fault.source(),
            Self::Name { discovery, .. } => discovery.as_ref()?.source(),
            // `Http` has all of the chain in its words.
            _ => None,
        }
    }
}

impl Cause {
    /// Discovery failed.
    pub(crate) fn unresolved(host: String, error: &DiscoverError) -> Self {
        Self::Name {
            host,
            reason: error.to_string(),
            discovery: Some(Box::new(error.clone())),
        }
    }

    /// The stable kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Setting { .. } => ErrorKind::Usage,
            Self::TrustAnchors { .. } => ErrorKind::TrustAnchors,
            Self::Url { .. } => ErrorKind::Url,
            Self::Name { .. } => ErrorKind::Name,
            Self::Connect { .. } => ErrorKind::Connect,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Tls { .. } | Self::Guard { .. } => ErrorKind::Tls,
            Self::Certificate { .. } => ErrorKind::Certificate,
            Self::Proxy { fault, .. } => match fault {
                ProxyFault::Unresolved { .. } => ErrorKind::ProxyName,
                ProxyFault::Unreachable { .. } => ErrorKind::Connect,
                ProxyFault::Timeout { .. } => ErrorKind::Timeout,
                fault if fault.is_about_certificate() => ErrorKind::Certificate,
                ProxyFault::Tls { .. } => ErrorKind::Tls,
                ProxyFault::Credentials { .. }
                | ProxyFault::Refused { .. }
                | ProxyFault::Broken { .. }
                | ProxyFault::Malformed { .. } => ErrorKind::ProxyTunnel,
                ProxyFault::WouldLearnName | ProxyFault::Socks { .. } => ErrorKind::Proxy,
            },
            Self::EchRequired { .. } => ErrorKind::EchRequired,
            Self::EchRejected { .. } => ErrorKind::EchRejected,
            Self::Http { .. } => ErrorKind::Http,
            Self::Redirect { .. } => ErrorKind::Redirect,
            #[cfg(feature = "http")]
            Self::Status { .. } => ErrorKind::Status,
            Self::BodyTooLarge { .. } => ErrorKind::BodyTooLarge,
            Self::Decode { .. } => ErrorKind::Decode,
        }
    }
}

/// A step that can take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// DNS queries.
    Dns,
    /// A TCP connection.
    Connect,
    /// A TLS handshake.
    Handshake,
    /// The next bytes of an HTTP exchange.
    Read,
    /// The whole.
    Total,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "name resolution",
            Self::Connect => "TCP connection",
            Self::Handshake => "TLS handshake",
            Self::Read => "the next bytes",
            Self::Total => "the request",
        })
    }
}

/// The stable kind of an error: one for each reaction of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting makes no sense.
    Usage,
    /// Trusted certificates could not be read.
    TrustAnchors,
    /// The URL is not one that can be fetched.
    Url,
    /// The name does not resolve.
    Name,
    /// No TCP connection.
    Connect,
    /// Out of time.
    Timeout,
    /// TLS failed.
    Tls,
    /// The certificate is not trusted.
    Certificate,
    /// A proxy would learn a name that ECH may hide, or did not connect by SOCKS5.
    Proxy,
    /// The name of a proxy does not resolve.
    ProxyName,
    /// A proxy did not connect by HTTP CONNECT.
    ProxyTunnel,
    /// ECH is required and unavailable.
    EchRequired,
    /// ECH was rejected for good.
    EchRejected,
    /// HTTP failed.
    Http,
    /// A redirect was not followed.
    Redirect,
    /// The response has an error status.
    Status,
    /// The body is longer than may be held in memory.
    BodyTooLarge,
    /// The body is not what it should be.
    Decode,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Usage,
        Self::TrustAnchors,
        Self::Url,
        Self::Name,
        Self::Connect,
        Self::Timeout,
        Self::Tls,
        Self::Certificate,
        Self::EchRequired,
        Self::EchRejected,
        Self::Http,
        Self::Redirect,
        Self::Status,
        Self::BodyTooLarge,
        Self::Decode,
        Self::Proxy,
        Self::ProxyName,
        Self::ProxyTunnel,
    ];

    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::TrustAnchors => "trust_anchors",
            Self::Url => "url",
            Self::Name => "name",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Proxy => "proxy",
            Self::ProxyName => "proxy_name",
            Self::ProxyTunnel => "proxy_tunnel",
            Self::EchRequired => "ech_required",
            Self::EchRejected => "ech_rejected",
            Self::Http => "http",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::BodyTooLarge => "body_too_large",
            Self::Decode => "decode",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
