//! Why a cache file cannot be used.

use std::path::PathBuf;

/// Why a cache file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error(
        "{} can be read by others than its owner, and it tells which sites were visited; \
         chmod 600 it, or remove it",
        path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// It is another user's, who may have put configs into it.
    #[error(
        "{} belongs to another user (uid {owner}), who could choose what is offered to every site \
         in it; name a file of your own",
        path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It is something else.
    #[error("{} is not a retry-config cache: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
