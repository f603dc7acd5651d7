//! The body: to stdout, to a file or into memory, decompressed if asked for.

use std::path::Path;

use async_compression::tokio::write::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZstdDecoder};
use echkit::Response;
use http::header::CONTENT_ENCODING;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::failure::Failure;

/// The whole body.
pub(super) async fn collect(decode: bool, response: &mut Response) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    copy(decode, response, &mut bytes, "memory").await?;
    Ok(bytes)
}

/// To `path`, or to stdout. A file is not touched before the response is there.
pub(super) async fn write(
    decode: bool,
    response: &mut Response,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut stdout = stdout()?;
        return copy(decode, response, &mut stdout, "stdout").await;
    };
    let shown = path.display().to_string();
    let mut file = tokio::fs::File::create(path)
        .await
        .map_err(|error| Failure::write(format!("cannot write {shown}: {error}")))?;
    copy(decode, response, &mut file, &shown).await
}

/// Stdout as a file: big bodies are written without a copy in between.
fn stdout() -> Result<tokio::fs::File, Failure> {
    use std::os::fd::AsFd;
    let file = std::io::stdout().as_fd().try_clone_to_owned();
    let file = file.map_err(|error| Failure::write(format!("cannot write to stdout: {error}")))?;
    Ok(tokio::fs::File::from_std(file.into()))
}

async fn copy<W>(
    decode: bool,
    response: &mut Response,
    to: &mut W,
    name: &str,
) -> Result<(), Failure>
where
    W: AsyncWrite + Unpin,
{
    let encoding = response.headers().get(CONTENT_ENCODING);
    let encoding = encoding
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match encoding.trim().to_ascii_lowercase().as_str() {
        _ if !decode => pump(response, to, name).await,
        "gzip" | "x-gzip" => pump(response, &mut GzipDecoder::new(to), name).await,
        "br" => pump(response, &mut BrotliDecoder::new(to), name).await,
        "zstd" => pump(response, &mut ZstdDecoder::new(to), name).await,
        "deflate" => pump(response, &mut DeflateDecoder::new(to), name).await,
        _ => pump(response, to, name).await,
    }
}

async fn pump<W>(response: &mut Response, to: &mut W, name: &str) -> Result<(), Failure>
where
    W: AsyncWrite + Unpin,
{
    let failed = |error| Failure::write(format!("cannot write the body to {name}: {error}"));
    while let Some(chunk) = response.chunk().await? {
        to.write_all(&chunk).await.map_err(failed)?;
    }
    to.shutdown().await.map_err(failed)
}
