//! The reverse proxy: requests go on to another server over HTTP/1.1, and its answers come back.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Uri, Version, uri};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower_http::timeout::TimeoutBody;

use super::backend_connection::BackendConnector;
use super::body::{BoxError, ResponseBody, plain};
use super::config::{ProxyTarget, ServeLimits};
use super::peer::Peer;

type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long an unused connection to a backend is kept. Servers close theirs after 60 seconds or
/// more.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Fields for one connection (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("te"),
    HeaderName::from_static("trailer"),
    HeaderName::from_static("transfer-encoding"),
    UPGRADE,
];

/// Fields that this server alone sets, since backends trust them.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-real-ip",
];

/// Passes requests on to one backend.
pub(super) struct ReverseProxy {
    client: Client<BackendConnector, RequestBody>,
    authority: uri::Authority,
    backend_time: Duration,
    body_pause: Duration,
    body_bytes: u64,
    tunnel_idle: Duration,
}

impl ReverseProxy {
    pub(super) fn new(target: &ProxyTarget, limits: &ServeLimits) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            // The Host field is the client's.
            .set_host(false)
            .build(BackendConnector(target.clone()));
        Self {
            client,
            // The connector knows where to; the pool only needs one name.
            authority: uri::Authority::from_static("backend"),
            backend_time: limits.backend_time,
            body_pause: limits.body_pause,
            body_bytes: limits.body_bytes,
            tunnel_idle: limits.tunnel_idle,
        }
    }

    pub(super) async fn answer(
        &self,
        host: &str,
        mut request: Request<Incoming>,
        peer: &Arc<Peer>,
    ) -> Response<ResponseBody> {
        if *request.method() == Method::CONNECT {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        if request.body().size_hint().lower() > self.body_bytes {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "");
        }
        let wants_tunnel = wants_websocket(&request);
        let client_side = wants_tunnel.then(|| hyper::upgrade::on(&mut request));
        let request = match self.for_backend(host, request, peer, wants_tunnel) {
            Ok(request) => request,
            Err(status) => return plain(status, ""),
        };
        let answer = tokio::time::timeout(self.backend_time, self.client.request(request)).await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(&error),
            Err(_) => return plain(StatusCode::GATEWAY_TIMEOUT, ""),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let agreed = is_websocket(response.headers());
            let Some(client_side) = client_side.filter(|_| agreed) else {
                // It switches to what nobody asked for.
                return plain(StatusCode::BAD_GATEWAY, "");
            };
            let backend_side = hyper::upgrade::on(&mut response);
            self.tunnel(client_side, backend_side, peer);
            let mut headers = std::mem::take(response.headers_mut());
            remove_hop_by_hop(&mut headers);
            mark_websocket(&mut headers);
            let mut switching =
                plain(StatusCode::SWITCHING_PROTOCOLS, "").map(|_| super::body::whole(""));
            *switching.headers_mut() = headers;
            return switching;
        }
        remove_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }

    /// The request as the backend gets it: written anew from what was understood, so that the two
    /// cannot disagree about where it ends.
    fn for_backend(
        &self,
        host: &str,
        request: Request<Incoming>,
        peer: &Peer,
        websocket: bool,
    ) -> Result<Request<RequestBody>, StatusCode> {
        let (mut parts, body) = request.into_parts();
        let path = match parts.uri.path_and_query() {
            Some(path) => path.clone(),
            None => uri::PathAndQuery::from_static("/"),
        };
        parts.uri = Uri::builder()
            .scheme(uri::Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        remove_hop_by_hop(&mut parts.headers);
        remove_forwarded(&mut parts.headers);
        join_cookies(&mut parts.headers);
        // hyper has answered it.
        parts.headers.remove(EXPECT);
        // What the body says of itself holds, and is written once.
        parts.headers.remove(CONTENT_LENGTH);
        if let Some(len) = body.size_hint().exact().filter(|len| *len > 0) {
            parts.headers.insert(CONTENT_LENGTH, len.into());
        }
        let bad = |_| StatusCode::BAD_REQUEST;
        let host = HeaderValue::from_str(host).map_err(bad)?;
        let address = peer.address.ip().to_canonical().to_string();
        let address = HeaderValue::from_str(&address).map_err(bad)?;
        let set = [
            (HOST, host.clone()),
            (HeaderName::from_static("x-forwarded-host"), host),
            (HeaderName::from_static("x-forwarded-for"), address),
            (
                HeaderName::from_static("x-forwarded-proto"),
                HeaderValue::from_static("https"),
            ),
        ];
        for (name, value) in set {
            parts.headers.insert(name, value);
        }
        if websocket {
            mark_websocket(&mut parts.headers);
        }
        let limit = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
        let body = TimeoutBody::new(self.body_pause, Limited::new(body, limit));
        Ok(Request::from_parts(parts, body.boxed_unsync()))
    }

    /// Copies both ways until one side ends, nothing comes for too long, or the server ends.
    fn tunnel(&self, client: OnUpgrade, backend: OnUpgrade, peer: &Arc<Peer>) {
        let (idle, kept) = (self.tunnel_idle, Arc::clone(peer));
        peer.drain.spawn(async move {
            let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else {
                return;
            };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            let copy = tokio::io::copy_bidirectional(&mut client, &mut backend);
            tokio::select! {
                _ = copy => {}
                () = kept.activity.silent_for(idle) => {}
            }
        });
    }
}

fn failed(error: &hyper_util::client::legacy::Error) -> Response<ResponseBody> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "");
        }
        if error.is::<tower_http::timeout::TimeoutError>() {
            return plain(StatusCode::REQUEST_TIMEOUT, "");
        }
        cause = error.source();
    }
    plain(StatusCode::BAD_GATEWAY, "")
}

fn wants_websocket<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && is_websocket(request.headers())
}

/// WebSocket alone is passed on: a backend that is upgraded to HTTP/2 would answer requests that
/// were never looked at here.
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let one = upgrades.next().filter(|_| upgrades.next().is_none());
    one.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

fn mark_websocket(headers: &mut HeaderMap) {
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|name| name.parse().ok())
        // A client may not take these from the backend.
        .filter(|name| ![HOST, CONTENT_LENGTH, COOKIE].contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes out what only this server may say, also in the spelling with underscores, which CGI and
/// its relatives do not tell apart.
fn remove_forwarded(headers: &mut HeaderMap) {
    let ours = |name: &HeaderName| FORWARDED.contains(&name.as_str().replace('_', "-").as_str());
    let found: Vec<HeaderName> = headers.keys().filter(|name| ours(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// HTTP/2 may split cookies into several fields, HTTP/1.1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}
