//! The body: to stdout, to a file or into memory, decompressed if asked for.

use std::io;
use std::path::Path;

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZstdDecoder};
use echkit::ErrorKind;
use echkit::http::{DEFAULT_BODY_LIMIT, ResponseBody};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_util::io::StreamReader;

use crate::failure::Failure;

/// How much a decoder hands on at a time.
const BUFFER: usize = 64 * 1024;

/// The body as it arrives.
pub(super) struct Reader<'a>(Box<dyn AsyncBufRead + Unpin + Send + 'a>);

impl<'a> Reader<'a> {
    /// `coding` is how the server coded the body (RFC 9110 §8.4), where it is to be decoded; one
    /// that is unknown is left as it is.
    pub(super) fn new(body: &'a mut ResponseBody, coding: Option<&str>) -> Self {
        let raw = StreamReader::new(body.map_err(io::Error::other).into_data_stream());
        let buffer = BUFFER;
        match coding.map(str::to_ascii_lowercase).as_deref() {
            Some("gzip" | "x-gzip") => Self(Box::new(BufReader::with_capacity(
                buffer,
                GzipDecoder::new(raw),
            ))),
            Some("br") => Self(Box::new(BufReader::with_capacity(
                buffer,
                BrotliDecoder::new(raw),
            ))),
            Some("zstd") => Self(Box::new(BufReader::with_capacity(
                buffer,
                ZstdDecoder::new(raw),
            ))),
            Some("deflate") => Self(Box::new(BufReader::with_capacity(
                buffer,
                DeflateDecoder::new(raw),
            ))),
            _ => Self(Box::new(raw)),
        }
    }

    /// The whole body. One longer than [`DEFAULT_BODY_LIMIT`] is refused.
    pub(super) async fn collect(mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        loop {
            let part = self.0.fill_buf().await.map_err(failed)?;
            if part.is_empty() {
                return Ok(bytes);
            }
            if part.len() > DEFAULT_BODY_LIMIT - bytes.len() {
                return Err(Failure::of_kind(
                    ErrorKind::BodyTooLarge,
                    format!(
                        "the body is longer than the {DEFAULT_BODY_LIMIT} bytes that --json holds; \
                         write it to a file with -o"
                    ),
                ));
            }
            bytes.extend_from_slice(part);
            let length = part.len();
            self.0.consume(length);
        }
    }

    /// To `path`, or to stdout. A file is not touched before the response is there.
    pub(super) async fn write(self, path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path else {
            return self.copy(&mut stdout()?, "stdout").await;
        };
        let shown = path.display().to_string();
        let mut file = tokio::fs::File::create(path)
            .await
            .map_err(|error| Failure::write(format!("cannot write {shown}: {error}")))?;
        self.copy(&mut file, &shown).await
    }

    async fn copy<W>(mut self, to: &mut W, name: &str) -> Result<(), Failure>
    where
        W: AsyncWrite + Unpin,
    {
        let unwritten = |error| Failure::write(format!("cannot write the body to {name}: {error}"));
        loop {
            let part = self.0.fill_buf().await.map_err(failed)?;
            if part.is_empty() {
                return to.shutdown().await.map_err(unwritten);
            }
            to.write_all(part).await.map_err(unwritten)?;
            let length = part.len();
            self.0.consume(length);
        }
    }
}

/// Stdout as a file: big bodies are written without a copy in between.
fn stdout() -> Result<tokio::fs::File, Failure> {
    use std::os::fd::AsFd;
    let file = std::io::stdout().as_fd().try_clone_to_owned();
    let file = file.map_err(|error| Failure::write(format!("cannot write to stdout: {error}")))?;
    Ok(tokio::fs::File::from_std(file.into()))
}

/// Why a body ended early: the connection's reason, or else that it is not coded as it should be.
fn failed(error: io::Error) -> Failure {
    match error.downcast::<echkit::Error>() {
        Ok(error) => error.into(),
        Err(error) => Failure::content(format!("cannot decompress the body: {error}")),
    }
}
