//! The stream of a connection: TLS over TCP, or TCP alone.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::client::ClientConnection;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::guarded::Guarded;
use crate::proxy::Wire;

/// A TLS stream over TCP.
pub(super) type TlsOverTcp = TlsStream<Guarded<Wire>>;

/// A stream to an origin: TLS over TCP, or TCP alone for an `http` origin without HTTPS records.
///
/// It reads and writes as tokio's streams do. What is written may be buffered until it is flushed.
#[derive(Debug)]
pub struct Stream(Transport);

#[derive(Debug)]
enum Transport {
    Tls(Box<TlsOverTcp>),
    Plain(Box<Guarded<Wire>>),
}

impl Stream {
    pub(super) fn tls(stream: TlsOverTcp) -> Self {
        Self(Transport::Tls(Box::new(stream)))
    }

    pub(super) fn plain(stream: Guarded<Wire>) -> Self {
        Self(Transport::Plain(Box::new(stream)))
    }

    /// Whether the stream is encrypted.
    pub fn is_tls(&self) -> bool {
        self.session().is_some()
    }

    /// The application protocol that was agreed on (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session()?.alpn_protocol()
    }

    /// The server's certificate and those that it sent along, its own first; `None` without TLS.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session()?.peer_certificates()
    }

    /// The version of TLS; `None` without TLS.
    pub fn tls_version(&self) -> Option<rustls::ProtocolVersion> {
        self.session()?.protocol_version()
    }

    /// The cipher suite; `None` without TLS.
    pub fn cipher_suite(&self) -> Option<rustls::CipherSuite> {
        let suite = self.session()?.negotiated_cipher_suite()?;
        Some(suite.suite())
    }

    /// The address that the stream is connected to: the proxy's, where there is one.
    ///
    /// # Errors
    ///
    /// When the system does not tell it.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.wire().tcp().peer_addr()
    }

    /// The address that the stream comes from.
    ///
    /// # Errors
    ///
    /// When the system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire().tcp().local_addr()
    }

    fn session(&self) -> Option<&ClientConnection> {
        match &self.0 {
            Transport::Tls(stream) => Some(stream.get_ref().1),
            Transport::Plain(_) => None,
        }
    }

    fn wire(&self) -> &Wire {
        match &self.0 {
            Transport::Tls(stream) => stream.get_ref().0.inner(),
            Transport::Plain(stream) => stream.inner(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Transport::Plain(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Transport::Plain(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Transport::Plain(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Transport::Plain(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Transport::Plain(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Transport::Tls(stream) => stream.is_write_vectored(),
            Transport::Plain(stream) => stream.is_write_vectored(),
        }
    }
}
