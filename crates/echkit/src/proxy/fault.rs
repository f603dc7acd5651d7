//! What can go wrong at a proxy.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// What went wrong at a proxy.
///
/// As in all errors of this crate, the text holds that of the error it is about.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyFault {
    /// The proxy would look the host's name up, and learn it. Nothing was sent.
    WouldLearnName,
    /// The proxy's own name does not resolve.
    Unresolved {
        /// What DNS said.
        reason: String,
    },
    /// No TCP connection to the proxy.
    Unreachable {
        /// Why not.
        source: io::Error,
    },
    /// The proxy did not connect in time.
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// TLS with the proxy failed.
    Tls {
        /// Why.
        source: io::Error,
    },
    /// The proxy wants credentials, or others (407).
    Credentials {
        /// Whether some were sent.
        sent: bool,
    },
    /// The proxy answered CONNECT with an error status.
    Refused {
        /// Where it was to connect to.
        to: String,
        /// The status.
        status: u16,
    },
    /// The connection broke, or ended, before the proxy had answered CONNECT.
    Broken {
        /// How.
        source: io::Error,
    },
    /// The proxy's answer to CONNECT is not HTTP as it should be.
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A SOCKS5 proxy did not connect.
    Socks {
        /// Where it was to connect to.
        to: String,
        /// The text of its reply, or what is wrong with it.
        reason: String,
        /// Whether it may connect to another address.
        about_address: bool,
        /// Whether it may connect to a name.
        about_names: bool,
    },
}

impl ProxyFault {
    /// Whether the proxy's certificate is not trusted.
    pub(crate) fn is_about_certificate(&self) -> bool {
        let Self::Tls { source } = self else {
            return false;
        };
        let inner = source.get_ref();
        let inner = inner.and_then(|error| error.downcast_ref::<rustls::Error>());
        matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
    }

    /// Whether the proxy would say the same about every other address.
    pub(crate) fn is_about_proxy(&self) -> bool {
        match self {
            Self::WouldLearnName
            | Self::Unresolved { .. }
            | Self::Tls { .. }
            | Self::Credentials { .. }
            | Self::Malformed { .. } => true,
            Self::Socks { about_address, .. } => !about_address,
            // A proxy may bear one connection and not two.
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Refused { .. }
            | Self::Broken { .. } => false,
        }
    }
}

/// What to do about a proxy that refuses addresses.
const NAMES: &str = ". Where a proxy wants names in place of addresses, --proxy-resolves \
                     (`proxy_resolves`) gives it the name";

impl fmt::Display for ProxyFault {
    /// What the proxy did, to follow its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldLearnName => f.write_str(
                "it looks names up itself and would learn one that ECH may hide: use socks5://, or \
                 allow it with --proxy-resolves (`proxy_resolves`)",
            ),
            Self::Unresolved { reason } => write!(f, "its name does not resolve: {reason}"),
            Self::Unreachable { source } => write!(f, "cannot connect to the proxy: {source}"),
            Self::Timeout { after } => write!(f, "timed out after {} ms", after.as_millis()),
            Self::Tls { source } => write!(f, "TLS with the proxy failed: {source}"),
            Self::Credentials { sent: false } => f.write_str(
                "it asks for credentials (407): give them in its URL, as in \
                 http://USER:PASSWORD@HOST:PORT",
            ),
            Self::Credentials { sent: true } => {
                f.write_str("it does not accept the credentials (407)")
            }
            Self::Refused { to, status } => {
                write!(f, "it answered CONNECT {to} with status {status}{NAMES}")
            }
            Self::Broken { source } => {
                write!(f, "the connection ended before it answered: {source}")
            }
            Self::Malformed { reason } => write!(f, "its answer is not one to CONNECT: {reason}"),
            Self::Socks {
                to,
                reason,
                about_names,
                ..
            } => {
                let advice = if *about_names { NAMES } else { "" };
                write!(f, "SOCKS5 to {to} failed: {reason}{advice}")
            }
        }
    }
}

impl Error for ProxyFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable { source } | Self::Broken { source } | Self::Tls { source } => {
                source.source()
            }
            _ => None,
        }
    }
}
