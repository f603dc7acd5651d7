//! A response's body as the connection brings it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::exchange::body_in_words;
use super::pool::Lease;
use super::report_recorder::ReportRecorder;
use crate::deadline::Deadline;
use crate::error::{Cause, Error, Step};

/// The body, and the connection until it has ended.
pub(super) struct RawBody {
    pub(super) host: String,
    incoming: Incoming,
    pub(super) recorder: Arc<ReportRecorder>,
    /// The connection, until the body has ended.
    lease: Option<Lease>,
    /// When it must have been read to its end.
    pub(super) deadline: Deadline,
    /// Wakes at the deadline.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl RawBody {
    pub(super) fn new(host: String, incoming: Incoming, recorder: Arc<ReportRecorder>) -> Self {
        Self {
            host,
            incoming,
            recorder,
            lease: None,
            deadline: Deadline::NEVER,
            alarm: None,
        }
    }

    /// Gives the connection back when the body has ended.
    pub(super) fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        if self.incoming.is_end_stream() {
            self.ended();
        }
        self
    }

    pub(super) fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        let alarm = deadline.until.map(tokio::time::sleep_until);
        self.alarm = alarm.map(Box::pin);
        self
    }

    fn ended(&mut self) {
        self.recorder.stop_clock();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn late(&mut self) -> Error {
        let cause = self.deadline.exceeded(&self.host, Step::Total);
        self.failed(cause)
    }

    fn failed(&mut self, cause: Cause) -> Error {
        self.recorder.stop_clock();
        self.lease = None;
        Error::from(cause).with_report(self.recorder.snapshot())
    }
}

impl http_body::Body for RawBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        // First: a body that always has more must end too.
        if this.deadline.has_passed() && !this.incoming.is_end_stream() {
            return Poll::Ready(Some(Err(this.late())));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let woken = |alarm: &mut Pin<Box<Sleep>>| alarm.as_mut().poll(cx).is_ready();
            return match this.alarm.as_mut().is_some_and(woken) {
                true => Poll::Ready(Some(Err(this.late()))),
                false => Poll::Pending,
            };
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if this.incoming.is_end_stream() {
                    this.ended();
                }
                Some(Ok(frame))
            }
            Some(Err(source)) => {
                let cause = Cause::Http {
                    host: this.host.clone(),
                    reason: format!("the response was cut off: {}", body_in_words(&source)),
                    source: Some(source.into()),
                };
                Some(Err(this.failed(cause)))
            }
            None => {
                this.ended();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
