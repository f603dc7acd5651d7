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
#[cfg(feature = "decompress")]
use crate::deadline::Deadline;
#[cfg(feature = "decompress")]
use crate::error::Step;
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
    /// The deadline counts here too: a few bytes can be decompressed to any length.
    #[cfg(feature = "decompress")]
    Decompressed(Decompressed, Deadline),
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
        let (host, recorder) = (raw.host.clone(), Arc::clone(&raw.recorder));
        let deadline = raw.deadline;
        let decompressed = decompress(raw, coding);
        Self {
            host,
            recorder,
            source: Source::Decompressed(decompressed, deadline),
        }
    }

    /// Adds a warning about this request to the report.
    pub(super) fn warn(&self, warning: String) {
        self.recorder.warn(warning);
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
    /// When the connection breaks before the end, when the time is up, even if more of the body is
    /// there, or with [`Cause::Decode`] where the body cannot be decompressed.
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
        let this = &mut *self;
        match &mut this.source {
            Source::Raw(raw) => Pin::new(&mut **raw).poll_frame(cx),
            #[cfg(feature = "decompress")]
            Source::Decompressed(_, deadline) if deadline.has_passed() => {
                let cause = deadline.exceeded(&this.host, Step::Total);
                Poll::Ready(Some(Err(this.failed(cause))))
            }
            #[cfg(feature = "decompress")]
            Source::Decompressed(parts, _) => {
                let part = ready!(parts.as_mut().poll_next(cx));
                Poll::Ready(part.map(|part| match part {
                    Ok(part) => Ok(Frame::data(part)),
                    Err(error) => Err(this.undecoded(error)),
                }))
            }
            Source::Dropped => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Raw(raw) => raw.is_end_stream(),
            #[cfg(feature = "decompress")]
            Source::Decompressed(..) => false,
            Source::Dropped => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Raw(raw) => raw.size_hint(),
            #[cfg(feature = "decompress")]
            Source::Decompressed(..) => SizeHint::default(),
            Source::Dropped => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "decompress"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use async_compression::tokio::write::GzipEncoder;
    use http_body_util::Empty;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::connect::ConnectionMeter;
    use crate::policy::EchMode;

    const LIMIT: Duration = Duration::from_secs(2);

    /// A body that is there as a whole, and must be read within the limit.
    async fn body(content: Vec<u8>) -> RawBody {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            let _ = far.read(&mut [0; 1024]).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                content.len()
            );
            far.write_all(head.as_bytes()).await.unwrap();
            far.write_all(&content).await.unwrap();
            // Open until the client ends.
            let _ = far.read(&mut [0; 1]).await;
        });
        let (mut sender, driver) = http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(driver);
        let request = http::Request::new(Empty::<Bytes>::new());
        let response = sender.send_request(request).await.unwrap();
        let report = Report::new("https://a.test", EchMode::Prefer);
        let recorder = ReportRecorder::new(report, ConnectionMeter::start());
        RawBody::new(
            "a.test".to_owned(),
            response.into_body(),
            Arc::new(recorder),
        )
        .with_deadline(Deadline::after(LIMIT))
    }

    async fn assert_late(body: &mut ResponseBody) {
        let error = body.chunk().await.unwrap_err();
        match error.cause() {
            Cause::Timeout { step, after, .. } => {
                assert_eq!((*step, *after), (Step::Total, LIMIT));
            }
            other => panic!("{other}"),
        }
        assert!(error.report().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_always_has_more_ends_with_its_time() {
        let mut body = ResponseBody::new(body(vec![b'x'; 900_000]).await);
        assert!(body.chunk().await.unwrap().is_some());
        tokio::time::advance(LIMIT).await;
        assert_late(&mut body).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_few_bytes_are_decompressed_to_ends_with_its_time() {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(&[0; 1 << 20]).await.unwrap();
        encoder.shutdown().await.unwrap();
        let raw = body(encoder.into_inner()).await;
        let mut body = ResponseBody::decompressed(raw, Coding::Gzip);
        assert!(body.chunk().await.unwrap().is_some());
        tokio::time::advance(LIMIT).await;
        assert_late(&mut body).await;
        assert!(body.chunk().await.unwrap().is_none());
    }
}
