//! Where the peers are.

use std::fmt;
use std::path::{Path, PathBuf};

/// An independent implementation of ECH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// OpenSSL 4: `s_server` and `s_client`.
    OpenSsl,
    /// Go's `crypto/tls`, through the program in `interop/peers/go`.
    Go,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSsl => "openssl",
            Self::Go => "go",
        })
    }
}

/// The built programs; `interop/peers/build` makes them.
#[derive(Clone, Debug)]
pub struct Peers {
    openssl: PathBuf,
    go: PathBuf,
    caddy: PathBuf,
}

/// A peer that is not built, and the way out.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is not there; build the peers with `make peers`, or leave the matrix out \
     with ECHKIT_INTEROP=skip",
    .0.display()
)]
pub struct Missing(PathBuf);

impl Peers {
    /// Finds the programs in the cache folder that `interop/peers/build` fills.
    pub fn find() -> Result<Self, Missing> {
        let cache = cache_folder();
        let peers = Self {
            openssl: cache.join("openssl-4.0.3/bin/openssl"),
            go: cache.join("go-1.27.3/bin/goecho"),
            caddy: cache.join("caddy-2.11.7/bin/caddy"),
        };
        for program in [&peers.openssl, &peers.go, &peers.caddy] {
            if !program.is_file() {
                return Err(Missing(program.clone()));
            }
        }
        Ok(peers)
    }

    /// The program of a peer.
    pub fn program(&self, peer: Peer) -> &Path {
        match peer {
            Peer::OpenSsl => &self.openssl,
            Peer::Go => &self.go,
        }
    }

    /// The web server Caddy, whose TLS is Go's.
    pub fn caddy(&self) -> &Path {
        &self.caddy
    }
}

/// Finds BoringSSL's test runner in the same folder.
pub fn bogo_runner() -> Result<PathBuf, Missing> {
    let program = cache_folder().join("bogo-5.4.0/bin/runner");
    match program.is_file() {
        true => Ok(program),
        false => Err(Missing(program)),
    }
}

/// The same rule as in `interop/peers/build`.
fn cache_folder() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = from("ECHKIT_INTEROP_CACHE") {
        return folder.into();
    }
    let base = from("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(from("HOME").unwrap_or_default()).join(".cache"));
    base.join("echkit-interop")
}
