//! A stream whose outgoing hellos pass a [`Guard`], and whose bytes are counted.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::report::Bytes;
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

/// What is noted about the bytes of one connection: how many, and which hellos were sent.
#[derive(Clone, Debug, Default)]
pub struct WireLog {
    counts: ByteCounts,
    hellos: Arc<Mutex<Vec<SeenHello>>>,
}

impl WireLog {
    /// A log without hellos, whose bytes are counted in `counts`.
    pub fn new(counts: ByteCounts) -> Self {
        Self {
            counts,
            hellos: Arc::default(),
        }
    }

    /// The hellos that were sent up to now.
    pub fn hellos(&self) -> Vec<SeenHello> {
        self.lock().clone()
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
    pub fn counting(io: IO, counts: ByteCounts) -> Self {
        Self {
            io,
            guard: None,
            log: WireLog::new(counts),
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
            guard.sent(len);
            self.log.counts.add_sent(len);
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
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.log.counts.add_received(buf.filled().len() - before);
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
            self.log.counts.add_sent(len);
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
        Pin::new(&mut self.io).poll_shutdown(cx)
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
        self.log.counts.add_sent(len);
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
