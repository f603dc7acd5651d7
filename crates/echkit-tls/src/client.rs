//! The client side: rustls configurations with ECH, trust, sessions, and the outer name.
//!
//! [`ClientTls`] makes one rustls configuration for each connection out of parts that stay the
//! same: verifier, client certificate, session stores. [`Guard`] reads every outgoing ClientHello
//! before it leaves, and [`OfferOutcome`] says what became of the offer when the handshake has
//! ended. Callers with a way of their own to make connections use [`ClientTls::prepare`].

mod any_certificate;
mod connection;
mod delegated_verifier;
mod ech_sessions;
mod grease;
mod log_notice;
mod offer_log;
mod outcome;
mod outer_name;
mod pem_certificates;
mod real_offer;
mod sessions;
mod target;
mod trust;
mod trusted_leaf;

pub use crate::error::{ClientSetupError, TrustOrigin};
pub use crate::retry_configs::retry_configs;
pub use connection::{ClientTls, ClientTlsBuilder, default_provider};
pub use echkit_proto::client::{
    ConfigSource, EchOffer, Guard, GuardError, Offering, RealOffer, SeenHello,
};
pub use outcome::{OfferOutcome, Rejection};
pub use outer_name::OuterName;
pub use pem_certificates::pem_certificates;
pub use real_offer::InfoScope;
pub use target::{ClientHandshake, PreparedClient, SessionUse, TlsTarget};
pub use trust::Trust;
