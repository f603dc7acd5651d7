//! Deadlines: one rule for every limit of time.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "client")]
use crate::error::{Cause, Step};

/// The end of something that is limited in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// `None`: there is no limit.
    pub(crate) until: Option<Instant>,
    /// The limit that ends it, as errors name it.
    pub(crate) limit: Duration,
}

impl Deadline {
    /// Ends after `limit`, counted from now. One that goes past the end of the clock is none.
    pub(crate) fn after(limit: Duration) -> Self {
        Self {
            until: Instant::now().checked_add(limit),
            limit,
        }
    }

    /// The result of `work`; `None` when the deadline comes first.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.until {
            Some(until) => tokio::time::timeout_at(until, work).await.ok(),
            None => Some(work.await),
        }
    }
}

#[cfg(feature = "client")]
impl Deadline {
    pub(crate) const NEVER: Self = Self {
        until: None,
        limit: Duration::MAX,
    };

    /// Ends after `limit`, where there is one.
    pub(crate) fn within(limit: Option<Duration>) -> Self {
        limit.map_or(Self::NEVER, Self::after)
    }

    /// Ends at `until`, where that is given: the limit is the time up to then.
    pub(crate) fn at(until: Option<Instant>) -> Self {
        let now = Instant::now();
        until.map_or(Self::NEVER, |at| Self {
            until,
            limit: at.saturating_duration_since(now),
        })
    }

    /// The one of the two that comes first.
    pub(crate) fn or_sooner(self, other: Self) -> Self {
        match (self.until, other.until) {
            (Some(own), Some(others)) if others < own => other,
            (None, Some(_)) => other,
            _ => self,
        }
    }

    /// The end of a step that begins now and may take `limit`, but not longer than the whole.
    pub(crate) fn step(self, limit: Option<Duration>) -> Self {
        self.or_sooner(Self::within(limit))
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Option<Duration> {
        let now = Instant::now();
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// The error of a step that did not end in time.
    pub(crate) fn exceeded(&self, host: &str, step: Step) -> Cause {
        Cause::Timeout {
            host: host.to_owned(),
            step,
            after: self.limit,
        }
    }

    /// Runs a step up to its end.
    pub(crate) async fn run_step<T>(
        &self,
        host: &str,
        step: Step,
        work: impl Future<Output = T>,
    ) -> Result<T, Cause> {
        let done = self.run(work).await;
        done.ok_or_else(|| self.exceeded(host, step))
    }
}

#[cfg(all(test, feature = "client"))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_step_ends_with_its_own_limit_or_with_the_whole_whichever_is_first() {
        let deadline = Deadline::within(Some(2 * SECOND));
        let (begun, end) = (Instant::now(), Instant::now() + 2 * SECOND);
        assert_eq!(deadline.step(Some(SECOND)).until, Some(begun + SECOND));
        assert_eq!(deadline.step(Some(SECOND)).limit, SECOND);
        for limit in [None, Some(2 * SECOND), Some(Duration::MAX)] {
            let step = deadline.step(limit);
            assert_eq!((step.until, step.limit), (Some(end), 2 * SECOND));
        }
        tokio::time::advance(SECOND + SECOND / 2).await;
        let step = deadline.step(Some(SECOND));
        assert_eq!((step.until, step.limit), (Some(end), 2 * SECOND));
        assert!(!deadline.has_passed());
        tokio::time::advance(SECOND / 2).await;
        assert!(deadline.has_passed());
        assert_eq!(deadline.step(Some(SECOND)).left(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_end_holds_where_it_is_sooner() {
        let soon = Deadline::at(Some(Instant::now() + SECOND));
        for budget in [None, Some(2 * SECOND), Some(Duration::MAX)] {
            let deadline = Deadline::within(budget).or_sooner(soon);
            assert_eq!((deadline.until, deadline.limit), (soon.until, SECOND));
        }
        let deadline = Deadline::within(Some(SECOND / 2)).or_sooner(soon);
        assert_eq!(deadline.limit, SECOND / 2);
    }

    #[test]
    fn limits_past_the_end_of_the_clock_are_none() {
        for limit in [Duration::MAX, Duration::from_millis(i64::MAX as u64)] {
            let deadline = Deadline::after(limit);
            assert!(!deadline.has_passed());
            let step = deadline.step(Some(limit));
            assert!(step.left().is_none_or(|left| left > SECOND));
        }
    }
}
