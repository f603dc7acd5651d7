//! The body of a request that Python feeds part by part.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use echkit::http::Bytes;
use echkit::http::http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender};

/// A body whose parts come from its [`Feeder`], one at a time.
pub(super) struct Upload {
    parts: Receiver<Part>,
    /// How many bytes are to come, where that is known.
    left: Option<u64>,
    ended: bool,
}

/// What a caller has for a body.
pub(super) enum Part {
    Data(Bytes),
    /// Nothing else: without it the body is cut off.
    End,
}

/// Where the parts come from.
pub(super) type Feeder = Sender<Part>;

/// The place of the next part.
pub(super) type Place = OwnedPermit<Part>;

impl Upload {
    pub(super) fn new(length: Option<u64>) -> (Self, Feeder) {
        let (feeder, parts) = mpsc::channel(1);
        let upload = Self {
            parts,
            left: length,
            ended: length == Some(0),
        };
        (upload, feeder)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let cut_off = |why: String| {
            let error = std::io::Error::other(why);
            Poll::Ready(Some(Err(error)))
        };
        match ready!(self.parts.poll_recv(cx)) {
            Some(Part::Data(data)) => {
                if let Some(left) = self.left {
                    let Some(rest) = left.checked_sub(data.len() as u64) else {
                        self.ended = true;
                        return cut_off("the body is longer than its Content-Length".to_owned());
                    };
                    self.left = Some(rest);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Part::End) => {
                self.ended = true;
                match self.left {
                    Some(left) if left > 0 => cut_off(format!(
                        "the body is {left} bytes shorter than its Content-Length"
                    )),
                    _ => Poll::Ready(None),
                }
            }
            None => {
                self.ended = true;
                cut_off("the body was not given to its end".to_owned())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
