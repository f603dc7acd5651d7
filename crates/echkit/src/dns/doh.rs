//! DNS over HTTPS (RFC 8484) on one HTTP/2 connection at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CONTENT_TYPE};
use http::{HeaderMap, Request, Response as HttpResponse, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::classic::{ExchangeError, Patience, accept};
use super::message::{EdnsUse, Question, Response};
use super::upstream::{Connection, Link, Upstream};

pub(super) const MEDIA_TYPE: &str = "application/dns-message";
/// A DNS message is no longer than this.
pub(super) const MAX_MESSAGE: usize = 65535;

/// A DoH server, and the connection to it.
pub(super) struct Doh {
    /// `https://host[:port]/path`
    url: String,
    upstream: Upstream,
    tls: Arc<ClientConfig>,
    link: Link<Sender>,
}

/// Starts exchanges on an HTTP/2 connection.
#[derive(Clone)]
struct Sender(SendRequest<Full<Bytes>>);

impl Connection for Sender {
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Doh {
    pub(super) fn new(url: String, upstream: Upstream, tls: &ClientConfig) -> Self {
        let mut tls = tls.clone();
        // RFC 8484 §5.2: HTTP/2 is the least that is recommended.
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            url,
            upstream,
            tls: Arc::new(tls),
            link: Link::new(),
        }
    }

    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<Response, ExchangeError> {
        let all = async {
            // RFC 8484 §4.1: the same question is the same bytes, for caches.
            let query = Bytes::from(question.encode(0, EdnsUse::Padded)?);
            let (message, age) = self.post(query, patience).await?;
            let response = Response::parse(&message, question, 0)?;
            if response.truncated {
                return Err(ExchangeError::Malformed("it is truncated over HTTPS"));
            }
            accept(aged(response, age))
        };
        match timeout(patience.total, all).await {
            Ok(result) => result,
            Err(_) => {
                self.link.doubt();
                Err(ExchangeError::Timeout)
            }
        }
    }

    /// Posts a query; a connection that was kept and is gone by now is replaced once.
    async fn post(&self, query: Bytes, patience: &Patience) -> Result<(Bytes, u32), ExchangeError> {
        loop {
            let connect = |address| self.connect(address);
            let mut linked = self.link.get(&self.upstream, patience, connect).await?;
            let request = Request::post(&self.url)
                .header(CONTENT_TYPE, MEDIA_TYPE)
                .header(ACCEPT, MEDIA_TYPE)
                .body(Full::new(query.clone()))
                .map_err(io::Error::other)?;
            match linked.connection.0.send_request(request).await {
                Ok(response) => return read(response).await,
                Err(error) => {
                    self.link.forget(&linked).await;
                    if !linked.reused {
                        return Err(io::Error::other(error).into());
                    }
                }
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Sender> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(self.upstream.server_name(), tcp).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the resolver does not speak HTTP/2"));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(tls))
            .await
            .map_err(io::Error::other)?;
        // Ends by itself when the last sender is gone.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Sender(sender))
    }
}

/// The message, and for how many seconds a cache has kept it.
async fn read(response: HttpResponse<Incoming>) -> Result<(Bytes, u32), ExchangeError> {
    let age = age_of(response.status(), response.headers())?;
    let body = Limited::new(response.into_body(), MAX_MESSAGE)
        .collect()
        .await;
    Ok((body.map_err(io::Error::other)?.to_bytes(), age))
}

/// For how many seconds a cache has kept the message that a response holds, if it holds one.
pub(super) fn age_of(status: StatusCode, headers: &HeaderMap) -> Result<u32, ExchangeError> {
    if status != StatusCode::OK {
        return Err(io::Error::other(format!("the resolver answered HTTP {status}")).into());
    }
    let is_dns = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
    });
    if !is_dns {
        return Err(ExchangeError::Malformed(
            "its media type is not application/dns-message",
        ));
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Ok(age.unwrap_or(0))
}

/// RFC 8484 §5.1: what caches kept has aged.
pub(super) fn aged(mut response: Response, age: u32) -> Response {
    for record in &mut response.answers {
        record.ttl = record.ttl.saturating_sub(age);
    }
    response.negative_ttl = response.negative_ttl.map(|ttl| ttl.saturating_sub(age));
    response
}
