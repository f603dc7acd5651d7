//! The order in which attempts run. One after another for now; the only place that decides it.

use std::future::Future;

/// Runs `attempt` for each candidate in order until one succeeds.
///
/// `may_try` is asked before each, with the failures so far; a candidate that it refuses is passed
/// over.
///
/// # Errors
///
/// The failures of all candidates that were tried, in order.
pub(super) async fn first_success<'c, C, T, E, F, Fut>(
    candidates: &'c [C],
    mut attempt: F,
    mut may_try: impl FnMut(&C, &[(&'c C, E)]) -> bool,
) -> Result<T, Vec<(&'c C, E)>>
where
    F: FnMut(&'c C) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut failures = Vec::new();
    for candidate in candidates {
        if !may_try(candidate, &failures) {
            continue;
        }
        match attempt(candidate).await {
            Ok(value) => return Ok(value),
            Err(error) => failures.push((candidate, error)),
        }
    }
    Err(failures)
}
