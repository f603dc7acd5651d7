//! The client of a connection, as those who answer it see it.

use std::net::SocketAddr;
use std::sync::Arc;

use echkit::server::EchOutcome;

use super::activity::Activity;
use super::metrics::{Metrics, OpenConnection};
use crate::{Admission, Drain};

/// The client at the other end of a connection. The connection counts as one until the last
/// reference is gone, tunnels included.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) outcome: EchOutcome,
    /// The name that the handshake was for: the one inside, where ECH was accepted.
    pub(super) name: String,
    pub(super) activity: Activity,
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
    pub(super) _open: OpenConnection,
    pub(super) _admission: Admission,
}
