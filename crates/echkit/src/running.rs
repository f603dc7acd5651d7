//! Futures that run side by side within one task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Futures by key. All are polled whenever one of them may have made progress: they are few.
///
/// One that is removed or dropped stops at once, and closes what it had open.
pub(crate) struct Running<'a, K, T> {
    list: Vec<(K, Boxed<'a, T>)>,
}

impl<'a, K: PartialEq, T> Running<'a, K, T> {
    pub(crate) fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds a future. It is first polled by [`Running::next`].
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

    /// Waits for the next that ends; for ever when there is none.
    pub(crate) async fn next(&mut self) -> (K, T) {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
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

impl<K: fmt::Debug, T> fmt::Debug for Running<'_, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list.iter().map(|(key, _)| key))
            .finish()
    }
}
