//! The client side: rustls configurations with ECH, trust, sessions, and the outer name.
//!
//! [`ClientTls`] makes one rustls configuration for each connection out of parts that stay the
//! same: verifier, client certificate, session stores. [`Guard`] reads every outgoing ClientHello
//! before it leaves.

mod connection;
mod grease;
mod outer_name;
mod retry_configs;
mod sessions;
mod trust;

pub use crate::error::{ClientSetupError, TrustOrigin};
pub use connection::{ClientTls, ClientTlsBuilder, EchOffer, TlsTarget, default_provider};
pub use echkit_proto::client::{Guard, GuardError, Offering, SeenHello};
pub use outer_name::{OuterName, Renamed};
pub use retry_configs::retry_configs;
pub use trust::Trust;
