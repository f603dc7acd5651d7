//! A connection that is ready for its protocol.

use std::sync::Arc;

use super::report_recorder::ReportRecorder;
use super::stream::Stream;
use crate::origin::Origin;
use crate::report::Report;

/// A connection that is ready for its protocol.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: Stream,
    pub(super) origin: Origin,
    pub(super) recorder: Arc<ReportRecorder>,
}

impl Connection {
    /// What was offered, shown and got, with the bytes up to now.
    pub fn report(&self) -> Report {
        self.recorder.snapshot()
    }

    /// The origin: `https` where an `http` origin was upgraded.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Stream::Plain(_) => None,
        }
    }

    /// The stream, and the report as it stands.
    pub fn into_parts(self) -> (Stream, Report) {
        let report = self.recorder.snapshot();
        (self.stream, report)
    }

    pub(crate) fn into_recorded(self) -> (Stream, Arc<ReportRecorder>) {
        (self.stream, self.recorder)
    }
}
