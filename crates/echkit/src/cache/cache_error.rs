//! Why a cache file cannot be used.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// Why a cache file cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be read or written.
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The folder that it would be made in is not there.
    NoFolder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// Others may read it.
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// It is another user's, who may have put configs into it.
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It is something else.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                action,
                path,
                source,
            } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::NoFolder { path, folder } => write!(
                f,
                "cannot keep retry configs in {}: the folder {} does not exist; make it first",
                path.display(),
                folder.display()
            ),
            Self::Permissions { path } => write!(
                f,
                "{} can be read by other users, and it lists the sites that were visited; run \
                    chmod 600 on it, or remove it",
                path.display()
            ),
            Self::Owner { path, owner } => write!(
                f,
                "{} belongs to another user (uid {owner}), who could choose the ECHConfigs that \
                    are offered to its sites; use a file of your own",
                path.display()
            ),
            Self::Content { path, reason } => {
                write!(
                    f,
                    "{} is not a retry-config cache file: {reason}",
                    path.display()
                )
            }
        }
    }
}

impl Error for CacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => source.source(),
            Self::NoFolder { .. }
            | Self::Permissions { .. }
            | Self::Owner { .. }
            | Self::Content { .. } => None,
        }
    }
}
