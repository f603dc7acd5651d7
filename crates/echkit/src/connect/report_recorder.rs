//! Keeps the report of a connection while it is made, by attempts that may run side by side.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::guarded::{ByteCounts, WireLog};
use crate::report::{
    AttemptReport, AttemptResult, Bytes, HelloReport, Report, Timings, milliseconds,
};

/// The report in the making.
#[derive(Debug)]
pub(crate) struct ReportRecorder {
    started: Instant,
    counts: ByteCounts,
    /// What the connection had carried when this began.
    before: Bytes,
    report: Mutex<Report>,
}

impl ReportRecorder {
    pub(crate) fn new(report: Report) -> Self {
        Self {
            started: Instant::now(),
            counts: ByteCounts::default(),
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

    pub(crate) fn counts(&self) -> &ByteCounts {
        &self.counts
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
        self.edit().timings_ms.total = self.now();
    }

    /// Begins an attempt. Unless it is ended it counts as cancelled when dropped.
    pub(crate) fn attempt(&self, address: SocketAddr) -> RecordedAttempt<'_> {
        let mut report = self.edit();
        report.attempts.push(AttemptReport {
            address: address.to_string(),
            protocol: None,
            started_ms: self.now(),
            ended_ms: None,
            result: AttemptResult::Cancelled,
            error: None,
            hellos: Vec::new(),
        });
        RecordedAttempt {
            recorder: self,
            index: report.attempts.len() - 1,
            log: WireLog::new(self.counts.clone()),
            ended: false,
        }
    }

    fn now(&self) -> f64 {
        milliseconds(self.started.elapsed())
    }
}

/// One attempt on the record.
#[derive(Debug)]
pub(crate) struct RecordedAttempt<'r> {
    recorder: &'r ReportRecorder,
    index: usize,
    log: WireLog,
    ended: bool,
}

impl RecordedAttempt<'_> {
    /// Where its bytes and hellos are noted.
    pub(crate) fn log(&self) -> &WireLog {
        &self.log
    }

    /// It failed, or led to another.
    pub(crate) fn failed(mut self, error: impl std::fmt::Display) {
        self.end(AttemptResult::Failed, None, Some(error.to_string()));
    }

    /// It became the connection.
    pub(crate) fn won(mut self, protocol: Option<String>, tcp: Duration, tls: Option<Duration>) {
        self.end(AttemptResult::Won, protocol, None);
        let mut report = self.recorder.edit();
        report.timings_ms.tcp = Some(milliseconds(tcp));
        report.timings_ms.tls = tls.map(milliseconds);
    }

    fn end(&mut self, result: AttemptResult, protocol: Option<String>, error: Option<String>) {
        self.ended = true;
        let now = self.recorder.now();
        let mut report = self.recorder.edit();
        let attempt = &mut report.attempts[self.index];
        attempt.ended_ms = Some(now);
        attempt.result = result;
        attempt.protocol = protocol;
        attempt.error = error;
        attempt.hellos = self.log.hellos().iter().map(HelloReport::from).collect();
    }
}

impl Drop for RecordedAttempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(AttemptResult::Cancelled, None, None);
        }
    }
}
