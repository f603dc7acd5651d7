//! The server side of ECH (RFC 9849 §7) on stock rustls.
//!
//! A [`Handshake`] reads the first ClientHello before rustls does, and gives rustls what it must
//! see: the hello as it came, or the ClientHelloInner. rustls then negotiates as always; the few
//! messages that ECH changes are changed through the crypto provider of [`provider()`], in the
//! transcript and on the wire alike. Afterwards a plain [`rustls::ServerConnection`] goes on.

#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod doctored;
mod handshake;
mod interpose;
mod outcome;
mod padded_tickets;
mod provider;
mod record_protection;
mod record_sizes;
mod self_test;
mod set_up;
mod settings;
mod swap;
mod transcript;
mod unserved_names;

pub use echkit_proto::server::{
    EchKeyFiles, EchKeyFilesError, EchKeyHandle, EchKeys, EchKeysError, KeyFileText,
    MAX_RETRY_EXTENSION, MAX_SAME_ID, Misbehaviour, RejectReason,
};
pub use handshake::{Handshake, HandshakeError};
pub use outcome::EchOutcome;
pub use padded_tickets::PaddedTickets;
pub use provider::provider;
pub use self_test::UnknownRustls;
pub use set_up::SetupError;
pub use settings::EchServer;
