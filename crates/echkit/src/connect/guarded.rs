//! A stream whose outgoing hellos pass a [`Guard`], and whose bytes are counted.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::report::Bytes;
use crate::wire::ConnectionTap;
use echkit_proto::client::{Guard, SeenHello};

/// Bytes on the wire, shared by all attempts of one connection.
#[derive(Clone, Debug, Default)]
pub struct ByteCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl ByteCounts {
    /// The counts up to now.
    pub fn snapshot(&self) -> Bytes {
        Bytes {
            sent: self.0.sent.load(Ordering::Relaxed),
            received: self.0.received.load(Ordering::Relaxed),
        }
    }

    fn add_sent(&self, len: usize) {
        self.0.sent.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn add_received(&self, len: usize) {
        self.0.received.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// What is noted about the bytes of one connection: how many, which hellos were sent, and all of
/// them where they are recorded.
#[derive(Clone, Debug, Default)]
pub struct WireLog {
    counts: ByteCounts,
    hellos: Arc<Mutex<Vec<SeenHello>>>,
    tap: Option<ConnectionTap>,
}

impl WireLog {
    /// A log without hellos, whose bytes are counted in `counts`.
    pub fn new(counts: ByteCounts) -> Self {
        Self {
            counts,
            hellos: Arc::default(),
            tap: None,
        }
    }

    /// The same log, where the bytes are recorded too.
    #[must_use]
    pub fn recorded(mut self, tap: impl Into<Option<ConnectionTap>>) -> Self {
        self.tap = tap.into();
        self
    }

    /// The hellos that were sent up to now.
    pub fn hellos(&self) -> Vec<SeenHello> {
        self.lock().clone()
    }

    fn note_sent(&self, bytes: &[u8]) {
        self.counts.add_sent(bytes.len());
        if let Some(tap) = &self.tap {
            tap.sent(bytes);
        }
    }

    fn note_received(&self, bytes: &[u8]) {
        self.counts.add_received(bytes.len());
        if let Some(tap) = &self.tap {
            tap.received(bytes);
        }
    }

    /// Notes the first `len` bytes of `bufs`.
    fn note_sent_vectored(&self, bufs: &[io::IoSlice<'_>], len: usize) {
        self.counts.add_sent(len);
        let Some(tap) = &self.tap else { return };
        let mut left = len;
        for buf in bufs {
            let sent = &buf[..buf.len().min(left)];
            left -= sent.len();
            // No bytes would be the end of the stream.
            if !sent.is_empty() {
                tap.sent(sent);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SeenHello>> {
        self.hellos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream under TLS: outgoing hellos pass a [`Guard`], bytes are counted.
///
/// Without a guard it only counts.
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    guard: Option<Guard>,
    log: WireLog,
}

impl<IO> Guarded<IO> {
    /// Guards and counts.
    pub fn new(io: IO, guard: Guard, log: WireLog) -> Self {
        Self {
            io,
            guard: Some(guard),
            log,
        }
    }

    /// Counts only: for connections without TLS.
    pub fn counting(io: IO, log: WireLog) -> Self {
        Self {
            io,
            guard: None,
            log,
        }
    }

    /// The guard, if there is one.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// The stream below.
    pub fn inner(&self) -> &IO {
        &self.io
    }

    /// The counts.
    pub fn counts(&self) -> &ByteCounts {
        &self.log.counts
    }
}

impl<IO: AsyncWrite + Unpin> Guarded<IO> {
    /// Sends everything that the guard has cleared.
    fn poll_cleared(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(guard) = &mut self.guard else {
            return Poll::Ready(Ok(()));
        };
        while !guard.cleared().is_empty() {
            let len = ready!(Pin::new(&mut self.io).poll_write(cx, guard.cleared()))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.log.note_sent(&guard.cleared()[..len]);
            guard.sent(len);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether bytes must be read before they are sent.
    fn reads(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| !guard.is_done())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        // Where there was no room, no bytes are not the end of the stream.
        if room > 0 {
            self.log.note_received(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_cleared(cx))?;
        if !self.reads() {
            let len = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
            if len > 0 {
                self.log.note_sent(&buf[..len]);
            }
            return Poll::Ready(Ok(len));
        }
        let Self { guard, log, .. } = &mut *self;
        if let Some(guard) = guard {
            let known = guard.hellos().len();
            guard
                .push(buf)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            log.lock().extend_from_slice(&guard.hellos()[known..]);
        }
        // The bytes are taken; whatever cannot be sent now is sent by the next write or flush.
        match self.poll_cleared(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_cleared(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_cleared(cx))?;
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        self.log.note_sent(&[]);
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_cleared(cx))?;
        if self.reads() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return match first {
                Some(buf) => self.poll_write(cx, buf),
                None => Poll::Ready(Ok(0)),
            };
        }
        let len = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.log.note_sent_vectored(bufs, len);
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
