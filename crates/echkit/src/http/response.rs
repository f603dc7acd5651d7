//! A response: its head, a body that streams, and the report about the connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::Sleep;
use url::Url;

use super::exchange::in_words;
use super::pool::Lease;
use super::report_recorder::ReportRecorder;
use crate::deadline::Deadline;
use crate::error::{Cause, Error, Step};
use crate::report::Report;

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Response {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: ResponseBody,
    pub(super) redirects: Vec<Report>,
    /// How many bytes of the body may be held in memory.
    pub(super) body_limit: usize,
}

impl Response {
    /// The URL that the response is from: after redirects, and `https` where `http` was upgraded.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The report about the connection that the response came over, as it stands. Where an
    /// earlier request had made it, `reused` says so, and the counts and times are this one's.
    pub fn report(&self) -> Report {
        self.body.report()
    }

    /// The reports about the connections of the redirects before, in order.
    pub fn redirects(&self) -> &[Report] {
        &self.redirects
    }

    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end, or when the time is up.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.chunk().await
    }

    /// What is left of the body, held in memory.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end, when the time is up, or with
    /// [`Cause::BodyTooLarge`] when the body is longer than
    /// [`ClientBuilder::body_limit`](super::ClientBuilder::body_limit) allows.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        let limit = self.body_limit;
        let announced = http_body::Body::size_hint(&self.body).lower();
        if usize::try_from(announced).map_or(true, |announced| announced > limit) {
            return Err(self.body.too_large(limit));
        }
        let mut whole = BytesMut::new();
        while let Some(part) = self.body.chunk().await? {
            if part.len() > limit - whole.len() {
                return Err(self.body.too_large(limit));
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// What is left of the body as text: UTF-8, with U+FFFD in place of what is not.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`].
    pub async fn text(&mut self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What is left of the body, read as JSON.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`], and with [`Cause::Decode`] when it is not JSON of this shape.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let cause = Cause::Decode {
                host: self.body.host.clone(),
                reason: format!("not the JSON that was expected: {error}"),
            };
            Error::from(cause).with_report(self.report())
        })
    }

    /// The response itself, or an error where its status is one (RFC 9110 §15.5, §15.6).
    ///
    /// # Errors
    ///
    /// [`Cause::Status`] for a status from 400 to 599.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if !self.status.is_client_error() && !self.status.is_server_error() {
            return Ok(self);
        }
        let cause = Cause::Status {
            url: self.url.to_string(),
            status: self.status,
        };
        Err(Error::from(cause).with_report(self.report()))
    }

    /// The body alone.
    pub fn into_body(self) -> ResponseBody {
        self.body
    }
}

/// The body of a response, as it arrives.
pub struct ResponseBody {
    host: String,
    incoming: Incoming,
    recorder: Arc<ReportRecorder>,
    /// The connection, until the body has ended.
    lease: Option<Lease>,
    /// When it must have ended, and the limit for which.
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl ResponseBody {
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

    /// Ends the connection, whose response is longer than may be held in memory.
    fn too_large(&mut self, limit: usize) -> Error {
        let host = self.host.clone();
        self.failed(Cause::BodyTooLarge { host, limit })
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
        Error::from(cause).with_report(self.report())
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end, or when the time is up.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(frame)) => {
                    // Trailers are no part of the body.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The report about the connection, as it stands.
    pub fn report(&self) -> Report {
        self.recorder.snapshot()
    }
}

impl http_body::Body for ResponseBody {
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
                    reason: format!("the response broke off: {}", in_words(&source)),
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

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
