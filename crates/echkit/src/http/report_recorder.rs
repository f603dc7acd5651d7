//! The reports about the requests over a connection: what was known when it was made, and what
//! follows, bytes and time, while it is used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::connect::{Connection, ConnectionMeter, Stream};
use crate::report::{Bytes, Report, Timings};

/// The report about one request, which continues with it.
#[derive(Debug)]
pub(super) struct ReportRecorder {
    meter: ConnectionMeter,
    /// What the connection had carried when this began.
    before: Bytes,
    report: Mutex<Report>,
    /// Warnings about this request alone.
    warnings: Mutex<Vec<String>>,
}

impl ReportRecorder {
    /// The stream of a connection, and the report about the first request over it, which goes on
    /// with that about the connection.
    pub(super) fn of(connection: Connection) -> (Stream, Arc<Self>) {
        let Connection {
            stream,
            report,
            meter,
            ..
        } = connection;
        (stream, Arc::new(Self::new(report, meter)))
    }

    pub(super) fn new(report: Report, meter: ConnectionMeter) -> Self {
        Self {
            meter,
            before: Bytes::default(),
            report: Mutex::new(report),
            warnings: Mutex::default(),
        }
    }

    /// The report about another request over the same connection.
    pub(super) fn again(&self, url: &str) -> Self {
        let mut report = self.edit().clone();
        report.url = Some(url.to_owned());
        report.reused = true;
        report.attempts.clear();
        report.timings_ms = Timings::default();
        report.error = None;
        let counts = self.meter.counts.clone();
        Self {
            before: counts.snapshot(),
            meter: ConnectionMeter {
                started: Instant::now(),
                counts,
            },
            report: Mutex::new(report),
            warnings: Mutex::default(),
        }
    }

    /// Warns about this request. Later ones over the same connection do not have it.
    pub(super) fn warn(&self, warning: String) {
        let warnings = self.warnings.lock();
        let mut warnings = warnings.unwrap_or_else(PoisonError::into_inner);
        warnings.push(warning);
    }

    /// The report, to be changed.
    pub(super) fn edit(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report as it stands now.
    pub(super) fn snapshot(&self) -> Report {
        let mut report = self.edit().clone();
        let warnings = self.warnings.lock();
        let warnings = warnings.unwrap_or_else(PoisonError::into_inner);
        report.ech.warnings.extend(warnings.iter().cloned());
        let Bytes { sent, received } = self.meter.counts.snapshot();
        report.bytes = Bytes {
            sent: sent - self.before.sent,
            received: received - self.before.received,
        };
        report
    }

    /// Marks now as the end of what `timings_ms.total` counts.
    pub(super) fn stop_clock(&self) {
        self.edit().timings_ms.total = self.meter.elapsed_ms();
    }
}
