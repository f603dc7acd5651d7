//! What a connection is doing, and since when: the bounds on clients that do nothing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a connection may do nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without a request, or while the client takes nothing of a response.
    pub(super) idle: Duration,
    /// From the first byte of a request's head to its end. `None` for HTTP/2, whose frames are
    /// not all of requests.
    pub(super) head: Option<Duration>,
}

/// What one connection is doing. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests and responses for which the server, or a backend, has something to do.
    busy: usize,
    /// Requests whose response is not over.
    open: usize,
    /// The last time when something went on that keeps the connection.
    last: Instant,
    /// The last time when bytes came or went.
    bytes: Instant,
    /// When the first byte of a head came.
    head_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            busy: 0,
            open: 0,
            last: now,
            bytes: now,
            head_since: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is worked on until the returned value is dropped.
    pub(super) fn begin(&self) -> Busy {
        let mut state = self.state();
        state.busy += 1;
        state.open += 1;
        state.head_since = None;
        Busy {
            activity: self.clone(),
            counted: true,
        }
    }

    fn received(&self) {
        let mut state = self.state();
        let now = Instant::now();
        state.bytes = now;
        match state.open {
            // Bytes alone keep no connection: a head that drips, or control frames, are no request.
            0 => {
                state.head_since.get_or_insert(now);
            }
            _ => state.last = now,
        }
    }

    fn sent(&self) {
        let mut state = self.state();
        state.bytes = Instant::now();
        state.last = state.bytes;
    }

    /// When the connection has been without anything for too long. `None` while there is something
    /// to wait for that is not the client's.
    fn deadline(&self, patience: Patience) -> Option<Instant> {
        let state = self.state();
        if state.busy > 0 {
            return None;
        }
        let idle = state.last + patience.idle;
        let head = state.head_since.zip(patience.head);
        Some(head.map_or(idle, |(since, limit)| idle.min(since + limit)))
    }

    /// Ends when nothing was read or written for `limit`.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let until = self.state().bytes + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Something that the server works on, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Activity,
    counted: bool,
}

impl Busy {
    /// Says whether the server works, or waits for the client.
    pub(super) fn set(&mut self, working: bool) {
        if self.counted == working {
            return;
        }
        self.counted = working;
        let mut state = self.activity.state();
        match working {
            true => state.busy += 1,
            false => state.busy -= 1,
        }
        state.last = Instant::now();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set(false);
        self.activity.state().open -= 1;
    }
}

/// Runs a connection until it ends, or its client does nothing for too long.
pub(super) struct Impatient {
    activity: Activity,
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    pub(super) fn new(activity: Activity, patience: Patience) -> Self {
        Self {
            activity,
            patience,
            timer: None,
        }
    }

    /// Ready when the client has done nothing for too long. Polled after the connection, in the
    /// same task: whatever changes the deadline has woken that task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.activity.deadline(self.patience) else {
                return Poll::Pending;
            };
            match &mut self.timer {
                // One that fires too early is set again then.
                Some(timer) if timer.deadline() <= deadline && !timer.is_elapsed() => {}
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().poll(cx));
            if self
                .activity
                .deadline(self.patience)
                .is_some_and(|deadline| deadline <= Instant::now())
            {
                return Poll::Ready(());
            }
        }
    }
}

/// A stream that tells what goes on.
pub(super) struct ObservedIo<S> {
    stream: S,
    activity: Activity,
    on_error: Box<dyn Fn(&io::Error) + Send>,
}

impl<S> ObservedIo<S> {
    /// Calls `on_error` when reading fails: the client's alerts are read as errors.
    pub(super) fn new(
        stream: S,
        activity: Activity,
        on_error: impl Fn(&io::Error) + Send + 'static,
    ) -> Self {
        Self {
            stream,
            activity,
            on_error: Box::new(on_error),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match &result {
            Ok(()) if buffer.filled().len() > before => self.activity.received(),
            Ok(()) => {}
            Err(error) => (self.on_error)(error),
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.activity.sent();
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.activity.sent();
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
