//! Questions under way: whoever asks the same at the same time waits for the same answer.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::answer::{Answer, QueryError};
use super::message::Question;

type Outcome = Result<Answer, QueryError>;
type Running = Mutex<HashMap<Question, Weak<Flight>>>;

/// The questions under way.
#[derive(Default)]
pub(super) struct Flights {
    running: Arc<Running>,
}

/// One question under way. It is a task of its own, so that a caller who is slow to poll delays
/// nobody else, and ends when the last caller has gone.
struct Flight {
    question: Question,
    outcome: watch::Receiver<Option<Outcome>>,
    task: AbortHandle,
    running: Arc<Running>,
}

impl Flights {
    /// The outcome of a question that is under way, or else of `ask`.
    pub(super) async fn join<F>(&self, question: &Question, ask: impl Fn() -> F) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let flight = self.flight(question, &ask);
        let mut outcome = flight.outcome.clone();
        let landed = match outcome.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            Err(_) => None,
        };
        match landed {
            Some(outcome) => outcome,
            // Its runtime has gone, which may not be ours.
            None => ask().await,
        }
    }

    fn flight<F>(&self, question: &Question, ask: &impl Fn() -> F) -> Arc<Flight>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        // Outlives the lock, which whoever drops the last handle of a flight takes.
        let landed;
        let mut running = lock(&self.running);
        match running.get(question).and_then(Weak::upgrade) {
            Some(flight) if flight.is_under_way() => return flight,
            other => landed = other,
        }
        let (sender, outcome) = watch::channel(None);
        let ask = ask();
        let task = tokio::spawn(async move {
            sender.send_replace(Some(ask.await));
        });
        let flight = Arc::new(Flight {
            question: question.clone(),
            outcome,
            task: task.abort_handle(),
            running: Arc::clone(&self.running),
        });
        running.insert(question.clone(), Arc::downgrade(&flight));
        drop(running);
        drop(landed);
        flight
    }
}

impl Flight {
    fn is_under_way(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
        let mut running = lock(&self.running);
        // Another one may have taken its place.
        let is_this = |flight: &Weak<Self>| std::ptr::eq(flight.as_ptr(), self);
        if running.get(&self.question).is_some_and(is_this) {
            running.remove(&self.question);
        }
    }
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<Question, Weak<Flight>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use crate::dns::{RecordType, Status};

    fn question(name: &str) -> Question {
        Question {
            name: name.parse().unwrap(),
            kind: RecordType::A,
        }
    }

    fn answer() -> Outcome {
        Ok(Answer {
            status: Status::NoData,
            owner: "a.test".parse().unwrap(),
            cnames: Vec::new(),
            rdata: Vec::new(),
            ttl: Duration::ZERO,
            protected: false,
        })
    }

    /// A question that waits for leave to end, and counts how often it began and ended.
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
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn the_same_question_is_asked_once_at_a_time() {
        let (flights, asked) = (Arc::new(Flights::default()), Asked::new());
        let mut callers = tokio::task::JoinSet::new();
        for name in ["a.test"; 50].into_iter().chain(["b.test"]) {
            let (flights, asked) = (Arc::clone(&flights), asked.clone());
            callers.spawn(async move {
                flights
                    .join(&question(name), || asked.ask(answer()))
                    .await
                    .unwrap()
            });
        }
        until(|| asked.begun() == 2).await;
        asked.leave.add_permits(2);
        assert_eq!(callers.join_all().await.len(), 51);
        assert_eq!(asked.begun(), 2);
        assert!(lock(&flights.running).is_empty());
        let name = question("a.test");
        let again = flights.join(&name, || asked.ask(answer()));
        let (_, outcome) = tokio::join!(until(|| asked.begun() == 3), again);
        outcome.unwrap();
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_kept() {
        let (flights, asked) = (Flights::default(), Asked::new());
        asked.leave.add_permits(3);
        let join = |outcome: Outcome| {
            let (flights, asked) = (&flights, &asked);
            async move {
                flights
                    .join(&question("a.test"), || asked.ask(outcome.clone()))
                    .await
            }
        };
        let failed = || Err(QueryError::CnameChain(1));
        let (first, second) = tokio::join!(join(failed()), join(failed()));
        assert!(first.is_err() && second.is_err());
        assert_eq!(asked.begun(), 1);
        join(answer()).await.unwrap();
        assert_eq!(asked.begun(), 2);
    }

    #[tokio::test]
    async fn callers_who_leave_take_nothing_from_those_who_stay() {
        let (flights, asked) = (Arc::new(Flights::default()), Asked::new());
        let call = || {
            let (flights, asked) = (Arc::clone(&flights), asked.clone());
            tokio::spawn(async move {
                flights
                    .join(&question("a.test"), || asked.ask(answer()))
                    .await
            })
        };
        let first = call();
        until(|| asked.begun() == 1).await;
        let second = call();
        until(|| {
            let running = lock(&flights.running);
            running.values().all(|flight| flight.strong_count() == 2)
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
            tokio::spawn(async move {
                flights
                    .join(&question("a.test"), || asked.ask(answer()))
                    .await
            })
        };
        until(|| asked.begun() == 1).await;
        caller.abort();
        until(|| asked.ended.load(Ordering::SeqCst) == 1).await;
        assert!(lock(&flights.running).is_empty());
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
        let name = question("a.test");
        let leading = first.block_on(async {
            let leading = flights.flight(&name, &|| asked.ask(answer()));
            until(|| asked.begun() == 1).await;
            leading
        });
        drop(first);
        asked.leave.add_permits(1);
        let outcome = second.block_on(flights.join(&name, || asked.ask(answer())));
        outcome.unwrap();
        assert_eq!(asked.begun(), 2);
        drop(leading);
    }
}
