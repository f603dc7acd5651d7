//! What is wrong with a key directory.

use std::io;
use std::path::{Path, PathBuf};

use echkit::server::{EchKeysError, LoadKeysError};
use echkit_proto::key::{KeyError, KeyFileError};

/// A key directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyDirectoryError {
    /// Something cannot be read.
    #[error("{}: {error}; the path must exist and be readable", path.display())]
    Read {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something cannot be written.
    #[error("{}: cannot be written: {error}; what was there before is unchanged", path.display())]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The path is that of something else.
    #[error("{}: not a directory; give the directory that holds the key files", .0.display())]
    NotADirectory(PathBuf),
    /// Others can read a private key, or write where it is.
    #[error(
        "{path}: its mode {mode:04o} lets others read or replace private keys; run chmod {wanted:04o} {path}, or \
         allow it explicitly",
        path = path.display()
    )]
    Permissions {
        /// Which file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Permissions that are accepted.
        wanted: u32,
    },
    /// The state cannot be understood.
    #[error(
        "{}: {reason}; restore the file from a back-up, or delete it: the newest key file then counts as published",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program changes the directory at this moment.
    #[error("{}: in use by another rotation; wait until it ends, or stop it", .0.display())]
    Busy(PathBuf),
    /// A key file is broken.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyFileError,
    },
    /// No key is published.
    #[error("{}: no key is published; run ech rotate, or put a key file of ech keygen there", .0.display())]
    NoKey(PathBuf),
    /// The file of the published key is not there.
    #[error(
        "{}: the published key's file is missing; restore it, or run ech rotate to publish the next key",
        .0.display()
    )]
    PublishedMissing(PathBuf),
    /// A state that a key cannot go to.
    #[error("{}: the key is {state}; {wanted}", path.display())]
    WrongState {
        /// The key's file.
        path: PathBuf,
        /// Its state.
        state: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// All config_ids are taken.
    #[error("{}: all 256 config_ids are in use; delete key files that are no longer needed", .0.display())]
    NoConfigId(PathBuf),
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys cannot be used together.
    #[error("{}: {error}", path.display())]
    Keys {
        /// The directory.
        path: PathBuf,
        /// What is wrong with them.
        error: EchKeysError,
    },
    /// The files cannot be read, or are not those of a server's keys.
    #[error(transparent)]
    Load(#[from] LoadKeysError),
}

impl KeyDirectoryError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Read { path, error }
    }
}
