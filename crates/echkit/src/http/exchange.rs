//! One request and the head of its response.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::Authority;
use http::{HeaderMap, Request as Head, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use super::body::Outgoing;
use super::idle_watch::IdleWatch;
use super::observed_head::{ObservedHead, Observer};
use super::pool::{Channel, Live};
use super::report_recorder::ReportRecorder;
use super::request_parts::Request;
use super::versions::H2;
use crate::connect::Connection;
use crate::error::{Cause, Error};
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::report::milliseconds;

/// Makes a fresh connection ready for requests. `prior_knowledge` speaks HTTP/2 without ALPN.
///
/// `forward` is the HTTP proxy that it leads to, where there is no tunnel through it.
pub(super) async fn open(
    connection: Connection,
    forward: Option<Proxy>,
    prior_knowledge: bool,
) -> Result<Live, Error> {
    let origin = connection.origin().clone();
    let http2 = match connection.alpn() {
        Some(id) => id == H2,
        None => prior_knowledge,
    };
    let (stream, recorder) = ReportRecorder::of(connection);
    let io = TokioIo::new(stream);
    let channel = if http2 {
        let handshake = http2::Builder::new(TokioExecutor::new()).handshake(io);
        handshake.await.map(|(sender, driver)| {
            tokio::spawn(driver);
            Channel::Http2(sender, Arc::default())
        })
    } else {
        http1::handshake(io).await.map(|(sender, driver)| {
            let connection = tokio::spawn(driver).abort_handle();
            Channel::Http1(sender, connection)
        })
    };
    match channel {
        Ok(channel) => Ok(Live {
            channel,
            origin,
            forward,
            recorder,
        }),
        Err(source) => Err(broken(&origin, &recorder, source)),
    }
}

/// A request that has no response.
pub(super) struct Unanswered {
    pub(super) error: Error,
    /// Whether it may be sent once more over another connection: none of it was sent, or the
    /// connection was closed and the method is one that may be repeated (RFC 9110 §9.2.2).
    pub(super) again: bool,
}

/// Sends `request`; gives the head of its response. `recorder` keeps the report about it.
pub(super) async fn exchange(
    live: &mut Live,
    request: &mut Request,
    recorder: &ReportRecorder,
    observer: Option<&Observer>,
    idle: &IdleWatch,
) -> Result<http::Response<Incoming>, Unanswered> {
    let http2 = matches!(live.channel, Channel::Http2(..));
    let (head, authority) =
        head(request, &live.origin, live.forward.as_ref(), http2).map_err(|cause| {
            recorder.stop_clock();
            Unanswered {
                error: Error::from(cause).with_report(recorder.snapshot()),
                again: false,
            }
        })?;
    if let Some(observer) = observer {
        observer.show(ObservedHead::Request {
            method: head.method(),
            target: head
                .uri()
                .path_and_query()
                .map_or("/", |path| path.as_str()),
            authority: &authority,
            version: head.version(),
            headers: head.headers(),
            report: &recorder.snapshot(),
        });
    }
    tracing::debug!(
        method = %head.method(),
        version = ?head.version(),
        proxied = live.forward.is_some(),
        "request head sent"
    );
    let head = head.map(|body| idle.watch(body));
    let begun = Instant::now();
    let sent = match &mut live.channel {
        Channel::Http1(sender, _) => sender.try_send_request(head).await,
        Channel::Http2(sender, _) => sender.try_send_request(head).await,
    };
    let response = sent.map_err(|mut error| {
        let unsent = error.take_message();
        let source = error.into_error();
        let again = match unsent {
            Some(head) => {
                request.body.restore(head.into_body());
                true
            }
            None => {
                was_closed(&source) && request.method.is_idempotent() && request.body.is_there()
            }
        };
        Unanswered {
            error: broken(&live.origin, recorder, source),
            again,
        }
    })?;
    tracing::debug!(
        status = response.status().as_u16(),
        version = ?response.version(),
        "response head received"
    );
    if let Some(observer) = observer {
        observer.show(ObservedHead::Response {
            status: response.status(),
            version: response.version(),
            headers: response.headers(),
        });
    }
    recorder.edit().timings_ms.first_byte = Some(milliseconds(begun.elapsed()));
    recorder.stop_clock();
    Ok(response)
}

fn broken(origin: &Origin, recorder: &ReportRecorder, source: hyper::Error) -> Error {
    recorder.stop_clock();
    let cause = Cause::Http {
        host: origin.host.to_string(),
        reason: in_words(&source),
        source: Some(source.into()),
    };
    Error::from(cause).with_report(recorder.snapshot())
}

fn head(
    request: &mut Request,
    origin: &Origin,
    forward: Option<&Proxy>,
    http2: bool,
) -> Result<(Head<Outgoing>, String), Cause> {
    let bad_url = |reason: String| Cause::Url {
        url: request.url.to_string(),
        reason,
    };
    let authority = match given_host(&request.headers)? {
        Some(host) => host,
        None => origin.authority(),
    };
    let path = match request.url.query() {
        Some(query) => format!("{}?{query}", request.url.path()),
        None => request.url.path().to_owned(),
    };
    // HTTP/2 makes `:scheme`, `:authority` and `:path` of an absolute URI (RFC 9113 §8.3.1). A proxy
    // has to be told the server (RFC 9112 §3.2.2): its own, whatever `Host` the caller gave.
    let uri: Uri = match http2 || forward.is_some() {
        true if forward.is_some() => format!("{origin}{path}").parse(),
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
        head.headers_mut().insert(HOST, host);
    }
    if let Some(value) = forward.and_then(Proxy::authorization) {
        let mut value =
            HeaderValue::from_str(&value).map_err(|error| bad_url(error.to_string()))?;
        value.set_sensitive(true);
        head.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
    add_cookies(request.cookies.as_deref(), head.headers_mut());
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        if let http::header::Entry::Occupied(mut values) = head.headers_mut().entry(name) {
            values
                .iter_mut()
                .for_each(|value| value.set_sensitive(true));
        }
    }
    Ok((head, authority))
}

/// Adds cookies to those that the caller gave: there is one `Cookie` alone (RFC 6265 §5.4).
fn add_cookies(cookies: Option<&str>, headers: &mut HeaderMap) {
    let Some(cookies) = cookies else { return };
    let given = headers.get(COOKIE).map(HeaderValue::as_bytes);
    let all = match given {
        Some(given) => [given, b"; ", cookies.as_bytes()].concat(),
        None => cookies.as_bytes().to_vec(),
    };
    // A cookie that no header can carry is not sent.
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(COOKIE, value);
    }
}

/// The `Host` that the caller gave: it goes out as `Host` or `:authority`, as the connection's
/// version of HTTP has it (RFC 9113 §8.3.1).
fn given_host(headers: &HeaderMap) -> Result<Option<String>, Cause> {
    let refused = |reason: &str| Cause::Setting {
        setting: "header Host",
        reason: reason.to_owned(),
    };
    let mut values = headers.get_all(HOST).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused("given more than once (RFC 9110 §7.2)"));
    }
    let authority = Authority::try_from(value.as_bytes()).ok();
    match authority.filter(|authority| !authority.as_str().contains('@')) {
        Some(authority) => Ok(Some(authority.to_string())),
        None => Err(refused("not a host with an optional port")),
    }
}

/// Whether the connection ended before the response.
fn was_closed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || source.is_some_and(|source| source.is::<std::io::Error>())
}

/// An error of the HTTP stack: its own text names the layer, its sources the reason.
pub(super) fn in_words(error: &hyper::Error) -> String {
    if error.is_parse() {
        return format!("the response is not HTTP: {error}");
    }
    if error.is_incomplete_message() {
        return "the server closed the connection without a response".to_owned();
    }
    with_sources(error)
}

/// Why a body ended early. One without a length must end with close_notify (RFC 8446 §6.1), or else
/// nobody knows whether it is whole. hyper and rustls use one kind of error for both cases.
pub(super) fn body_in_words(error: &hyper::Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::UnexpectedEof if !io.to_string().contains("close_notify") => {
                    "the connection ended before the body was complete".to_owned()
                }
                std::io::ErrorKind::UnexpectedEof => "the connection ended without a TLS \
                     close_notify alert, so that the body may be cut short (RFC 8446 §6.1)"
                    .to_owned(),
                _ => io.to_string(),
            };
        }
        source = error.source();
    }
    match error.is_incomplete_message() {
        true => "the connection ended before the body was complete".to_owned(),
        false => with_sources(error),
    }
}

fn with_sources(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        source = error.source();
    }
    text
}
