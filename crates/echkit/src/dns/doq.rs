//! DNS over QUIC (RFC 9250): a stream for each question.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use echkit_proto::dns::{DnsResponse, EdnsUse, Question};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use quinn::{Endpoint, ReadError, ReadToEndError, RecvStream, VarInt, WriteError};
use rustls::ClientConfig;

use super::exchange::ExchangeError;
use super::link::{AskError, Connection, Dialer};
use super::network::source_for;
use super::upstream::Upstream;

/// RFC 9250 §4.1.1
const ALPN: &[u8] = b"doq";
/// A message with its length in front is no longer than this.
const MAX_FRAME: usize = 2 + 65535;
/// RFC 9250 §8.4: the peer broke the protocol; and: the answer is no longer waited for.
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(0x2);
const DOQ_REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x3);

/// Connects to DoQ servers.
pub(super) struct Doq {
    config: quinn::ClientConfig,
}

#[derive(Clone)]
pub(super) struct Quic {
    connection: quinn::Connection,
    answered: Arc<AtomicBool>,
}

impl Doq {
    pub(super) fn new(tls: &ClientConfig) -> Result<Self, NoInitialCipherSuite> {
        Ok(Self {
            config: config(tls, ALPN)?,
        })
    }
}

impl Dialer for Doq {
    type Connection = Quic;

    async fn dial(&self, upstream: &Upstream, address: SocketAddr) -> io::Result<Quic> {
        Ok(Quic {
            connection: connect(&self.config, upstream, address).await?,
            answered: Arc::default(),
        })
    }
}

/// QUIC for a protocol that TLS insists on.
pub(super) fn config(
    tls: &ClientConfig,
    alpn: &[u8],
) -> Result<quinn::ClientConfig, NoInitialCipherSuite> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = QuicClientConfig::try_from(tls)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

/// A connection with a socket of its own.
pub(super) async fn connect(
    config: &quinn::ClientConfig,
    upstream: &Upstream,
    address: SocketAddr,
) -> io::Result<quinn::Connection> {
    // The socket lives for as long as the connection.
    let endpoint = Endpoint::client((source_for(address.ip()), 0).into())?;
    let name = upstream.server_name();
    let connecting = endpoint
        .connect_with(config.clone(), address, &name.to_str())
        .map_err(io::Error::other)?;
    Ok(connecting.await?)
}

impl Connection for Quic {
    fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    async fn ask(&self, question: &Question) -> Result<DnsResponse, AskError> {
        // §4.2.1: streams tell the questions apart, and the id is zero. §5.4: they are padded.
        let query = question.encode_for_stream(0, EdnsUse::Padded);
        let (mut send, recv) = self
            .connection
            .open_bi()
            .await
            .map_err(|error| self.ended(error.into()))?;
        let mut recv = Receiving {
            stream: recv,
            done: false,
        };
        match send.write_all(&query).await {
            // A server that wants no more of a question may have answered it.
            Ok(()) | Err(WriteError::Stopped(_)) => {}
            Err(error) => return Err(self.ended(error.into())),
        }
        // §4.2: each question says that it is all.
        let _ = send.finish();
        let received = recv.stream.read_to_end(MAX_FRAME).await;
        recv.done = !matches!(received, Err(ReadToEndError::TooLong));
        let frame = match received {
            Ok(frame) => frame,
            Err(ReadToEndError::Read(ReadError::Reset(code))) => {
                self.answered.store(true, Ordering::Relaxed);
                let error = format!("the resolver cancelled the query with code {code}");
                return Err(AskError::Final(io::Error::other(error).into()));
            }
            Err(ReadToEndError::Read(error)) => return Err(self.ended(error.into())),
            Err(ReadToEndError::TooLong) => return Err(self.broken("it is too long")),
        };
        self.answered.store(true, Ordering::Relaxed);
        match frame.split_first_chunk() {
            Some((length, message))
                if usize::from(u16::from_be_bytes(*length)) == message.len() =>
            {
                Ok(DnsResponse::parse(message, question, 0)?)
            }
            _ => Err(self.broken("its stream is not one message")),
        }
    }
}

impl Quic {
    fn ended(&self, error: io::Error) -> AskError {
        AskError::Ended {
            answered: self.answered.load(Ordering::Relaxed),
            error,
        }
    }

    /// §4.3.3: the whole connection is unusable.
    fn broken(&self, reason: &'static str) -> AskError {
        self.connection.close(DOQ_PROTOCOL_ERROR, b"");
        AskError::Final(ExchangeError::Malformed(reason))
    }
}

/// A stream on which an answer is awaited.
struct Receiving {
    stream: RecvStream,
    done: bool,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.done {
            // §4.3.1
            let _ = self.stream.stop(DOQ_REQUEST_CANCELLED);
        }
    }
}
