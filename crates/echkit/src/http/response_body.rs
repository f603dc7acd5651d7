//! The body of a response, as it arrives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "decompress")]
use std::task::ready;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

#[cfg(feature = "decompress")]
use super::decompressed::{Coding, Decompressed, decompress};
use super::raw_body::RawBody;
use super::report_recorder::ReportRecorder;
use crate::error::{Cause, Error};
use crate::report::Report;

/// The body of a response, as it arrives; an [`http_body::Body`] too.
///
/// ```no_run
/// # async fn example(client: echkit::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
///
/// let mut body = client.get("https://nominal.ech.test/").send().await?.into_body();
/// let mut file = std::fs::File::create("page.html")?;
/// while let Some(part) = body.chunk().await? {
///     file.write_all(&part)?;
/// }
/// println!("{} bytes over the wire", body.report().bytes.received);
/// # Ok(())
/// # }
/// ```
pub struct ResponseBody {
    host: String,
    recorder: Arc<ReportRecorder>,
    source: Source,
}

enum Source {
    Raw(Box<RawBody>),
    #[cfg(feature = "decompress")]
    Decompressed(Decompressed),
    /// It was given up.
    Dropped,
}

impl ResponseBody {
    pub(super) fn new(raw: RawBody) -> Self {
        Self {
            host: raw.host.clone(),
            recorder: Arc::clone(&raw.recorder),
            source: Source::Raw(Box::new(raw)),
        }
    }

    /// The body without its coding.
    #[cfg(feature = "decompress")]
    pub(super) fn decompressed(raw: RawBody, coding: Coding) -> Self {
        Self {
            host: raw.host.clone(),
            recorder: Arc::clone(&raw.recorder),
            source: Source::Decompressed(decompress(raw, coding)),
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Ends the connection, whose response is longer than may be held in memory.
    pub(super) fn too_large(&mut self, limit: usize) -> Error {
        let host = self.host.clone();
        self.failed(Cause::BodyTooLarge { host, limit })
    }

    fn failed(&mut self, cause: Cause) -> Error {
        self.recorder.stop_clock();
        self.source = Source::Dropped;
        Error::from(cause).with_report(self.report())
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end, when the time is up, or with [`Cause::Decode`]
    /// where the body cannot be decompressed.
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

    /// Why decompressing failed: the connection's reason, or else that the body is not coded as the
    /// server says.
    #[cfg(feature = "decompress")]
    fn undecoded(&mut self, error: std::io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => {
                self.source = Source::Dropped;
                error
            }
            Err(error) => {
                let host = self.host.clone();
                let reason = format!("cannot decompress the body: {error}");
                self.failed(Cause::Decode { host, reason })
            }
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.source {
            Source::Raw(raw) => Pin::new(&mut **raw).poll_frame(cx),
            #[cfg(feature = "decompress")]
            Source::Decompressed(parts) => {
                let part = ready!(parts.as_mut().poll_next(cx));
                Poll::Ready(part.map(|part| match part {
                    Ok(part) => Ok(Frame::data(part)),
                    Err(error) => Err(self.undecoded(error)),
                }))
            }
            Source::Dropped => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Raw(raw) => raw.is_end_stream(),
            #[cfg(feature = "decompress")]
            Source::Decompressed(_) => false,
            Source::Dropped => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Raw(raw) => raw.size_hint(),
            #[cfg(feature = "decompress")]
            Source::Decompressed(_) => SizeHint::default(),
            Source::Dropped => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
