//! The same answers over HTTPS (RFC 8484), HTTP/1.1 and 2.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::accept::each_connection;
use crate::dns::Authority;
use crate::in_order::InOrder;
use crate::names::DOH_PATH;
use crate::zone::TTL;

const MEDIA_TYPE: &str = "application/dns-message";

/// The largest DNS message.
pub(crate) const MAX_MESSAGE: usize = u16::MAX as usize;

/// Serves until aborted; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, authority: Authority) {
    each_connection(listener, |tcp, client| {
        let (tls, authority) = (tls.clone(), authority.clone());
        async move {
            let Ok(stream) = tls.accept(tcp).await else {
                return;
            };
            let service = service_fn(move |request| answer(request, client, authority.clone()));
            // The peer may leave whenever it likes.
            let (in_order, queue) = InOrder::new();
            let builder = auto::Builder::new(in_order);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let _ = queue.run_with(connection).await;
        }
    })
    .await;
}

/// The response to a request of whichever HTTP.
pub(crate) async fn answer<B>(
    request: Request<B>,
    client: SocketAddr,
    authority: Authority,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let query = match query(request).await {
        Ok(query) => query,
        Err(status) => return Ok(plain(status)),
    };
    Ok(match authority.answer(query, client).await {
        Ok(Some(answer)) => {
            let mut response = Response::new(Full::from(answer));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(MEDIA_TYPE));
            // RFC 8484 §5.1: the freshness is at most the smallest TTL of the answer.
            if let Ok(value) = format!("max-age={TTL}").parse() {
                headers.insert(CACHE_CONTROL, value);
            }
            response
        }
        // A resolver that does not answer leaves its client waiting, over HTTP too.
        Ok(None) => std::future::pending().await,
        Err(_) => plain(StatusCode::BAD_REQUEST),
    })
}

/// The DNS message of a request (RFC 8484 §4.1), or the status that refuses it.
async fn query<B>(request: Request<B>) -> Result<Vec<u8>, StatusCode>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if request.uri().path() != DOH_PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => {
            let query = request.uri().query().unwrap_or_default();
            let dns = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
            let dns = dns.ok_or(StatusCode::BAD_REQUEST)?;
            BASE64URL_NOPAD
                .decode(dns.as_bytes())
                .map_err(|_| StatusCode::BAD_REQUEST)
        }
        Method::POST => {
            let media_type = request.headers().get(CONTENT_TYPE);
            if media_type.is_none_or(|value| value != MEDIA_TYPE) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            let body = Limited::new(request.into_body(), MAX_MESSAGE)
                .collect()
                .await;
            Ok(body
                .map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?
                .to_bytes()
                .to_vec())
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{status}\n")));
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(ALLOW, http::HeaderValue::from_static("GET, POST"));
    }
    response
}
