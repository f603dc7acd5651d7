//! Futures that run side by side within one task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Futures by key. All are polled whenever one of them may have made progress: they are few, six
/// attempts or the questions of one name.
///
/// One that is removed or dropped stops at once, and closes what it had open. That is why neither
/// of the usual two serves here: `tokio_util::task::JoinMap` wants futures that borrow nothing,
/// and aborts them on another task at a later time; in `futures_util`'s `FuturesUnordered` an
/// aborted future, its socket open, stays until the set is polled next, and has no key.
pub(crate) struct KeyedFutures<'a, K, T> {
    list: Vec<(K, Boxed<'a, T>)>,
}

impl<'a, K: PartialEq, T> KeyedFutures<'a, K, T> {
    pub(crate) fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds a future. It is first polled by [`KeyedFutures::next`].
    pub(crate) fn push(&mut self, key: K, future: impl Future<Output = T> + Send + 'a) {
        self.list.push((key, Box::pin(future)));
    }

    /// Stops a future.
    pub(crate) fn remove(&mut self, key: &K) {
        self.list.retain(|(other, _)| other != key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The keys of those that run.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.list.iter().map(|(key, _)| key)
    }

    /// Waits for the next that ends; never returns when there is none.
    pub(crate) async fn next(&mut self) -> (K, T) {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next of those that have already ended. For the last look at futures that are dropped
    /// afterwards: one that goes on may not be woken any more.
    pub(crate) fn ended(&mut self) -> Option<(K, T)> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(K, T)> {
        for index in 0..self.list.len() {
            if let Poll::Ready(value) = self.list[index].1.as_mut().poll(cx) {
                let (key, _) = self.list.swap_remove(index);
                return Poll::Ready((key, value));
            }
        }
        Poll::Pending
    }
}

impl<K: fmt::Debug, T> fmt::Debug for KeyedFutures<'_, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list.iter().map(|(key, _)| key))
            .finish()
    }
}
