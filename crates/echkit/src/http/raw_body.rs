//! A response's body as the connection brings it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::exchange::body_in_words;
use super::idle_watch::idle_for;
use super::pool::Lease;
use super::report_recorder::ReportRecorder;
use crate::deadline::Deadline;
use crate::error::{Cause, Error, Step};

/// The body, and the connection until it has ended.
pub(super) struct RawBody {
    pub(super) host: String,
    /// `None` once it has ended: over HTTP/2 it keeps its connection open.
    incoming: Option<Incoming>,
    pub(super) recorder: Arc<ReportRecorder>,
    /// The connection, until the body has ended.
    lease: Option<Lease>,
    /// When it must have been read to its end.
    pub(super) deadline: Deadline,
    /// Wakes at the deadline.
    alarm: Option<Pin<Box<Sleep>>>,
    /// How long the next part may take.
    read_limit: Option<Duration>,
    /// Wakes when the part that is waited for has taken too long.
    read_alarm: Option<Pin<Box<Sleep>>>,
}

impl RawBody {
    pub(super) fn new(host: String, incoming: Incoming, recorder: Arc<ReportRecorder>) -> Self {
        Self {
            host,
            incoming: Some(incoming),
            recorder,
            lease: None,
            deadline: Deadline::NEVER,
            alarm: None,
            read_limit: None,
            read_alarm: None,
        }
    }

    /// Gives the connection back when the body has ended.
    pub(super) fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        if self.is_end_stream() {
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

    /// Ends the body when a part of it takes longer than `limit`.
    pub(super) fn with_read_limit(mut self, limit: Option<Duration>) -> Self {
        self.read_limit = limit;
        self
    }

    /// Whether the part that is waited for has taken too long. Time counts from the first wait on.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let limit = self.read_limit?;
        let alarm = self
            .read_alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        alarm.as_mut().poll(cx).is_ready().then_some(limit)
    }

    fn ended(&mut self) {
        self.recorder.stop_clock();
        self.incoming = None;
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
        self.incoming = None;
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
        if this.deadline.has_passed() && !this.is_end_stream() {
            return Poll::Ready(Some(Err(this.late())));
        }
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            let woken = |alarm: &mut Pin<Box<Sleep>>| alarm.as_mut().poll(cx).is_ready();
            if this.alarm.as_mut().is_some_and(woken) {
                return Poll::Ready(Some(Err(this.late())));
            }
            return match this.poll_idle(cx) {
                Some(limit) => {
                    let cause = idle_for(&this.host, limit);
                    Poll::Ready(Some(Err(this.failed(cause))))
                }
                None => Poll::Pending,
            };
        };
        this.read_alarm = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if this.is_end_stream() {
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
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
