//! Limits of steps, and the deadline of the whole.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Cause, Step};

/// The shorter of a step's limit and what is left until the deadline.
pub(super) fn limit(step: Option<Duration>, deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match (step, left) {
        (Some(step), Some(left)) => Some(step.min(left)),
        (step, left) => step.or(left),
    }
}

/// Runs `step` within `limit`.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    host: &str,
    step: Step,
    work: impl Future<Output = T>,
) -> Result<T, Cause> {
    match limit {
        None => Ok(work.await),
        Some(after) => tokio::time::timeout(after, work)
            .await
            .map_err(|_| Cause::Timeout {
                host: host.to_owned(),
                step,
                after,
            }),
    }
}
