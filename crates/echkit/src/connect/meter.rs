//! What a connection has taken so far: time and bytes.

use tokio::time::Instant;

use super::guarded::ByteCounts;
use crate::report::milliseconds;

/// The time and bytes of a connection, those of all its attempts included.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionMeter {
    pub(crate) started: Instant,
    pub(crate) counts: ByteCounts,
}

impl ConnectionMeter {
    /// Counts from now.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            counts: ByteCounts::default(),
        }
    }

    pub(crate) fn elapsed_ms(&self) -> f64 {
        milliseconds(self.started.elapsed())
    }
}
