//! The server side of ECH (RFC 9849 §7) on stock rustls.
//!
//! A [`Handshake`] reads the first ClientHello before rustls does, and gives rustls what it must
//! see: the hello as it came, or the ClientHelloInner. rustls then negotiates as always; the few
//! messages that ECH changes are changed through the crypto provider of [`provider()`], in the
//! transcript and on the wire alike. Afterwards a plain [`rustls::ServerConnection`] goes on.
//!
//! [`Listener`] does this for clients of a TCP port, beside each other; with the feature `axum` it
//! goes below `axum::serve`. [`Acceptor`] does it for anything that tokio reads and writes:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use echkit::key::{EchKey, KeyParams};
//! use echkit::rustls::ServerConfig;
//! use echkit::server::{self, Acceptor, EchKeys, EchOutcome};
//!
//! # async fn serve(
//! #     certs: Vec<echkit::rustls::pki_types::CertificateDer<'static>>,
//! #     key: echkit::rustls::pki_types::PrivateKeyDer<'static>,
//! #     tcp: tokio::net::TcpStream,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let config = ServerConfig::builder_with_provider(server::provider())
//!     .with_safe_default_protocol_versions()?
//!     .with_no_client_auth()
//!     .with_single_cert(certs, key)?;
//! let keys = EchKeys::new(vec![EchKey::generate(&KeyParams::new("public.example")?)?])?;
//! let acceptor = Acceptor::new(Arc::new(config), keys)?;
//! let accepted = acceptor.accept(tcp).await?;
//! if let EchOutcome::Accepted { .. } = accepted.outcome {
//!     // accepted.stream belongs to the site that the inner hello names.
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Keys that last are in files: [`load_ech_keys`] reads a directory of them, and again after each
//! rotation, for an [`EchKeyHandle`] that the acceptor shares.

mod acceptor;
#[cfg(feature = "axum")]
mod axum;
mod closing;
mod key_files;
mod listener;

#[cfg(feature = "axum")]
pub use self::axum::ConnectionInfo;
pub use acceptor::{AcceptError, Accepted, Acceptor};
pub use closing::close_after_alert;
pub use echkit_tls::server::{
    EchKeyFiles, EchKeyFilesError, EchKeyHandle, EchKeys, EchKeysError, EchOutcome, EchServer,
    Handshake, HandshakeError, KeyFileText, MAX_RETRY_EXTENSION, MAX_SAME_ID, Misbehaviour,
    PaddedTickets, RejectReason, SetupError, UnknownRustls, provider,
};
pub use key_files::{LoadKeysError, load_ech_keys, read_ech_key_files, read_secret_file};
pub use listener::{Listener, accept_tcp};
pub use tokio_rustls::server::TlsStream;
