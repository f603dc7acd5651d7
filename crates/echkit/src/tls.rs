//! TLS with Encrypted Client Hello on rustls: trust, client certificates, and the guard that reads
//! each hello before it is sent. See the crate `echkit-tls`.

pub use echkit_tls::client::{
    ClientHandshake, ClientSetupError, ClientTls, ClientTlsBuilder, ConfigSource, EchOffer, Guard,
    GuardError, InfoScope, OfferOutcome, Offering, OuterName, PreparedClient, RealOffer, Rejection,
    SeenHello, SessionUse, TlsTarget, Trust, TrustOrigin,
};
pub use echkit_tls::hpke;

pub use crate::connect::{ByteCounts, Guarded, WireLog};
