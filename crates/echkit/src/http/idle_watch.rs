//! A server that is idle while a request is sent, or before it answers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::body::{BoxError, Outgoing};
use crate::error::{Cause, Step};

/// Ends an exchange whose server takes nothing of the request's body and sends no head.
pub(super) struct IdleWatch {
    limit: Option<Duration>,
    progress: Arc<Progress>,
}

/// When the server took a part of the body last; `None` while it waits for the caller's next one.
type Progress = Mutex<Option<Instant>>;

impl IdleWatch {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            progress: Arc::new(Mutex::new(Some(Instant::now()))),
        }
    }

    /// The same body; each part of it that is taken counts as progress.
    pub(super) fn watch(&self, body: Outgoing) -> Outgoing {
        if self.limit.is_none() || body.is_end_stream() {
            return body;
        }
        let progress = Arc::clone(&self.progress);
        Watched { body, progress }.boxed_unsync()
    }

    /// The result of `work`, or the limit where the server was idle for so long.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = T> + Unpin,
    ) -> Result<T, Duration> {
        let Some(limit) = self.limit else {
            return Ok(work.await);
        };
        let mut work = work;
        *lock(&self.progress) = Some(Instant::now());
        loop {
            let since = *lock(&self.progress);
            let Some(until) = since.unwrap_or_else(Instant::now).checked_add(limit) else {
                return Ok(work.await);
            };
            if let Ok(done) = tokio::time::timeout_at(until, &mut work).await {
                return Ok(done);
            }
            if since.is_some() && *lock(&self.progress) == since {
                return Err(limit);
            }
        }
    }
}

/// The error of a server that was idle for too long.
pub(super) fn idle_for(host: &str, limit: Duration) -> Cause {
    Cause::Timeout {
        host: host.to_owned(),
        step: Step::Read,
        after: limit,
    }
}

/// A body that says when it was asked for more.
struct Watched {
    body: Outgoing,
    progress: Arc<Progress>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        *lock(&self.progress) = frame.is_ready().then(Instant::now);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock(progress: &Progress) -> MutexGuard<'_, Option<Instant>> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::StreamExt;
    use http_body_util::{Full, StreamBody};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn each_part_of_a_body_that_is_taken_is_progress() {
        let watch = IdleWatch::new(Some(LIMIT));
        let parts = futures_util::stream::iter(0..5)
            .map(|_| Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"part"))));
        let mut body = watch.watch(StreamBody::new(parts).boxed_unsync());
        let work = Box::pin(async {
            let mut count = 0;
            while body.frame().await.is_some() {
                count += 1;
                tokio::time::sleep(LIMIT * 3 / 4).await;
            }
            count
        });
        assert_eq!(watch.run(work).await, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_own_time_does_not_count() {
        let watch = IdleWatch::new(Some(LIMIT));
        let parts = futures_util::stream::once(async {
            tokio::time::sleep(LIMIT * 10).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"late")))
        });
        let mut body = watch.watch(StreamBody::new(Box::pin(parts)).boxed_unsync());
        let work = Box::pin(async { body.frame().await.is_some() });
        assert_eq!(watch.run(work).await, Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_nothing_is_given_up() {
        let watch = IdleWatch::new(Some(LIMIT));
        let begun = Instant::now();
        let never = Box::pin(std::future::pending::<()>());
        assert_eq!(watch.run(never).await, Err(LIMIT));
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[test]
    fn the_length_of_a_body_stays_known() {
        let watch = IdleWatch::new(Some(LIMIT));
        let body = Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {});
        let body = watch.watch(body.boxed_unsync());
        assert_eq!(body.size_hint().exact(), Some(5));
    }
}
