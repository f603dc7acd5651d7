//! DNS over HTTPS (RFC 8484) on one HTTP/2 connection at a time.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use echkit_proto::dns::{DnsResponse, EdnsUse, Question};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;

use super::doh_message::{MAX_MESSAGE, age_of, aged};
use super::doh_target::DohTarget;
use super::link::{AskError, Connection, Dialer};
use super::upstream::Upstream;

/// Connects to DoH servers.
pub(super) struct Doh {
    target: Arc<DohTarget>,
    tls: Arc<ClientConfig>,
}

/// Starts exchanges on an HTTP/2 connection.
#[derive(Clone)]
pub(super) struct Http2 {
    target: Arc<DohTarget>,
    sender: SendRequest<Full<Bytes>>,
    answered: Arc<AtomicBool>,
}

impl Doh {
    pub(super) fn new(target: DohTarget, tls: &ClientConfig) -> Self {
        let mut tls = tls.clone();
        // RFC 8484 §5.2: HTTP/2 is the least that is recommended.
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            target: Arc::new(target),
            tls: Arc::new(tls),
        }
    }
}

impl Dialer for Doh {
    type Connection = Http2;

    async fn dial(&self, upstream: &Upstream, address: SocketAddr) -> io::Result<Http2> {
        let tls = upstream.connect(address, &self.tls).await?;
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
        Ok(Http2 {
            target: Arc::clone(&self.target),
            sender,
            answered: Arc::default(),
        })
    }
}

impl Connection for Http2 {
    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    async fn ask(&self, question: &Question) -> Result<DnsResponse, AskError> {
        // RFC 8484 §4.1: the same question is the same bytes, for caches.
        let query = question.encode(0, EdnsUse::Padded);
        let request = self.target.request(query);
        let (request, body) =
            request.map_err(|error| AskError::Final(io::Error::other(error).into()))?;
        let request = request.map(|()| Full::new(body));
        let sent = self.sender.clone().send_request(request).await;
        let (head, body) = sent.map_err(|error| self.failed(error))?.into_parts();
        self.answered.store(true, Ordering::Relaxed);
        let age = age_of(head.status, &head.headers).map_err(AskError::Final)?;
        let collected = Limited::new(body, MAX_MESSAGE).collect().await;
        let message = collected.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => self.failed(*error),
            Err(error) => AskError::Final(io::Error::other(error).into()),
        })?;
        let response = DnsResponse::parse(&message.to_bytes(), question, 0)?;
        Ok(aged(response, age))
    }
}

impl Http2 {
    fn failed(&self, error: hyper::Error) -> AskError {
        let of_stream = error
            .source()
            .and_then(|source| source.downcast_ref::<h2::Error>())
            .filter(|error| error.is_reset())
            .and_then(h2::Error::reason);
        match of_stream {
            // RFC 9113 §8.7: it was not looked at.
            None | Some(h2::Reason::REFUSED_STREAM) => AskError::Ended {
                answered: self.answered.load(Ordering::Relaxed),
                error: io::Error::other(error),
            },
            Some(reason) => {
                self.answered.store(true, Ordering::Relaxed);
                let error = format!("the resolver cancelled the query with {reason}");
                AskError::Final(io::Error::other(error).into())
            }
        }
    }
}
