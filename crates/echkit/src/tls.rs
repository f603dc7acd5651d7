//! TLS with Encrypted Client Hello on rustls: configurations, trust, and a guard on what is sent.
//!
//! [`ClientTls`] makes one rustls configuration for each connection out of parts that stay the
//! same: verifier, client certificate, session stores. [`Guard`] reads every outgoing ClientHello
//! before it leaves.

mod config;
mod grease;
mod guard;
mod guarded;
mod outer_sni;
mod sessions;
mod trust;

pub(crate) use config::default_provider;
pub use config::{ClientTls, ClientTlsBuilder, EchOffer, TlsTarget};
pub use guard::{Guard, GuardError, Offering, SeenHello};
pub use guarded::{ByteCounts, Guarded};
pub use outer_sni::{OuterName, Renamed};
pub use trust::Trust;

/// A server name as text.
pub(crate) fn host_text(name: &rustls_pki_types::ServerName<'_>) -> String {
    name.to_str().into_owned()
}
