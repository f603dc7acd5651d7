//! The client side of ECH: what is offered, what may leave, and what follows a rejection.
//!
//! - [`EchOffer`] is what a ClientHello says about ECH.
//! - [`Guard`] reads every outgoing ClientHello before it is sent.
//! - [`after_rejection`] decides what follows an authenticated rejection (RFC 9849 §6.1.6).

mod guard;
mod offer;
mod rejection;

pub use guard::{Guard, GuardError, Offering, SeenHello};
pub use offer::{ConfigSource, EchOffer, RealOffer};
pub use rejection::{AfterRejection, NoRetry, RejectionPolicy, after_rejection};
