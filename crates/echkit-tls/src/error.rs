//! Why a client's TLS cannot be set up.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// A client's TLS, or one connection of it, cannot be set up. Nothing was sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientSetupError {
    /// A setting makes no sense.
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
    /// rustls refused the configuration.
    Tls {
        /// The origin's host.
        host: String,
        /// The reason.
        source: rustls::Error,
    },
}

/// The text holds that of the error below; the source continues with what is below that one.
impl fmt::Display for ClientSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { setting, reason } => write!(f, "{setting}: {reason}"),
            Self::TrustAnchors { origin, reason } => {
                write!(
                    f,
                    "cannot load trusted certificates from {origin}: {reason}"
                )
            }
            Self::Tls { host, source } => {
                write!(f, "rustls refused the configuration for {host}: {source}")
            }
        }
    }
}

impl Error for ClientSetupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tls { source, .. } => source.source(),
            Self::Setting { .. } | Self::TrustAnchors { .. } => None,
        }
    }
}

/// Where trusted certificates were to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustOrigin {
    /// The system's store.
    System,
    /// A file or folder.
    Path(PathBuf),
    /// Certificates given by the caller.
    Given,
}

impl fmt::Display for TrustOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system"),
            Self::Path(path) => path.display().fmt(f),
            Self::Given => f.write_str("the certificates given"),
        }
    }
}
