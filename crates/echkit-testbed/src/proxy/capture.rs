//! What passed a proxy, as its operator can read it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes kept of one connection in each direction.
const BYTES: usize = 64 * 1024;
/// Connections kept; the oldest are forgotten first.
const CONNECTIONS: usize = 1024;

/// What passed over one connection to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyCapture {
    /// Where the client came from.
    pub client: SocketAddr,
    /// Where the proxy was asked to connect to, as the client wrote it.
    pub asked: Option<String>,
    /// What the client sent, what it told the proxy included.
    pub sent: Vec<u8>,
    /// What the server sent.
    pub received: Vec<u8>,
    /// More was sent or received than was kept.
    pub truncated: bool,
    /// The connection has ended: nothing will be added.
    pub ended: bool,
}

impl ProxyCapture {
    /// Whether `name` can be read in either direction, in any case of letters.
    pub fn contains(&self, name: &str) -> bool {
        let shows = |bytes: &[u8]| {
            bytes
                .windows(name.len().max(1))
                .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
        };
        shows(&self.sent) || shows(&self.received)
    }
}

/// The captures of one proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyRecorder {
    entries: Arc<Mutex<Vec<ProxyEntry>>>,
}

impl ProxyRecorder {
    pub(super) fn begin(&self, client: SocketAddr) -> ProxyEntry {
        let entry = ProxyEntry(Arc::new(Mutex::new(ProxyCapture {
            client,
            asked: None,
            sent: Vec::new(),
            received: Vec::new(),
            truncated: false,
            ended: false,
        })));
        let mut entries = lock(&self.entries);
        if entries.len() == CONNECTIONS {
            entries.remove(0);
        }
        entries.push(entry.clone());
        entry
    }

    pub(crate) fn captures(&self) -> Vec<ProxyCapture> {
        let entries = lock(&self.entries);
        entries.iter().map(|entry| lock(&entry.0).clone()).collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }
}

/// The capture of one connection in the making.
#[derive(Clone, Debug)]
pub(super) struct ProxyEntry(Arc<Mutex<ProxyCapture>>);

impl ProxyEntry {
    pub(super) fn asked(&self, target: &str) {
        lock(&self.0).asked = Some(target.to_owned());
    }

    pub(super) fn end(&self) {
        lock(&self.0).ended = true;
    }

    /// Keeps what is read from the client.
    pub(super) fn tap_client<S>(&self, stream: S) -> Tapped<S> {
        Tapped {
            stream,
            entry: self.clone(),
            side: |capture| &mut capture.sent,
        }
    }

    /// Keeps what is read from the server.
    pub(super) fn tap_server<S>(&self, stream: S) -> Tapped<S> {
        Tapped {
            stream,
            entry: self.clone(),
            side: |capture| &mut capture.received,
        }
    }

    fn keep(&self, side: fn(&mut ProxyCapture) -> &mut Vec<u8>, bytes: &[u8]) {
        let mut capture = lock(&self.0);
        let kept = side(&mut capture);
        let room = BYTES - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        capture.truncated |= bytes.len() > room;
    }
}

/// A stream of which all that is read is kept.
pub(super) struct Tapped<S> {
    stream: S,
    entry: ProxyEntry,
    side: fn(&mut ProxyCapture) -> &mut Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.entry.keep(self.side, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can leave the data half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
