//! One request and the head of its response, on a connection of its own.

use std::sync::Arc;
use std::time::Instant;

use http::header::{HOST, HeaderValue};
use http::{Request as Head, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::body::Outgoing;
use super::request::Request;
use crate::connect::{Connection, Recorder};
use crate::error::{Cause, Error};
use crate::origin::Origin;
use crate::report::milliseconds;

/// The ALPN names (RFC 7301) of what this client speaks.
pub(super) const H2: &[u8] = b"h2";
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// Sends `request` over `connection`. `prior_knowledge` speaks HTTP/2 without ALPN.
pub(super) async fn exchange(
    connection: Connection,
    request: &mut Request,
    prior_knowledge: bool,
) -> Result<(http::Response<Incoming>, Arc<Recorder>), Error> {
    let origin = connection.origin().clone();
    let host = origin.host.to_string();
    let http2 = match connection.alpn() {
        Some(id) => id == H2,
        None => prior_knowledge,
    };
    let (stream, recorder) = connection.into_recorded();
    let failed = |cause: Cause| {
        recorder.stop_clock();
        Error::from(cause).with_report(recorder.snapshot())
    };
    let broken = |source: hyper::Error| {
        failed(Cause::Http {
            host: host.clone(),
            reason: in_words(&source),
            source: Some(source),
        })
    };
    let head = head(request, &origin, http2).map_err(failed)?;
    let begun = Instant::now();
    let io = TokioIo::new(stream);
    let response = if http2 {
        let (mut sender, driver) = http2::Builder::new(TokioExecutor::new())
            .handshake(io)
            .await
            .map_err(broken)?;
        tokio::spawn(driver);
        sender.send_request(head).await
    } else {
        let (mut sender, driver) = http1::handshake(io).await.map_err(broken)?;
        tokio::spawn(driver);
        sender.send_request(head).await
    };
    let response = response.map_err(broken)?;
    recorder.edit().timings_ms.first_byte = Some(milliseconds(begun.elapsed()));
    recorder.stop_clock();
    Ok((response, recorder))
}

fn head(request: &mut Request, origin: &Origin, http2: bool) -> Result<Head<Outgoing>, Cause> {
    let bad_url = |reason: String| Cause::Url {
        url: request.url.to_string(),
        reason,
    };
    let authority = origin.authority();
    let path = match request.url.query() {
        Some(query) => format!("{}?{query}", request.url.path()),
        None => request.url.path().to_owned(),
    };
    // HTTP/2 makes `:scheme`, `:authority` and `:path` of an absolute URI (RFC 9113 §8.3.1).
    let uri: Uri = match http2 {
        true => format!("{}://{authority}{path}", origin.scheme.as_str()).parse(),
        false => path.parse(),
    }
    .map_err(|error: http::uri::InvalidUri| bad_url(error.to_string()))?;
    let host = HeaderValue::from_str(&authority).map_err(|error| bad_url(error.to_string()))?;
    let body = request.body.send().ok_or_else(|| Cause::Redirect {
        from: origin.to_string(),
        to: request.url.to_string(),
        reason: "the body was streamed and cannot be sent again".to_owned(),
    })?;
    let mut head = Head::new(body);
    *head.method_mut() = request.method.clone();
    *head.uri_mut() = uri;
    head.headers_mut().clone_from(&request.headers);
    if http2 {
        *head.version_mut() = Version::HTTP_2;
        head.headers_mut().remove(HOST);
    } else {
        head.headers_mut().entry(HOST).or_insert(host);
    }
    Ok(head)
}

fn in_words(error: &hyper::Error) -> String {
    if error.is_parse() {
        format!("the answer is no HTTP: {error}")
    } else if error.is_incomplete_message() {
        "the server closed the connection without an answer".to_owned()
    } else {
        // hyper's own text names the layer, its source the reason.
        match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }
}
