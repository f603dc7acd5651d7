//! One connection at a time to an origin that may speak HTTP/2, so that requests share it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// Who may connect to one origin.
///
/// The first request connects, and the others wait: over HTTP/2 they share its connection. Over
/// HTTP/1.1, or after the first connection failed, each connects for itself. Where the first
/// request is dropped, the next in line takes its place.
#[derive(Debug, Default)]
pub(super) struct Gate {
    turn: Mutex<()>,
    /// The connection made last spoke HTTP/1.1.
    http1: AtomicBool,
    failures: AtomicUsize,
}

impl Gate {
    /// Waits for permission to connect. Holding the guard keeps others waiting; `None` does not.
    pub(super) async fn enter(&self) -> Option<MutexGuard<'_, ()>> {
        if self.http1.load(Ordering::Relaxed) {
            return None;
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let turn = self.turn.lock().await;
        let alone = !self.http1.load(Ordering::Relaxed)
            && self.failures.load(Ordering::Relaxed) == failures;
        alone.then_some(turn)
    }

    /// A connection was made.
    pub(super) fn connected(&self, http2: bool) {
        self.http1.store(!http2, Ordering::Relaxed);
    }

    /// A connection could not be made.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    /// Requests that wait for their turn; each reports whether it has to go alone, and then
    /// holds its turn until told to go on.
    fn waiting(gate: &Arc<Gate>, count: usize) -> tokio::sync::mpsc::UnboundedReceiver<bool> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..count {
            let gate = Arc::clone(gate);
            let sender = sender.clone();
            tokio::spawn(async move {
                let turn = gate.enter().await;
                sender.send(turn.is_some()).unwrap();
                if turn.is_some() {
                    std::future::pending::<()>().await;
                }
            });
        }
        receiver
    }

    async fn let_others_run() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_others_wait_for_the_first() {
        let gate = Arc::new(Gate::default());
        let first = gate.enter().await;
        assert!(first.is_some());
        let mut others = waiting(&gate, 3);
        let_others_run().await;
        assert!(others.try_recv().is_err());
        // The first is dropped: one takes its place, and the rest wait for that one.
        drop(first);
        assert!(others.recv().await.unwrap());
        let_others_run().await;
        assert!(others.try_recv().is_err());
    }

    #[tokio::test]
    async fn all_go_ahead_over_http_1_1_and_after_a_failure() {
        for http1 in [true, false] {
            let gate = Arc::new(Gate::default());
            let first = gate.enter().await;
            let mut others = waiting(&gate, 3);
            let_others_run().await;
            match http1 {
                true => gate.connected(false),
                false => gate.failed(),
            }
            drop(first);
            for _ in 0..3 {
                assert!(!others.recv().await.unwrap());
            }
            // Later requests remember HTTP/1.1, and do not hold a failure against the origin.
            assert_eq!(gate.enter().await.is_none(), http1);
        }
    }
}
