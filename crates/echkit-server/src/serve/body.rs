//! Bodies of responses.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::activity::Busy;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a response.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is here already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A response that says its status in words, and `why` if there is more to say.
pub(super) fn plain(status: StatusCode, why: &str) -> Response<ResponseBody> {
    let reason = status.canonical_reason().unwrap_or_default();
    let text = match why {
        "" => format!("{} {reason}\n", status.as_u16()),
        why => format!("{} {reason}: {why}\n", status.as_u16()),
    };
    let mut response = Response::new(whole(text));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// A body that tells the connection whether it waits for its source or for the client, and calls
/// back when it is over.
pub(super) struct ObservedBody<F: FnOnce(u64)> {
    body: ResponseBody,
    busy: Busy,
    sent: u64,
    over: Option<F>,
}

impl<F: FnOnce(u64)> ObservedBody<F> {
    /// `over` is told how many bytes were sent.
    pub(super) fn new(body: ResponseBody, busy: Busy, over: F) -> Self {
        Self {
            body,
            busy,
            sent: 0,
            over: Some(over),
        }
    }
}

impl<F: FnOnce(u64) + Unpin> Body for ObservedBody<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // What is ready waits for the client to take it.
        self.busy.set(frame.is_pending());
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<F: FnOnce(u64)> Drop for ObservedBody<F> {
    fn drop(&mut self) {
        if let Some(over) = self.over.take() {
            over(self.sent);
        }
    }
}
