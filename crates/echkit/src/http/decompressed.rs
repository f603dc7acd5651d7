//! Bodies that are decompressed as they arrive.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncRead};
use tokio_util::io::{ReaderStream, StreamReader};

use super::raw_body::RawBody;

/// What to ask for.
pub(super) const ACCEPTED: &str = "gzip, br, zstd, deflate";

/// How much a decoder hands on at a time.
const BUFFER: usize = 64 * 1024;

/// A body without its coding.
pub(super) type Decompressed = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + Sync>>;

/// How a body is coded (RFC 9110 §8.4.1, RFC 8878, RFC 7932).
#[derive(Clone, Copy, Debug)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

impl Coding {
    /// The coding that these header fields name; `None` for none, one that is unknown, and several.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        match value.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// Decompresses `body`. One that is empty stays so: that is what HEAD and 304 bring.
pub(super) fn decompress(body: RawBody, coding: Coding) -> Decompressed {
    let mut raw = StreamReader::new(body.map_err(io::Error::other).into_data_stream());
    let decoded = async move {
        let first = raw.fill_buf().await?;
        if first.is_empty() {
            return Ok(stream::empty().boxed_sync());
        }
        let zlib = is_zlib(first);
        Ok::<_, io::Error>(match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(raw);
                // RFC 1952 §2.2. It also reads the body to its end, so that the connection serves on.
                decoder.multiple_members(true);
                parts(decoder)
            }
            Coding::Brotli => parts(BrotliDecoder::new(raw)),
            Coding::Zstd => parts(ZstdDecoder::new(raw)),
            Coding::Deflate if zlib => parts(ZlibDecoder::new(raw)),
            Coding::Deflate => parts(DeflateDecoder::new(raw)),
        })
    };
    stream::once(decoded).try_flatten().boxed_sync()
}

/// `deflate` is the zlib format (RFC 1950), but some servers leave its frame out, and browsers and
/// curl take both.
fn is_zlib(start: &[u8]) -> bool {
    match start {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0
        }
        [method] => method & 0x0f == 8,
        [] => false,
    }
}

fn parts(reader: impl AsyncRead + Send + Sync + 'static) -> Decompressed {
    ReaderStream::with_capacity(reader, BUFFER).boxed_sync()
}

trait BoxedSync: Stream<Item = io::Result<Bytes>> + Send + Sync + Sized + 'static {
    fn boxed_sync(self) -> Decompressed {
        Box::pin(self)
    }
}

impl<S: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static> BoxedSync for S {}
