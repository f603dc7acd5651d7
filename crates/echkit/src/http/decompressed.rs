//! Bodies that are decompressed as they arrive.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt, stream};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::raw_body::RawBody;

/// What to ask for.
pub(super) const ACCEPTED: &str = "gzip, br, zstd, deflate";

/// How much a decoder hands on at a time.
const BUFFER: usize = 64 * 1024;

/// A body with its coding.
type Raw = StreamReader<Parts, Bytes>;

/// A body without its coding.
pub(super) type Decompressed = Parts;

type Parts = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + Sync>>;

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
///
/// It is read to its end, so that the connection serves on: what follows a gzip, brotli or deflate
/// body is ignored, as browsers do.
pub(super) fn decompress(body: RawBody, coding: Coding) -> Decompressed {
    let body: Parts = Box::pin(body.map_err(io::Error::other).into_data_stream());
    let mut raw = StreamReader::new(body);
    let decoded = async move {
        let first = raw.fill_buf().await?;
        if first.is_empty() {
            return Ok(stream::empty().boxed_sync());
        }
        let zlib = is_zlib(first);
        Ok::<_, io::Error>(match coding {
            Coding::Gzip => parts(GzipDecoder::new(raw)),
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

/// What the decoder and those after it give.
fn parts<M: Member>(decoder: M) -> Decompressed {
    stream::try_unfold(decoder, next_part).boxed_sync()
}

async fn next_part<M: Member>(mut decoder: M) -> io::Result<Option<(Bytes, M)>> {
    loop {
        let mut part = BytesMut::with_capacity(BUFFER);
        if decoder.read_buf(&mut part).await? > 0 {
            return Ok(Some((part.freeze(), decoder)));
        }
        let mut raw = decoder.end();
        if !M::continues(raw.fill_buf().await?) {
            tokio::io::copy_buf(&mut raw, &mut tokio::io::sink()).await?;
            return Ok(None);
        }
        decoder = M::begin(raw);
    }
}

/// A decoder of one unit: a gzip member (RFC 1952 §2.2), a zstd frame (RFC 8878 §3), or all of a
/// body.
trait Member: AsyncRead + Unpin + Send + Sync + 'static {
    fn begin(raw: Raw) -> Self;

    /// What comes after it.
    fn end(self) -> Raw;

    /// Whether what comes after it is another one.
    fn continues(rest: &[u8]) -> bool;
}

macro_rules! member {
    ($decoder:ident, $continues:expr) => {
        impl Member for $decoder<Raw> {
            fn begin(raw: Raw) -> Self {
                Self::new(raw)
            }

            fn end(self) -> Raw {
                self.into_inner()
            }

            fn continues(rest: &[u8]) -> bool {
                let continues: fn(&[u8]) -> bool = $continues;
                continues(rest)
            }
        }
    };
}

// Other bytes are padding, as gzip and curl see it.
member!(GzipDecoder, |rest| matches!(
    rest,
    [0x1f] | [0x1f, 0x8b, ..]
));
// Frames and skippable frames are all that there may be.
member!(ZstdDecoder, |rest| !rest.is_empty());
member!(BrotliDecoder, |_| false);
member!(ZlibDecoder, |_| false);
member!(DeflateDecoder, |_| false);

trait BoxedSync: Stream<Item = io::Result<Bytes>> + Send + Sync + Sized + 'static {
    fn boxed_sync(self) -> Decompressed {
        Box::pin(self)
    }
}

impl<S: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static> BoxedSync for S {}
