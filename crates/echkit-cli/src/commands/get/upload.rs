//! The body of a request: text, and files that are read while it is sent.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use echkit::http::Body;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use tokio_util::io::ReaderStream;

use crate::cli::curl_flags::DataKind;
use crate::failure::Failure;
use crate::input;

/// What RFC 3986 §2.3 leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A part of a body.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Bytes(Bytes),
    File {
        path: PathBuf,
        /// How much of it is sent.
        length: u64,
        /// Without the bytes that `-d` leaves out.
        stripped: bool,
    },
}

/// The bytes of a file that curl's `-d` leaves out.
fn is_left_out(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

impl Part {
    /// A file that is read while it is sent.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::read(format!("cannot read {}: {error}", path.display()));
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            // Its length is not known before it was read.
            return Ok(Self::Bytes(std::fs::read(path).map_err(failed)?.into()));
        }
        std::fs::File::open(path).map_err(failed)?;
        Ok(Self::File {
            path: path.to_owned(),
            length: metadata.len(),
            stripped: false,
        })
    }

    /// The same without line ends. It is read once before, to announce how long it is.
    fn stripped_file(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::read(format!("cannot read {}: {error}", path.display()));
        let path = match Self::file(path)? {
            Self::File { path, .. } => path,
            Self::Bytes(bytes) => {
                let kept = bytes.iter().copied().filter(|byte| !is_left_out(byte));
                return Ok(Self::Bytes(kept.collect()));
            }
        };
        let mut reader = io::BufReader::new(std::fs::File::open(&path).map_err(failed)?);
        let mut length = 0;
        loop {
            let bytes = reader.fill_buf().map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            length += bytes.iter().filter(|byte| !is_left_out(byte)).count() as u64;
            let read = bytes.len();
            reader.consume(read);
        }
        Ok(Self::File {
            path,
            length,
            stripped: true,
        })
    }

    /// The part as it is sent, and no more of a file than was announced, where it has grown meanwhile.
    async fn stream(self) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        use tokio::io::AsyncReadExt;
        let (path, length, stripped) = match self {
            Self::Bytes(bytes) => return Ok(stream::iter([Ok(bytes)]).boxed()),
            Self::File {
                path,
                length,
                stripped,
            } => (path, length, stripped),
        };
        let file = tokio::fs::File::open(path).await?;
        if !stripped {
            return Ok(ReaderStream::new(file.take(length)).boxed());
        }
        let kept = ReaderStream::new(file).map_ok(|bytes| {
            let kept = bytes.iter().copied().filter(|byte| !is_left_out(byte));
            kept.collect::<Bytes>()
        });
        let announced = kept.scan(length, |left, bytes| {
            let bytes = bytes.map(|mut bytes| {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                bytes
            });
            std::future::ready(Some(bytes))
        });
        Ok(announced.boxed())
    }

    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// A body that can be sent more than once.
#[derive(Clone, Debug, Default)]
pub(super) struct Upload {
    pub(super) parts: Vec<Part>,
}

impl Upload {
    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self {
            parts: vec![Part::Bytes(bytes.into())],
        }
    }

    /// curl's `-d` and its relatives, joined.
    pub(super) fn data(posted: &[(DataKind, String)]) -> Result<Self, Failure> {
        let mut parts = Vec::new();
        for (kind, text) in posted {
            if !parts.is_empty() {
                parts.push(Part::Bytes(Bytes::from_static(b"&")));
            }
            let file = text.strip_prefix('@').filter(|_| *kind != DataKind::Raw);
            parts.push(match (kind, file) {
                (DataKind::UrlEncode, _) => Part::Bytes(url_encoded(text)?.into()),
                (DataKind::Binary, Some(path)) if path != "-" => Part::file(Path::new(path))?,
                (DataKind::Binary, Some(_)) => Part::Bytes(input::stdin()?.into()),
                (_, Some("-")) => {
                    let mut bytes = input::stdin()?;
                    bytes.retain(|byte| !is_left_out(byte));
                    Part::Bytes(bytes.into())
                }
                (_, Some(path)) => Part::stripped_file(Path::new(path))?,
                (_, None) => Part::Bytes(text.clone().into()),
            });
        }
        Ok(Self { parts })
    }

    /// All of it as text, for the URL.
    pub(super) fn into_text(self) -> Result<String, Failure> {
        let mut whole = Vec::new();
        for part in self.parts {
            match part {
                Part::Bytes(bytes) => whole.extend_from_slice(&bytes),
                Part::File { path, stripped, .. } => {
                    let mut bytes = input::file(&path)?;
                    bytes.retain(|byte| !stripped || !is_left_out(byte));
                    whole.extend(bytes);
                }
            }
        }
        String::from_utf8(whole).map_err(|_| Failure::usage("-G: the data is not UTF-8 text"))
    }

    pub(super) fn length(&self) -> u64 {
        self.parts.iter().map(Part::length).sum()
    }

    /// The body, which reads its files anew each time that it is sent.
    pub(super) fn body(&self) -> Body {
        if let [Part::Bytes(bytes)] = &self.parts[..] {
            return Body::from(bytes.clone());
        }
        if self.parts.is_empty() {
            return Body::empty();
        }
        let parts = self.parts.clone();
        Body::repeatable(move || {
            let parts = stream::iter(parts.clone()).then(Part::stream);
            StreamBody::new(parts.try_flatten().map_ok(Frame::data))
        })
    }
}

/// curl's `--data-urlencode`.
fn url_encoded(text: &str) -> Result<String, Failure> {
    let (name, content) = match text.find(['=', '@']) {
        Some(at) => {
            let (name, rest) = text.split_at(at);
            let content = match rest.strip_prefix('=') {
                Some(content) => content.as_bytes().to_vec(),
                None => input::text_or_file(rest)?,
            };
            (name, content)
        }
        None => ("", text.as_bytes().to_vec()),
    };
    let content = percent_encoding::percent_encode(&content, ENCODED);
    Ok(match name {
        "" => content.to_string(),
        name => format!("{name}={content}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn joined(posted: &[(DataKind, &str)]) -> String {
        let posted: Vec<_> = posted
            .iter()
            .map(|(kind, text)| (*kind, (*text).to_owned()))
            .collect();
        Upload::data(&posted).unwrap().into_text().unwrap()
    }

    #[test]
    fn data_is_read_encoded_and_joined_as_curl_does() {
        use DataKind::{Binary, Data, Raw, UrlEncode};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "a b\r\nc\n").unwrap();
        let path = path.display();
        let (at, named) = (format!("@{path}"), format!("n@{path}"));
        for (posted, expected) in [
            (
                &[(Data, "a=1"), (Raw, "@b"), (Binary, "c\n")][..],
                "a=1&@b&c\n",
            ),
            (&[(Data, &at)], "a bc"),
            (&[(Binary, &at)], "a b\r\nc\n"),
            (&[(UrlEncode, "a b&c")], "a%20b%26c"),
            (&[(UrlEncode, "=a=b")], "a%3Db"),
            (&[(UrlEncode, "n=ä-._~")], "n=%C3%A4-._~"),
            (
                &[(UrlEncode, &at), (UrlEncode, &named)],
                "a%20b%0D%0Ac%0A&n=a%20b%0D%0Ac%0A",
            ),
        ] {
            assert_eq!(joined(posted), expected, "{posted:?}");
        }
        let missing = (Data, "@/nonexistent".to_owned());
        assert_eq!(Upload::data(&[missing]).unwrap_err().code(), 26);
    }
}
