//! A response: its head, a body that streams, and the report about the connection.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use url::Url;

use crate::connect::Recorder;
use crate::error::{Cause, Error};
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

    /// The report about the connection that the response came over, as it stands.
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
    /// When the connection breaks before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.chunk().await
    }

    /// What is left of the body, held in memory.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while let Some(part) = self.body.chunk().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// The body alone.
    pub fn into_body(self) -> ResponseBody {
        self.body
    }
}

/// The body of a response, as it arrives.
pub struct ResponseBody {
    pub(super) host: String,
    pub(super) incoming: Incoming,
    pub(super) recorder: Arc<Recorder>,
}

impl ResponseBody {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end.
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
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(source)) => {
                self.recorder.stop_clock();
                let cause = Cause::Http {
                    host: self.host.clone(),
                    reason: format!("the response broke off: {source}"),
                    source: Some(source),
                };
                Some(Err(Error::from(cause).with_report(self.report())))
            }
            None => {
                self.recorder.stop_clock();
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
