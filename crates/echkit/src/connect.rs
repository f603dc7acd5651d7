//! Connections over TCP and TLS: from an origin to a stream that is ready for its protocol.
//!
//! Data flows one way: `Origin → Discovery → Endpoints → Attempts → Connection → Report`.
//! [`Connector`] serves any protocol over TLS; [`Client`](crate::Client) speaks HTTP over it.

mod attempt;
mod attempt_log;
mod attempt_outcome;
mod attempt_progress;
mod candidate;
mod connection;
mod connection_plan;
mod connection_request;
pub(crate) mod connection_settings;
mod connector;
mod connector_parts;
mod discovery;
mod discovery_options;
mod ech_findings;
mod establish;
mod established;
mod grease_refusal;
mod guarded;
mod handshake;
mod handshake_words;
mod linger;
mod meter;
mod offer_event;
mod origin_retry_configs;
mod overrides;
mod proxy_route;
mod proxy_tunnel;
mod race_driver;
mod stream;
mod tls_report;

pub use connection::Connection;
#[cfg(feature = "http")]
pub(crate) use connection_request::ConnectionRequest;
pub use connector::{Connector, ConnectorBuilder};
pub use guarded::{ByteCounts, Guarded, WireLog};
pub use handshake::{ClientHandshakeError, HandshakeFault, HandshakeLimits, handshake};
#[cfg(feature = "http")]
pub(crate) use meter::ConnectionMeter;
pub use stream::Stream;
