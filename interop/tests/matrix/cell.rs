//! What a cell of the matrix is, and what it works with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use echkit_interop::{Peer, PeerKey, Peers, Pki};
use libtest_mimic::Trial;

/// How a cell ends: well, or with a sentence for the reader.
pub(crate) type Outcome = Result<(), String>;

/// The only reasons for which a cell may be left out.
#[derive(Clone, Copy)]
pub(crate) enum Skip {
    /// Go's client has no GREASE.
    GoSendsNoGrease,
    /// OpenSSL has no X-Wing for ECH.
    OpenSslLacksXWing,
    /// Go's client offers TLS 1.3 only as soon as it offers ECH.
    GoOffersNoInnerTls12,
    /// Go has no way to change the outer name.
    GoHasNoOuterName,
    /// OpenSSL sends no retry_configs that it holds no private key for.
    OpenSslHoldsItsKeys,
    /// OpenSSL's client takes the HelloRetryRequest with which OpenSSL's server rejects an offer
    /// for no rejection, and ends the handshake; so it does without a router between them.
    OpenSslRejectsItsHelloRetry,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GoSendsNoGrease => "skipped: Go never sends GREASE",
            Self::OpenSslLacksXWing => "skipped: OpenSSL 4.0 has no X-Wing for ECH",
            Self::GoOffersNoInnerTls12 => "skipped: Go offers TLS 1.3 alone with ECH",
            Self::GoHasNoOuterName => "skipped: Go always shows the public_name",
            Self::OpenSslHoldsItsKeys => "skipped: OpenSSL opens what it publishes",
            Self::OpenSslRejectsItsHelloRetry => {
                "skipped: OpenSSL with itself, without a router too, fails there"
            }
        })
    }
}

/// The peers, and the authority that they all trust.
pub(crate) struct Lab {
    pub(crate) peers: Peers,
    pub(crate) pki: Pki,
    made: AtomicUsize,
}

impl Lab {
    pub(crate) fn new(peers: Peers) -> Self {
        Self {
            peers,
            pki: Pki::new().expect("loopback certificates can be made"),
            made: AtomicUsize::new(0),
        }
    }

    /// An empty folder of its own.
    pub(crate) fn folder(&self) -> Result<PathBuf, String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let folder = self.pki.folder().join(number.to_string());
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        Ok(folder)
    }

    /// A key made by `maker`, alone in its folder.
    pub(crate) fn key(&self, maker: Peer, suite: (u16, u16, u16)) -> Result<PeerKey, String> {
        let path = self.folder()?.join("key.pem.ech");
        PeerKey::make(
            &self.peers,
            maker,
            &path,
            suite,
            echkit_interop::PUBLIC_NAME,
        )
    }
}

/// HPKE suites as KEM, KDF, AEAD (RFC 9180 §7).
pub(crate) mod suite {
    pub(crate) const X25519: (u16, u16, u16) = (0x0020, 1, 1);
    pub(crate) const X25519_CHACHA20: (u16, u16, u16) = (0x0020, 1, 3);
    pub(crate) const P256: (u16, u16, u16) = (0x0010, 1, 1);
    pub(crate) const P384: (u16, u16, u16) = (0x0011, 2, 2);
    pub(crate) const P521: (u16, u16, u16) = (0x0012, 3, 2);
    pub(crate) const X_WING: (u16, u16, u16) = (0x647a, 1, 1);

    /// Those that both peers make keys for, by name.
    pub(crate) const COMMON: [(&str, (u16, u16, u16)); 5] = [
        ("x25519", X25519),
        ("x25519_chacha20", X25519_CHACHA20),
        ("p256", P256),
        ("p384", P384),
        ("p521", P521),
    ];
}

type Run = Box<dyn FnOnce(&Lab) -> Outcome + Send>;

/// One cell: a name, and what is done or why nothing is.
pub(crate) struct Cell {
    name: String,
    run: Result<Run, Skip>,
}

impl Cell {
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl FnOnce(&Lab) -> Outcome + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            run: Ok(Box::new(run)),
        }
    }

    /// A cell that cannot exist.
    pub(crate) fn skipped(name: impl Into<String>, why: Skip) -> Self {
        Self {
            name: name.into(),
            run: Err(why),
        }
    }

    pub(crate) fn trial(self, lab: &Arc<Lab>) -> Trial {
        match self.run {
            Ok(run) => {
                let lab = Arc::clone(lab);
                Trial::test(self.name, move || Ok(run(&lab)?))
            }
            Err(why) => Trial::test(self.name, || Ok(()))
                .with_kind(why.to_string())
                .with_ignored_flag(true),
        }
    }

    pub(crate) fn leave_out(self) -> Trial {
        Trial::test(self.name, || Ok(()))
            .with_kind("skipped: ECHKIT_INTEROP=skip")
            .with_ignored_flag(true)
    }
}

/// Both peers, for the columns of the matrix.
pub(crate) const PEERS: [Peer; 2] = [Peer::OpenSsl, Peer::Go];

/// Ends a cell with a sentence unless `$held`; `$seen` is shown below it.
macro_rules! hold {
    ($held:expr, $promise:literal, $seen:expr) => {
        if !$held {
            return Err(format!(
                "{}: does not hold: {}\n{}",
                $promise,
                stringify!($held),
                $seen
            ));
        }
    };
}
pub(crate) use hold;
