//! The report about the requests over a connection: what was known when it was made, and what
//! follows, bytes and time, while it is used.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::attempt_log::AttemptLog;
use super::guarded::ByteCounts;
use crate::report::{Bytes, Report, Timings, milliseconds};

/// A report that goes on.
#[derive(Debug)]
pub(crate) struct ReportRecorder {
    started: Instant,
    counts: ByteCounts,
    /// What the connection had carried when this began.
    before: Bytes,
    report: Mutex<Report>,
}

impl ReportRecorder {
    /// Goes on with the report about a connection that was made.
    pub(super) fn after(report: Report, log: &AttemptLog) -> Self {
        Self {
            started: log.started(),
            counts: log.counts().clone(),
            before: Bytes::default(),
            report: Mutex::new(report),
        }
    }

    /// The report about another request over the same connection.
    pub(crate) fn again(&self, url: &str) -> Self {
        let mut report = self.edit().clone();
        report.url = Some(url.to_owned());
        report.reused = true;
        report.attempts.clear();
        report.timings_ms = Timings::default();
        report.error = None;
        Self {
            started: Instant::now(),
            counts: self.counts.clone(),
            before: self.counts.snapshot(),
            report: Mutex::new(report),
        }
    }

    /// The report, to be changed.
    pub(crate) fn edit(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report as it stands now.
    pub(crate) fn snapshot(&self) -> Report {
        let mut report = self.edit().clone();
        let Bytes { sent, received } = self.counts.snapshot();
        report.bytes = Bytes {
            sent: sent - self.before.sent,
            received: received - self.before.received,
        };
        report
    }

    /// Marks now as the end of what `timings_ms.total` counts.
    pub(crate) fn stop_clock(&self) {
        self.edit().timings_ms.total = milliseconds(self.started.elapsed());
    }
}

#[cfg(test)]
impl ReportRecorder {
    /// For tests of what uses connections.
    pub(crate) fn new(report: Report) -> Self {
        Self::after(report, &AttemptLog::new())
    }
}
