//! DNS over HTTPS (RFC 8484) on one HTTP/2 connection at a time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CONTENT_TYPE};
use http::{Request, Response as HttpResponse, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::RecordType;
use super::classic::{ExchangeError, Patience, accept};
use super::message::{EdnsUse, Question, Response};
use super::system::System;

const MEDIA_TYPE: &str = "application/dns-message";
/// A DNS message is no longer than this.
const MAX_MESSAGE: usize = 65535;

/// A DoH server, and the connection to it.
pub(super) struct Doh {
    /// `https://host[:port]/path`
    pub(super) url: String,
    pub(super) server_name: ServerName<'static>,
    pub(super) port: u16,
    pub(super) addresses: Bootstrap,
    pub(super) tls: Arc<ClientConfig>,
    /// Held while connecting, so that questions that come meanwhile share the connection.
    pub(super) connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// Where the addresses of a DoH server come from.
#[derive(Clone, Debug)]
pub(super) enum Bootstrap {
    /// From the URI.
    Fixed(Vec<IpAddr>),
    /// From the system's resolver, which tells the network which server it is.
    System(System, Question),
}

impl Doh {
    /// The configuration with HTTP/2 as its only protocol (RFC 8484 §5.2).
    pub(super) fn config(tls: &ClientConfig) -> Arc<ClientConfig> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(tls)
    }

    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<Response, ExchangeError> {
        let all = async {
            let _socket = patience.sockets.acquire().await.map_err(io::Error::other)?;
            // RFC 8484 §4.1: the same question is the same bytes, for caches.
            let query = Bytes::from(question.encode(0, EdnsUse::Padded)?);
            let (message, age) = self.post(query, patience).await?;
            let mut response = Response::parse(&message, question, 0)?;
            if response.truncated {
                return Err(ExchangeError::Malformed("it is truncated over HTTPS"));
            }
            // §5.1: what caches kept has aged.
            for record in &mut response.answers {
                record.ttl = record.ttl.saturating_sub(age);
            }
            response.negative_ttl = response.negative_ttl.map(|ttl| ttl.saturating_sub(age));
            accept(response)
        };
        match timeout(patience.total, all).await {
            Ok(result) => result,
            Err(_) => {
                // The path may be dead without a word; the next question finds out anew.
                if let Ok(mut connection) = self.connection.try_lock() {
                    *connection = None;
                }
                Err(ExchangeError::Timeout)
            }
        }
    }

    /// Posts a query; a connection that was kept and is gone by now is replaced once.
    async fn post(&self, query: Bytes, patience: &Patience) -> Result<(Bytes, u32), ExchangeError> {
        loop {
            let (mut connection, reused) = self.connection(patience).await?;
            let request = Request::post(&self.url)
                .header(CONTENT_TYPE, MEDIA_TYPE)
                .header(ACCEPT, MEDIA_TYPE)
                .body(Full::new(query.clone()))
                .map_err(io::Error::other)?;
            match connection.send_request(request).await {
                Ok(response) => return read(response).await,
                Err(_) if reused => self.forget().await,
                Err(error) => {
                    self.forget().await;
                    return Err(io::Error::other(error).into());
                }
            }
        }
    }

    async fn forget(&self) {
        *self.connection.lock().await = None;
    }

    /// The connection, and whether it was there before.
    async fn connection(
        &self,
        patience: &Patience,
    ) -> Result<(SendRequest<Full<Bytes>>, bool), ExchangeError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok((connection.clone(), true));
        }
        let fresh = self.connect(patience).await?;
        *slot = Some(fresh.clone());
        Ok((fresh, false))
    }

    async fn connect(
        &self,
        patience: &Patience,
    ) -> Result<SendRequest<Full<Bytes>>, ExchangeError> {
        let addresses = self.addresses.resolve(patience).await?;
        // Every address gets its share of the time.
        let share = patience.total / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the resolver has no address");
        for address in addresses {
            let address = SocketAddr::new(address, self.port);
            match timeout(share, self.connect_to(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last.into())
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(self.server_name.clone(), tcp).await?;
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
        Ok(sender)
    }
}

impl Bootstrap {
    async fn resolve(&self, patience: &Patience) -> Result<Vec<IpAddr>, ExchangeError> {
        let (system, question) = match self {
            Self::Fixed(addresses) => return Ok(addresses.clone()),
            Self::System(system, question) => (system, question),
        };
        let known = system.hosts(&question.name);
        if !known.is_empty() {
            return Ok(known);
        }
        // The caller holds a place among the sockets; these questions have their own.
        let sockets = Arc::new(Semaphore::new(4));
        let patience = Patience {
            sockets,
            ..patience.clone()
        };
        let ask = |kind| {
            let question = Question {
                kind,
                ..question.clone()
            };
            let patience = &patience;
            async move { system.exchange(&question, patience).await }
        };
        let (v6, v4) = tokio::join!(ask(RecordType::AAAA), ask(RecordType::A));
        let addresses: Vec<_> = [&v6, &v4]
            .into_iter()
            .flatten()
            .flat_map(|response| &response.answers)
            .filter_map(|record| record.address())
            .collect();
        match (addresses.is_empty(), v6, v4) {
            (true, Err(error), _) | (true, _, Err(error)) => Err(error),
            _ => Ok(addresses),
        }
    }
}

/// The message, and for how many seconds a cache has kept it.
async fn read(response: HttpResponse<Incoming>) -> Result<(Bytes, u32), ExchangeError> {
    if response.status() != StatusCode::OK {
        let status = response.status();
        return Err(io::Error::other(format!("the resolver answered HTTP {status}")).into());
    }
    let is_dns = response.headers().get(CONTENT_TYPE).is_some_and(|value| {
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
    let age = response
        .headers()
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let body = Limited::new(response.into_body(), MAX_MESSAGE)
        .collect()
        .await;
    Ok((body.map_err(io::Error::other)?.to_bytes(), age.unwrap_or(0)))
}
