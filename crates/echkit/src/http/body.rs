//! Request bodies: none, bytes, or a stream.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// Whatever a body's source may fail with.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body as hyper takes it.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a request.
///
/// ```
/// use echkit::http::Body;
/// use http_body_util::Full;
///
/// let whole = Body::from("text or bytes");
/// let streamed = Body::stream(Full::new("any http_body::Body".into()));
/// let again = Body::repeatable(|| Full::new("made for each time that it is sent".into()));
/// ```
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Bytes(Bytes),
    Stream(Outgoing),
    /// Made anew each time that it is sent.
    Repeatable(Arc<dyn Fn() -> Outgoing + Send + Sync>, Option<u64>),
    /// A stream that was sent.
    Spent,
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is produced while it is sent. It can be sent once: a redirect that asks for it
    /// again is an error.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    /// A body that `make` makes each time that it is sent, such as a file that is read again after a
    /// redirect.
    pub fn repeatable<B>(make: impl Fn() -> B + Send + Sync + 'static) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let length = make().size_hint().exact();
        let make = move || make().map_err(Into::into).boxed_unsync();
        Self(Kind::Repeatable(Arc::new(make), length))
    }

    /// The length, where it is known beforehand.
    pub(super) fn len(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Stream(body) => http_body::Body::size_hint(body).exact(),
            Kind::Repeatable(_, length) => *length,
            Kind::Spent => None,
        }
    }

    /// Takes back a body that was not sent after all.
    pub(super) fn restore(&mut self, body: Outgoing) {
        if let Kind::Spent = self.0 {
            self.0 = Kind::Stream(body);
        }
    }

    /// Whether there is something to send, if only nothing.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.0, Kind::Spent)
    }

    /// The body to send now; `None` if it was a stream and was sent.
    pub(super) fn send(&mut self) -> Option<Outgoing> {
        match &self.0 {
            Kind::Empty => Some(Empty::new().map_err(|never| match never {}).boxed_unsync()),
            Kind::Bytes(bytes) => Some(
                Full::new(bytes.clone())
                    .map_err(|never| match never {})
                    .boxed_unsync(),
            ),
            Kind::Stream(_) => match std::mem::replace(&mut self.0, Kind::Spent) {
                Kind::Stream(body) => Some(body),
                _ => None,
            },
            Kind::Repeatable(make, _) => Some(make()),
            Kind::Spent => None,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            Some(len) => write!(f, "Body({len} bytes)"),
            None => f.write_str("Body(stream)"),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        match bytes.is_empty() {
            true => Self::empty(),
            false => Self(Kind::Bytes(bytes)),
        }
    }
}
