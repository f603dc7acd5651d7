//! What a listener received: the bytes of each client, as an eavesdropper would have read them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use echkit::wire::{
    ConnectionTap, RecordedConnection, RecorderLimits, WireDirection, WireRecorder,
};
use echkit_proto::hello::HelloReader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::captures::{self, CaptureEntry, Captures};
use crate::page::PageEch;

/// The record that a client in compatibility mode sends before its second hello (RFC 8446 §D.4).
const CHANGE_CIPHER_SPEC: &[u8] = &[0x14, 3, 3, 0, 1, 1];

/// How long a connection that our side has finished with is read further: what a client still had
/// under way belongs to the capture.
const DRAIN: Duration = Duration::from_secs(5);

/// The client's bytes of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capture {
    /// The case whose server was connected to.
    pub case: String,
    /// Where the client came from.
    pub client: SocketAddr,
    /// What it sent, from the first byte, up to 64 KiB.
    pub bytes: Vec<u8>,
    /// The client sent more than was kept.
    pub truncated: bool,
    /// The connection has ended: nothing will be added.
    pub ended: bool,
}

impl Capture {
    /// Whether `name` can be read in the captured bytes, in any case of letters.
    pub fn contains(&self, name: &str) -> bool {
        captures::shows(&self.bytes, name)
    }
}

impl From<RecordedConnection> for Capture {
    fn from(recorded: RecordedConnection) -> Self {
        Self {
            bytes: recorded.received(),
            truncated: recorded.received_lost > 0,
            ended: recorded.has_ended(WireDirection::Received),
            case: recorded.label,
            client: recorded.peer,
        }
    }
}

/// A handshake that a case's server has finished, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// The case.
    pub case: String,
    /// Where the client came from.
    pub client: SocketAddr,
    /// What became of the client's ECH.
    pub ech: PageEch,
    /// The requests that were answered.
    pub requests: usize,
}

/// Where the listeners of one testbed put what they receive and send, and what they say of it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    wire: WireRecorder,
    served: Captures<Served>,
}

impl Default for Recorder {
    fn default() -> Self {
        let limits = RecorderLimits::default();
        let limits = limits.with_bytes(captures::BYTES);
        let limits = limits.with_connections(captures::CONNECTIONS);
        Self {
            wire: WireRecorder::with_limits(limits),
            served: Captures::default(),
        }
    }
}

impl Recorder {
    /// Wraps a connection so that what is read from it is kept.
    pub(crate) fn record<IO>(
        &self,
        case: &str,
        local: Option<SocketAddr>,
        client: SocketAddr,
        io: IO,
    ) -> Recorded<IO>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Recorded {
            io: Some(io),
            tap: self.wire.begin(case, local, client),
        }
    }

    pub(crate) fn captures(&self) -> Vec<Capture> {
        let connections = self.wire.connections();
        connections.into_iter().map(Capture::from).collect()
    }

    /// The connections, with what the servers sent.
    pub(crate) fn connections(&self) -> Vec<RecordedConnection> {
        self.wire.connections()
    }

    /// Keeps what a server says of a handshake.
    pub(crate) fn serve(
        &self,
        case: &str,
        client: SocketAddr,
        ech: PageEch,
    ) -> CaptureEntry<Served> {
        self.served.begin(Served {
            case: case.to_owned(),
            client,
            ech,
            requests: 0,
        })
    }

    pub(crate) fn served(&self) -> Vec<Served> {
        self.served.all()
    }

    pub(crate) fn clear(&self) {
        self.wire.clear();
        self.served.clear();
    }
}

/// A connection whose bytes are kept.
#[derive(Debug)]
pub(crate) struct Recorded<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    // `None` only once dropped, when the rest is read in the background.
    io: Option<IO>,
    tap: ConnectionTap,
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> Recorded<IO> {
    /// How many ClientHellos the client has sent so far: two when there was a HelloRetryRequest.
    pub(crate) fn client_hellos(&self) -> usize {
        let received = self.tap.recorded().received();
        let mut rest = received.as_slice();
        let mut hellos = 0;
        while let Ok((taken, Some(_))) = HelloReader::default().read(rest) {
            hellos += 1;
            rest = &rest[taken..];
            rest = rest.strip_prefix(CHANGE_CIPHER_SPEC).unwrap_or(rest);
        }
        hellos
    }

    fn io(&mut self) -> io::Result<Pin<&mut IO>> {
        self.io
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncRead for Recorded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(self.io()?.poll_read(cx, buf))?;
        if room > 0 {
            self.tap.received(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncWrite for Recorded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let len = ready!(self.io()?.poll_write(cx, buf))?;
        if len > 0 {
            self.tap.sent(&buf[..len]);
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.io()?.poll_shutdown(cx))?;
        self.tap.sent(&[]);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> Drop for Recorded<IO> {
    fn drop(&mut self) {
        let tap = self.tap.clone();
        let (Some(io), Ok(runtime)) = (self.io.take(), tokio::runtime::Handle::try_current())
        else {
            tap.received(&[]);
            return;
        };
        runtime.spawn(async move {
            // A client that waits for our end of the stream gets it; the rest is a courtesy.
            let _ = tokio::time::timeout(DRAIN, drain(io, &tap)).await;
            tap.received(&[]);
        });
    }
}

async fn drain<IO: AsyncRead + AsyncWrite + Unpin>(
    mut io: IO,
    tap: &ConnectionTap,
) -> io::Result<()> {
    io.shutdown().await?;
    tap.sent(&[]);
    let mut buf = vec![0; 4096];
    loop {
        let n = io.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        tap.received(&buf[..n]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    async fn ended(recorder: &Recorder) -> Capture {
        loop {
            let capture = recorder.captures().pop().unwrap();
            if capture.ended {
                return capture;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn keeps_what_the_client_sent_even_when_nobody_read_it() {
        let recorder = Recorder::default();
        let (mut client, server) = tokio::io::duplex(1024);
        let mut server = recorder.record("nominal", None, address(), server);
        client.write_all(b"read, ").await.unwrap();
        let mut buf = [0; 6];
        server.read_exact(&mut buf).await.unwrap();
        client.write_all(b"unread SECRET.ech.test").await.unwrap();
        drop(server);
        assert_eq!(
            client.read(&mut buf).await.unwrap(),
            0,
            "the client sees the end"
        );
        drop(client);
        let capture = ended(&recorder).await;
        assert_eq!(capture.bytes, b"read, unread SECRET.ech.test");
        assert!(capture.contains("secret.ech.test"));
        assert!(!capture.contains("other.ech.test"));
    }

    #[tokio::test]
    async fn is_bounded_in_bytes_and_in_connections() {
        let recorder = Recorder::default();
        for _ in 0..captures::CONNECTIONS + 1 {
            let (_, server) = tokio::io::duplex(16);
            recorder.record("nominal", None, address(), server);
        }
        assert_eq!(recorder.captures().len(), captures::CONNECTIONS);

        recorder.clear();
        let (mut client, server) = tokio::io::duplex(1024);
        let mut server = recorder.record("nominal", None, address(), server);
        let writer = tokio::spawn(async move {
            client
                .write_all(&vec![7; captures::BYTES + 1])
                .await
                .unwrap();
        });
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        writer.await.unwrap();
        assert_eq!(all.len(), captures::BYTES + 1);
        drop(server);
        let capture = ended(&recorder).await;
        assert_eq!(capture.bytes.len(), captures::BYTES);
        assert!(capture.truncated);
    }
}
