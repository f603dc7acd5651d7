//! One GET over a connection that is there, by HTTP/1.1 or HTTP/2, with a bound on everything that
//! a server may send.

use std::future::Future;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The head of a response, at most.
const MAX_HEAD: usize = 64 * 1024;

/// What is read of a body; the rest is left.
const MAX_BODY: usize = 64 * 1024;

const AGENT: &str = concat!("ech-check/", env!("CARGO_PKG_VERSION"));

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The host, with a port where it is not the scheme's.
    pub(crate) authority: String,
    pub(crate) path: &'static str,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The first 64 KiB of the body.
    pub(crate) body: Vec<u8>,
    /// Whether the body goes on.
    pub(crate) is_cut: bool,
}

/// Sends one request and reads its response. The caller limits the time.
///
/// # Errors
///
/// In words, when no response came of it.
pub(crate) async fn fetch<IO>(io: IO, http2: bool, target: &Target) -> Result<Fetched, String>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match http2 {
        true => over_http2(io, target).await,
        false => over_http1(io, target).await,
    }
}

async fn over_http1<IO>(io: IO, target: &Target) -> Result<Fetched, String>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(MAX_HEAD).handshake(TokioIo::new(io));
    let (mut sender, connection) = handshake.await.map_err(|error| words(&error))?;
    let request = Request::get(target.path)
        .header(HOST, &target.authority)
        .header(USER_AGENT, AGENT)
        .body(Empty::<Bytes>::new())
        .map_err(|error| words(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let (head, mut body) = response.map_err(|error| words(&error))?.into_parts();
        let mut kept = Body::default();
        while !kept.is_full() {
            // A body that breaks off does not make the head untrue.
            let Some(Ok(frame)) = body.frame().await else {
                break;
            };
            kept.add(frame.data_ref().map_or(&[][..], |data| data));
        }
        Ok(kept.of(head.status.as_u16(), head.headers))
    };
    drive(exchange, connection).await
}

async fn over_http2<IO>(io: IO, target: &Target) -> Result<Fetched, String>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    let handshake = builder.handshake::<_, Bytes>(io).await;
    let (sender, connection) = handshake.map_err(|error| words(&error))?;
    let uri = format!("{}://{}{}", target.scheme, target.authority, target.path);
    let request = Request::get(uri)
        .version(Version::HTTP_2)
        .header(USER_AGENT, AGENT)
        .body(())
        .map_err(|error| words(&error))?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(|error| words(&error))?;
        let (response, _) = sender
            .send_request(request, true)
            .map_err(|error| words(&error))?;
        let (head, mut body) = response.await.map_err(|error| words(&error))?.into_parts();
        let mut kept = Body::default();
        while !kept.is_full() {
            let Some(Ok(data)) = body.data().await else {
                break;
            };
            let _ = body.flow_control().release_capacity(data.len());
            kept.add(&data);
        }
        Ok(kept.of(head.status.as_u16(), head.headers))
    };
    drive(exchange, connection).await
}

/// Runs an exchange beside the connection that carries it. Both end with the caller: nothing is left
/// to a task of its own.
async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    match select(pin!(exchange), pin!(connection)).await {
        Either::Left((result, _)) => result,
        Either::Right((_, exchange)) => exchange.await,
    }
}

#[derive(Default)]
struct Body {
    kept: Vec<u8>,
    is_cut: bool,
}

impl Body {
    fn is_full(&self) -> bool {
        self.is_cut
    }

    fn add(&mut self, data: &[u8]) {
        let room = MAX_BODY - self.kept.len();
        self.is_cut = data.len() > room;
        self.kept.extend_from_slice(&data[..data.len().min(room)]);
    }

    fn of(self, status: u16, headers: HeaderMap) -> Fetched {
        Fetched {
            status,
            headers,
            body: self.kept,
            is_cut: self.is_cut,
        }
    }
}

/// An error with its sources, as far as they add to it.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        source = error.source();
    }
    text
}
