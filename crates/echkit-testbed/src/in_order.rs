//! The work of one connection, in the order in which it came: what is there at once is answered in that
//! order. Chromium, for one, passes over an HTTPS answer that comes after that about addresses.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::sync::mpsc;
use tokio::task::unconstrained;

/// Takes work from a connection of hyper's, which would be spawned otherwise and run in any order.
#[derive(Clone)]
pub(crate) struct InOrder(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

/// The work that was taken.
pub(crate) struct Queue(mpsc::UnboundedReceiver<BoxFuture<'static, ()>>);

impl InOrder {
    pub(crate) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Queue(receiver))
    }
}

impl<F> Executor<F> for InOrder
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        // Unconstrained: work that tokio puts off for fairness is taken up again in reverse order.
        let work = unconstrained(async move {
            work.await;
        });
        // Without the connection nobody waits for it.
        let _ = self.0.send(Box::pin(work));
    }
}

impl Queue {
    /// Runs a connection and its work, until the connection ends.
    pub(crate) async fn run_with<C: Future>(mut self, connection: C) -> C::Output {
        tokio::pin!(connection);
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => return ended,
                Some(work) = self.0.recv() => running.push(work),
                // First in, first polled.
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}
