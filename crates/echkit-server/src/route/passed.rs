//! How many bytes have passed in a connection.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes passed, to be read while they do.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) to_server: AtomicU64,
    pub(super) to_client: AtomicU64,
}

impl Passed {
    pub(super) fn add(to: &AtomicU64, bytes: usize) {
        to.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
