//! The client side of ECH: what may leave, and what follows a rejection.
//!
//! - [`Guard`] reads every outgoing ClientHello before it is sent.
//! - [`after_rejection`] decides what follows an authenticated rejection (RFC 9849 §6.1.6).

mod guard;
mod rejection;

pub use guard::{Guard, GuardError, Offering, SeenHello};
pub use rejection::{AfterRejection, NoRetry, RejectionPolicy, after_rejection};
