//! The attempts of one connection: what has to be told even where one ends early, by a time-out
//! or because another was faster. All else in a report is returned by the stage that knows it.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::guarded::WireLog;
use super::meter::ConnectionMeter;
use crate::report::{AttemptReport, AttemptResult, HelloReport};

/// The attempts of one connection, which may run side by side.
#[derive(Debug)]
pub(super) struct AttemptLog {
    meter: ConnectionMeter,
    attempts: Mutex<Vec<AttemptReport>>,
}

impl AttemptLog {
    /// A log that counts time and bytes from now.
    pub(super) fn new() -> Self {
        Self {
            meter: ConnectionMeter::start(),
            attempts: Mutex::default(),
        }
    }

    /// The time and bytes of all attempts.
    pub(super) fn meter(&self) -> &ConnectionMeter {
        &self.meter
    }

    /// The attempts up to now.
    pub(super) fn attempts(&self) -> Vec<AttemptReport> {
        self.lock().clone()
    }

    /// Begins an attempt. Unless it is ended it counts as cancelled when dropped.
    ///
    /// `place` is what the report says, which may be a name where a proxy looks it up; events have
    /// the `address`.
    pub(super) fn begin(&self, place: String, address: Option<SocketAddr>) -> LoggedAttempt<'_> {
        let mut attempts = self.lock();
        tracing::debug!(
            attempt = attempts.len(),
            address = address.map(tracing::field::display),
            "attempt started"
        );
        attempts.push(AttemptReport {
            address: place,
            protocol: None,
            started_ms: self.meter.elapsed_ms(),
            ended_ms: None,
            result: AttemptResult::Cancelled,
            error: None,
            hellos: Vec::new(),
        });
        LoggedAttempt {
            log: self,
            index: attempts.len() - 1,
            wire: WireLog::new(self.meter.counts.clone()),
            ended: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AttemptReport>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt in the log.
#[derive(Debug)]
pub(super) struct LoggedAttempt<'l> {
    log: &'l AttemptLog,
    index: usize,
    wire: WireLog,
    ended: bool,
}

impl LoggedAttempt<'_> {
    /// Where its bytes and hellos are noted.
    pub(super) fn wire(&self) -> &WireLog {
        &self.wire
    }

    /// It failed, or led to another.
    pub(super) fn failed(mut self, error: impl std::fmt::Display) {
        // What it says names the host.
        self.end(AttemptResult::Failed, None, Some(error.to_string()));
    }

    /// It became the connection.
    pub(super) fn won(mut self, protocol: Option<String>) {
        self.end(AttemptResult::Won, protocol, None);
    }

    fn end(&mut self, result: AttemptResult, protocol: Option<String>, error: Option<String>) {
        self.ended = true;
        let mut attempts = self.log.lock();
        let attempt = &mut attempts[self.index];
        attempt.ended_ms = Some(self.log.meter.elapsed_ms());
        attempt.result = result;
        attempt.protocol = protocol;
        attempt.error = error;
        tracing::debug!(attempt = self.index, ?result, "attempt ended");
        attempt.hellos = self.wire.hellos().iter().map(HelloReport::from).collect();
    }
}

impl Drop for LoggedAttempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(AttemptResult::Cancelled, None, None);
        }
    }
}
