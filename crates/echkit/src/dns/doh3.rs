//! DNS over HTTP/3 (RFC 8484 over RFC 9114): a request for each question.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BufMut, Bytes};
use echkit_proto::dns::{DnsResponse, EdnsUse, Question};
use h3::client::{self, RequestStream, SendRequest};
use h3::error::{Code, StreamError};
use quinn::VarInt;
use quinn::crypto::rustls::NoInitialCipherSuite;
use rustls::ClientConfig;

use super::doh_message::{MAX_MESSAGE, age_of, aged};
use super::doh_target::DohTarget;
use super::doq;
use super::exchange::ExchangeError;
use super::link::{AskError, Connection, Dialer};
use super::upstream::Upstream;

/// RFC 9114 §3.1
const ALPN: &[u8] = b"h3";
/// The fields of an answer are few and short (RFC 9114 §4.2.2).
const MAX_FIELDS: u64 = 16 << 10;
/// RFC 9114 §8.1
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Connects to DoH servers over HTTP/3.
pub(super) struct Doh3 {
    target: Arc<DohTarget>,
    config: quinn::ClientConfig,
}

#[derive(Clone)]
pub(super) struct Http3 {
    target: Arc<DohTarget>,
    sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    shared: Arc<Shared>,
}

/// The connection lasts as long as a holder of this.
struct Shared {
    connection: quinn::Connection,
    answered: AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.connection.close(H3_NO_ERROR, b"");
    }
}

impl Doh3 {
    pub(super) fn new(target: DohTarget, tls: &ClientConfig) -> Result<Self, NoInitialCipherSuite> {
        Ok(Self {
            target: Arc::new(target),
            config: doq::config(tls, ALPN)?,
        })
    }
}

impl Dialer for Doh3 {
    type Connection = Http3;

    async fn dial(&self, upstream: &Upstream, address: SocketAddr) -> io::Result<Http3> {
        let connection = doq::connect(&self.config, upstream, address).await?;
        let (mut driver, sender) = client::builder()
            .max_field_section_size(MAX_FIELDS)
            .send_grease(false)
            .build(h3_quinn::Connection::new(connection.clone()))
            .await
            .map_err(io::Error::other)?;
        // Ends with the connection.
        tokio::spawn(async move {
            std::future::poll_fn(|cx| driver.poll_close(cx)).await;
        });
        let shared = Shared {
            connection,
            answered: AtomicBool::default(),
        };
        Ok(Http3 {
            target: Arc::clone(&self.target),
            sender,
            shared: Arc::new(shared),
        })
    }
}

impl Connection for Http3 {
    fn is_closed(&self) -> bool {
        self.shared.connection.close_reason().is_some()
    }

    async fn ask(&self, question: &Question) -> Result<DnsResponse, AskError> {
        // RFC 8484 §4.1: the same question is the same bytes, for caches.
        let query = question.encode(0, EdnsUse::Padded);
        let request = self.target.request(query);
        let (request, query) =
            request.map_err(|error| AskError::Final(io::Error::other(error).into()))?;
        let sent = self.sender.clone().send_request(request).await;
        // A stream that is dropped before its end tells the server to stop.
        let mut stream = sent.map_err(|error| self.failed(error))?;
        match send(&mut stream, query).await {
            // RFC 9114 §4.1: a server that wants no more of a question may have answered it.
            Ok(()) | Err(StreamError::RemoteTerminate { .. }) => {}
            Err(error) => return Err(self.failed(error)),
        }
        // Once only: h3-quinn panics at bad fields that came together with an interim response.
        let received = stream.recv_response().await;
        let head = received.map_err(|error| self.failed(error))?;
        self.shared.answered.store(true, Ordering::Relaxed);
        let age = age_of(head.status(), head.headers()).map_err(AskError::Final)?;
        let mut message = Vec::new();
        loop {
            let received = stream.recv_data().await;
            let Some(piece) = received.map_err(|error| self.failed(error))? else {
                break;
            };
            if message.len() + piece.remaining() > MAX_MESSAGE {
                return Err(malformed("it is too long"));
            }
            message.put(piece);
        }
        Ok(aged(DnsResponse::parse(&message, question, 0)?, age))
    }
}

impl Http3 {
    fn failed(&self, error: StreamError) -> AskError {
        match error {
            // RFC 9114 §4.1.1: it was not looked at.
            StreamError::RemoteTerminate { code, .. } if code == Code::H3_REQUEST_REJECTED => {
                self.ended(io::Error::other("the resolver accepts no more queries"))
            }
            StreamError::RemoteTerminate { code, .. } => {
                self.shared.answered.store(true, Ordering::Relaxed);
                let error = format!("the resolver cancelled the query with code {code}");
                AskError::Final(io::Error::other(error).into())
            }
            StreamError::StreamError { .. } => malformed("its HTTP/3 fields are malformed"),
            StreamError::HeaderTooBig { .. } => malformed("its HTTP/3 fields are too long"),
            // Where h3 ended the connection for one question, the others are asked again.
            error => self.ended(match self.shared.connection.close_reason() {
                Some(reason) if reason != quinn::ConnectionError::LocallyClosed => reason.into(),
                _ => io::Error::other(error),
            }),
        }
    }

    fn ended(&self, error: io::Error) -> AskError {
        AskError::Ended {
            answered: self.shared.answered.load(Ordering::Relaxed),
            error,
        }
    }
}

async fn send(
    stream: &mut RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>,
    query: Bytes,
) -> Result<(), StreamError> {
    if !query.is_empty() {
        stream.send_data(query).await?;
    }
    stream.finish().await
}

fn malformed(reason: &'static str) -> AskError {
    AskError::Final(ExchangeError::Malformed(reason))
}
