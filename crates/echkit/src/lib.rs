//! Encrypted Client Hello (RFC 9849) for clients and servers on stock rustls, with its discovery
//! in DNS.

pub mod discover;
pub mod dns;
pub mod error;
pub mod origin;
pub mod policy;
pub mod report;

pub use error::{Error, ErrorKind, Result};
pub use origin::Origin;
pub use policy::EchMode;
pub use report::Report;
