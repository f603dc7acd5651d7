//! A response's body as the connection brings it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

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
    /// When it must have ended, and the limit for which.
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl RawBody {
    pub(super) fn new(host: String, incoming: Incoming, recorder: Arc<ReportRecorder>) -> Self {
        Self {
            host,
            incoming,
            recorder,
            lease: None,
            deadline: None,
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
        self.deadline = deadline
            .until
            .map(|until| (Box::pin(tokio::time::sleep_until(until)), deadline.limit));
        self
    }

    fn ended(&mut self) {
        self.recorder.stop_clock();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
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
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let Some((sleep, after)) = &mut this.deadline else {
                return Poll::Pending;
            };
            ready!(sleep.as_mut().poll(cx));
            let cause = Cause::Timeout {
                host: this.host.clone(),
                step: Step::Total,
                after: *after,
            };
            return Poll::Ready(Some(Err(this.failed(cause))));
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
