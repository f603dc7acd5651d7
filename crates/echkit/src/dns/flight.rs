//! Single flight: callers that want the same work at the same time share one run of it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::task::JoinSet;
use tracing::Instrument;

/// One piece of work, and its outcome; `None` if the runtime that it ran on has gone. It is a task
/// of its own, so that a caller that is slow to poll delays no other, and ends with the last
/// caller, since a [`JoinSet`] ends its tasks when it is dropped.
type Flight<V> = BoxFuture<'static, Option<V>>;

/// The work under way.
pub(super) struct Flights<K, V> {
    running: Mutex<HashMap<K, WeakShared<Flight<V>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
        }
    }
}

/// A caller that waits for a flight.
struct Passenger<'a, K: Clone + Eq + Hash, V: Clone> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    flight: Option<Shared<Flight<V>>>,
}

impl<K: Clone + Eq + Hash, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// The outcome of the work for `key` that is under way, or else of `work`.
    pub(super) async fn join<F>(&self, key: &K, work: impl Fn() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut passenger = Passenger {
            flights: self,
            key,
            flight: Some(self.flight(key, &work)),
        };
        let landed = match &mut passenger.flight {
            Some(flight) => flight.await,
            None => None,
        };
        drop(passenger);
        match landed {
            Some(outcome) => outcome,
            // Its runtime has gone, which may not be ours.
            None => work().await,
        }
    }

    fn flight<F>(&self, key: &K, work: &impl Fn() -> F) -> Shared<Flight<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.lock();
        if let Some(flight) = running.get(key).and_then(WeakShared::upgrade)
            && flight.peek().is_none()
        {
            return flight;
        }
        let mut task = JoinSet::new();
        // Events belong to the connection that asked first.
        task.spawn(work().in_current_span());
        let flight = async move { task.join_next().await?.ok() };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            running.insert(key.clone(), weak);
        }
        flight
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, WeakShared<Flight<V>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Passenger<'_, K, V> {
    fn drop(&mut self) {
        let mut running = self.flights.lock();
        // With the lock held, so that the last one to leave is seen to be the last.
        self.flight = None;
        // Another one may have taken its place.
        let is_over = |flight: &WeakShared<Flight<V>>| {
            flight
                .upgrade()
                .is_none_or(|flight| flight.peek().is_some())
        };
        if running.get(self.key).is_some_and(is_over) {
            running.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    type Outcome = Result<u8, &'static str>;
    type Flights = super::Flights<&'static str, Outcome>;

    /// Work that waits for permission to end, and counts how often it began and ended.
    #[derive(Clone)]
    struct Asked {
        begun: Arc<AtomicUsize>,
        ended: Arc<AtomicUsize>,
        leave: Arc<Semaphore>,
    }

    impl Asked {
        fn new() -> Self {
            Self {
                begun: Arc::default(),
                ended: Arc::default(),
                leave: Arc::new(Semaphore::new(0)),
            }
        }

        fn ask(&self, outcome: Outcome) -> impl Future<Output = Outcome> + Send + 'static {
            struct Count(Arc<AtomicUsize>);
            impl Drop for Count {
                fn drop(&mut self) {
                    self.0.fetch_add(1, Ordering::SeqCst);
                }
            }
            let this = self.clone();
            async move {
                this.begun.fetch_add(1, Ordering::SeqCst);
                let _count = Count(Arc::clone(&this.ended));
                let _ = this.leave.acquire().await;
                outcome
            }
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_same_question_is_asked_once_at_a_time() {
        let (flights, asked) = (Arc::new(Flights::default()), Asked::new());
        let mut callers = tokio::task::JoinSet::new();
        for name in ["a.test"; 50].into_iter().chain(["b.test"]) {
            let (flights, asked) = (Arc::clone(&flights), asked.clone());
            callers.spawn(async move { flights.join(&name, || asked.ask(Ok(1))).await.unwrap() });
        }
        until(|| asked.begun() == 2).await;
        asked.leave.add_permits(2);
        assert_eq!(callers.join_all().await.len(), 51);
        assert_eq!(asked.begun(), 2);
        assert!(flights.lock().is_empty());
        let name = "a.test";
        let again = flights.join(&name, || asked.ask(Ok(1)));
        let (_, outcome) = tokio::join!(until(|| asked.begun() == 3), again);
        outcome.unwrap();
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_kept() {
        let (flights, asked) = (Flights::default(), Asked::new());
        asked.leave.add_permits(3);
        let join = |outcome: Outcome| {
            let (flights, asked) = (&flights, &asked);
            async move { flights.join(&"a.test", || asked.ask(outcome)).await }
        };
        let failed = || Err("failed");
        let (first, second) = tokio::join!(join(failed()), join(failed()));
        assert!(first.is_err() && second.is_err());
        assert_eq!(asked.begun(), 1);
        join(Ok(1)).await.unwrap();
        assert_eq!(asked.begun(), 2);
    }

    #[tokio::test]
    async fn callers_who_leave_take_nothing_from_those_who_stay() {
        let (flights, asked) = (Arc::new(Flights::default()), Asked::new());
        let call = || {
            let (flights, asked) = (Arc::clone(&flights), asked.clone());
            tokio::spawn(async move { flights.join(&"a.test", || asked.ask(Ok(1))).await })
        };
        let first = call();
        until(|| asked.begun() == 1).await;
        let second = call();
        until(|| {
            let running = flights.lock();
            // Those of the two callers, and the one in hand.
            let count = |flight: WeakShared<_>| flight.upgrade()?.strong_count();
            running
                .values()
                .cloned()
                .all(|flight| count(flight) == Some(3))
        })
        .await;
        first.abort();
        assert!(first.await.is_err());
        asked.leave.add_permits(1);
        second.await.unwrap().unwrap();
        assert_eq!(asked.begun(), 1);
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_ends() {
        let (flights, asked) = (Arc::new(Flights::default()), Asked::new());
        let caller = {
            let (flights, asked) = (Arc::clone(&flights), asked.clone());
            tokio::spawn(async move { flights.join(&"a.test", || asked.ask(Ok(1))).await })
        };
        until(|| asked.begun() == 1).await;
        caller.abort();
        until(|| asked.ended.load(Ordering::SeqCst) == 1).await;
        assert!(flights.lock().is_empty());
    }

    #[test]
    fn a_question_whose_runtime_went_away_is_asked_again() {
        let (flights, asked) = (Arc::new(Flights::default()), Asked::new());
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap()
        };
        let (first, second) = (runtime(), runtime());
        let name = "a.test";
        let entered = first.enter();
        let leading = flights.flight(&name, &|| asked.ask(Ok(1)));
        drop(entered);
        first.block_on(until(|| asked.begun() == 1));
        drop(first);
        asked.leave.add_permits(1);
        let outcome = second.block_on(flights.join(&name, || asked.ask(Ok(1))));
        outcome.unwrap();
        assert_eq!(asked.begun(), 2);
        drop(leading);
    }
}
