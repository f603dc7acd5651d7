//! When keys are made, published and deleted.

use std::time::Duration;

use super::state::{DirectoryState, KeyState};

/// How many keys a directory may come to hold: each is one more that a server loads, and
/// config_ids are one byte.
const MAX_KEYS: u128 = 64;

/// The file of a key that would be made.
const NEW: &str = "the new key";

/// How often keys change, and how long old ones are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// How long a key is published.
    pub every: Duration,
    /// How many keys that were published before still open hellos, at the least.
    pub keep: usize,
    /// The TTL of the records that publish the keys.
    pub ttl: Duration,
    /// What is waited beyond the TTL: for secondary servers, for resolvers that keep answers
    /// longer, and for clients that connect, or connect again, late.
    pub retry_window: Duration,
    /// How long a new key waits before it is published, so that every server has loaded it;
    /// never longer than `every`. The first key of a directory does not wait.
    pub lead: Duration,
}

impl Rotation {
    /// A rotation with this interval and TTL; two old keys are kept, ten minutes beyond the TTL,
    /// and a new key waits for one minute.
    ///
    /// # Errors
    ///
    /// When more keys would be kept than a server should load.
    pub fn new(every: Duration, ttl: Duration) -> Result<Self, RotationError> {
        Self {
            every,
            keep: 2,
            ttl,
            retry_window: Duration::from_secs(600),
            lead: Duration::from_secs(60),
        }
        .checked()
    }

    /// The same with another number of old keys that are kept.
    ///
    /// # Errors
    ///
    /// When they are too many.
    pub fn with_keep(mut self, keep: usize) -> Result<Self, RotationError> {
        self.keep = keep;
        self.checked()
    }

    /// The same with another time beyond the TTL.
    ///
    /// # Errors
    ///
    /// When more keys would be kept than a server should load.
    pub fn with_retry_window(mut self, window: Duration) -> Result<Self, RotationError> {
        self.retry_window = window;
        self.checked()
    }

    /// The same with another time before a new key is published.
    #[must_use]
    pub fn with_lead(mut self, lead: Duration) -> Self {
        self.lead = lead;
        self
    }

    /// The same, when it keeps no more keys than a server should load: for rotations whose fields
    /// were set by hand.
    ///
    /// # Errors
    ///
    /// When it keeps more, or the interval is nothing.
    pub fn checked(self) -> Result<Self, RotationError> {
        if self.every.is_zero() {
            return Err(RotationError::NoInterval);
        }
        // The one that is published, the next one, and those that wait.
        let waiting = self
            .wait()
            .as_millis()
            .div_ceil(self.every.as_millis().max(1));
        let keys = 2 + waiting.max(self.keep as u128);
        match keys > MAX_KEYS {
            true => Err(RotationError::TooManyKeys(keys)),
            false => Ok(self),
        }
    }

    /// How long a key goes on opening hellos when another was published.
    pub fn wait(&self) -> Duration {
        self.ttl.saturating_add(self.retry_window)
    }

    /// All that is to be done now.
    pub(super) fn all(&self, mut state: DirectoryState) -> Vec<RotationStep> {
        let mut steps = Vec::new();
        while let Some(step) = self.next(&state) {
            match &step {
                RotationStep::Make => state.add(NEW.to_owned(), 0, KeyState::Made, 0),
                RotationStep::Publish(file) => state.publish(file, 0),
                RotationStep::Delete(file) => state.enter(file, KeyState::Gone, 0),
            }
            steps.push(step);
        }
        steps
    }

    /// What is to be done now, if anything; one thing at a time.
    pub(super) fn next(&self, state: &DirectoryState) -> Option<RotationStep> {
        let passed = |ms: u64, time: Duration| u128::from(ms) >= time.as_millis();
        let made = state.in_state(KeyState::Made).next();
        let Some(published) = state.published() else {
            return Some(match made {
                Some(key) => RotationStep::Publish(key.file.clone()),
                None => RotationStep::Make,
            });
        };
        let Some(made) = made else {
            return Some(RotationStep::Make);
        };
        if passed(state.time_in_state(published), self.every)
            && passed(state.time_in_state(made), self.lead.min(self.every))
        {
            return Some(RotationStep::Publish(made.file.clone()));
        }
        let retiring = || state.in_state(KeyState::Retiring);
        let surplus = retiring().count().saturating_sub(self.keep);
        retiring()
            .take(surplus)
            .find(|key| passed(state.time_in_state(key), self.wait()))
            .map(|key| RotationStep::Delete(key.file.clone()))
    }
}

/// One step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotationStep {
    /// Make the key that will be published next.
    Make,
    /// Publish the key in this file, and retire the one that is published now.
    Publish(String),
    /// Delete the retired key in this file.
    Delete(String),
}

/// A rotation that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// No time between two keys.
    #[error("the interval between two keys must be more than nothing")]
    NoInterval,
    /// More keys than a server should load.
    #[error(
        "this interval and TTL keep {0} keys, and {MAX_KEYS} are the most; rotate less often, or \
         shorten the TTL or the retry window"
    )]
    TooManyKeys(u128),
}
