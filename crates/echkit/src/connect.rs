//! Connections over TCP and TLS: from an origin to a stream that is ready for its protocol.
//!
//! Data flows one way: `Origin → Discovery → Endpoints → Attempts → Connection → Report`.
//! [`Connector`] serves any protocol over TLS; [`Client`](crate::Client) speaks HTTP over it.

mod attempt;
mod connector;
mod guarded;
mod handshake;
mod kept;
mod locate;
mod overrides;
mod plan;
mod race;
mod record;
mod run;
pub(crate) mod settings;
mod upgrade;

pub use connector::{Connection, Connector, ConnectorBuilder, Stream};
pub use guarded::{ByteCounts, Guarded};
pub use handshake::{HandshakeError, handshake};
pub(crate) use record::Recorder;
pub(crate) use run::Wanted;
