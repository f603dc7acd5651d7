//! How an attempt ends.

use std::time::Duration;

use echkit_proto::race::Failure as Reach;

use super::stream::Stream;
use crate::error::Cause;
use crate::report::{EchReport, TlsReport};

/// An attempt that became the connection.
pub(super) struct AttemptWon {
    pub(super) stream: Stream,
    /// How long TCP took.
    pub(super) tcp: Duration,
    /// The TLS session, and how long its handshake took.
    pub(super) tls: Option<(TlsReport, Duration)>,
    pub(super) ech: EchReport,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct AttemptFault {
    pub(super) cause: Cause,
    /// What it says about the other endpoints.
    pub(super) reach: Reach,
    pub(super) ech: EchReport,
}

/// The first among those that got furthest, which says most.
pub(super) fn furthest(faults: Vec<AttemptFault>) -> Option<AttemptFault> {
    faults
        .into_iter()
        .reduce(|best, next| match next.reach > best.reach {
            true => next,
            false => best,
        })
}
