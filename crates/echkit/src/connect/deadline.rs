//! The time that a connection may take, and the limits of its steps within it.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Cause, Step};

/// The end of a connection's time: of DNS, TCP and TLS together, with every attempt and retry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    begun: Instant,
    at: Option<Instant>,
}

impl Deadline {
    /// Begins now, and ends after `budget`, or at `until` where that is sooner. A budget that goes
    /// past the end of the clock has no end.
    pub(super) fn new(budget: Option<Duration>, until: Option<Instant>) -> Self {
        let begun = Instant::now();
        let own = budget.and_then(|budget| begun.checked_add(budget));
        Self {
            begun,
            at: own.into_iter().chain(until).min(),
        }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn has_passed(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// How long the connection has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// All the time that there was, as errors name it.
    pub(super) fn budget(&self) -> Duration {
        self.at
            .map_or(Duration::MAX, |at| at.saturating_duration_since(self.begun))
    }

    /// The limit of a step that begins now and may take `limit`, but not longer than the whole.
    pub(super) fn step(&self, limit: Option<Duration>) -> StepLimit {
        let now = Instant::now();
        let own = limit.and_then(|limit| Some((now.checked_add(limit)?, limit)));
        let whole = self.at.map(|at| (at, self.budget()));
        let first = whole.into_iter().chain(own).min_by_key(|(until, _)| *until);
        StepLimit {
            until: first.map(|(until, _)| until),
            after: first.map_or(Duration::MAX, |(_, after)| after),
        }
    }
}

/// The end of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepLimit {
    pub(super) until: Option<Instant>,
    /// The limit that ends it, as errors name it: the step's own, or that of the whole connection.
    pub(super) after: Duration,
}

impl StepLimit {
    /// What is left of it.
    pub(super) fn left(&self) -> Option<Duration> {
        let now = Instant::now();
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// The error of a step that did not end in time.
    pub(super) fn exceeded(&self, host: &str, step: Step) -> Cause {
        Cause::Timeout {
            host: host.to_owned(),
            step,
            after: self.after,
        }
    }

    /// Runs a step up to its limit.
    pub(super) async fn run<T>(
        &self,
        host: &str,
        step: Step,
        work: impl Future<Output = T>,
    ) -> Result<T, Cause> {
        match self.until {
            None => Ok(work.await),
            Some(until) => tokio::time::timeout_at(until, work)
                .await
                .map_err(|_| self.exceeded(host, step)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_step_ends_with_its_own_limit_or_with_the_connection_whichever_is_first() {
        let deadline = Deadline::new(Some(2 * SECOND), None);
        let (begun, end) = (Instant::now(), Instant::now() + 2 * SECOND);
        assert_eq!(deadline.step(Some(SECOND)).until, Some(begun + SECOND));
        assert_eq!(deadline.step(Some(SECOND)).after, SECOND);
        for limit in [None, Some(2 * SECOND), Some(Duration::MAX)] {
            let step = deadline.step(limit);
            assert_eq!((step.until, step.after), (Some(end), 2 * SECOND));
        }
        tokio::time::advance(SECOND + SECOND / 2).await;
        let step = deadline.step(Some(SECOND));
        assert_eq!((step.until, step.after), (Some(end), 2 * SECOND));
        assert!(!deadline.has_passed());
        tokio::time::advance(SECOND / 2).await;
        assert!(deadline.has_passed());
        assert_eq!(deadline.step(Some(SECOND)).left(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_end_holds_where_it_is_sooner() {
        let soon = Instant::now() + SECOND;
        for budget in [None, Some(2 * SECOND), Some(Duration::MAX)] {
            let deadline = Deadline::new(budget, Some(soon));
            assert_eq!((deadline.at(), deadline.budget()), (Some(soon), SECOND));
        }
        let deadline = Deadline::new(Some(SECOND / 2), Some(soon));
        assert_eq!(deadline.budget(), SECOND / 2);
    }

    #[test]
    fn limits_past_the_end_of_the_clock_are_none() {
        for limit in [Duration::MAX, Duration::from_millis(i64::MAX as u64)] {
            let deadline = Deadline::new(Some(limit), None);
            assert!(!deadline.has_passed());
            let step = deadline.step(Some(limit));
            assert!(step.left().is_none_or(|left| left > SECOND));
        }
    }
}
