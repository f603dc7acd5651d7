//! Why a client's TLS cannot be set up.

use std::path::PathBuf;

/// A client's TLS, or one connection of it, cannot be set up. Nothing was sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSetupError {
    /// A setting makes no sense.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Why it is refused.
        reason: String,
    },
    /// Certificates to trust could not be read.
    #[error("cannot load trusted certificates from {origin}: {reason}")]
    TrustAnchors {
        /// The file, or the system's store.
        origin: TrustOrigin,
        /// Why not.
        reason: String,
    },
    /// rustls refused the configuration.
    #[error("rustls refused the configuration for {host}: {source}")]
    Tls {
        /// The origin's host.
        host: String,
        /// The reason.
        source: rustls::Error,
    },
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

impl std::fmt::Display for TrustOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("the system"),
            Self::Path(path) => path.display().fmt(f),
            Self::Given => f.write_str("the certificates given"),
        }
    }
}
