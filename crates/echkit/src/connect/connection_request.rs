//! What a connection is wanted for.

use tokio::time::Instant;

use crate::origin::Origin;

/// What a connection is wanted for.
pub(crate) struct ConnectionRequest<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) alpn: &'a [Vec<u8>],
    pub(crate) url: Option<&'a str>,
    /// Whether the ECHConfigList given by the caller is meant for this origin.
    pub(crate) manual: bool,
    pub(crate) deadline: Option<Instant>,
    /// Whether the caller asks an HTTP proxy in absolute-form (RFC 9112 §3.2.2) where the origin is
    /// an `http` one: there is then no tunnel.
    pub(crate) forward: bool,
}
