//! What belongs to the threads of one process, and is left alone in its forked children.

use crate::runtime::generation;

/// A value whose threads a fork leaves behind: a child neither uses nor drops it, since a lock in
/// it may be one that no thread will release.
pub(super) struct ForkBound<T> {
    /// `None` only while it is dropped.
    value: Option<T>,
    made_in: u64,
}

impl<T> ForkBound<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            made_in: generation(),
        }
    }

    /// The value, in the process that made it.
    pub(super) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.made_in == generation())
    }

    /// The value wherever it was made, for what waits for no lock of it.
    pub(super) fn anywhere(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T> Drop for ForkBound<T> {
    fn drop(&mut self) {
        if self.made_in != generation() {
            std::mem::forget(self.value.take());
        }
    }
}
