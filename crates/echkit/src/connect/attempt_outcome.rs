//! How an attempt ends.

use echkit_proto::race::Failure as Reach;

use super::stream::Stream;
use crate::error::Cause;
use crate::report::{EchReport, TlsReport};

/// A candidate that became the connection.
pub(super) struct AttemptWon {
    pub(super) stream: Stream,
    pub(super) tls: Option<TlsReport>,
    pub(super) ech: EchReport,
}

/// A candidate that failed.
#[derive(Debug)]
pub(super) struct AttemptFault {
    pub(super) cause: Cause,
    /// What it says about the other candidates.
    pub(super) reach: Reach,
    pub(super) ech: EchReport,
}
