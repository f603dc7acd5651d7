//! Captures of connections, kept in bounded memory: what all listeners that keep bytes share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes kept of one connection in each direction. A hostile or chatty peer cannot fill memory.
pub(crate) const BYTES: usize = 64 * 1024;

/// Connections kept; the oldest are forgotten first.
pub(crate) const CONNECTIONS: usize = 1024;

/// The captures of a listener, oldest first.
#[derive(Debug)]
pub(crate) struct Captures<T>(Arc<Mutex<Vec<CaptureEntry<T>>>>);

impl<T> Captures<T> {
    /// Keeps the capture of one more connection.
    pub(crate) fn begin(&self, capture: T) -> CaptureEntry<T> {
        let entry = CaptureEntry(Arc::new(Mutex::new(capture)));
        let mut entries = lock(&self.0);
        if entries.len() == CONNECTIONS {
            entries.remove(0);
        }
        entries.push(entry.clone());
        entry
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl<T: Clone> Captures<T> {
    pub(crate) fn all(&self) -> Vec<T> {
        let entries = lock(&self.0);
        entries.iter().map(|entry| entry.get().clone()).collect()
    }
}

impl<T> Clone for Captures<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Captures<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The capture of one connection in the making.
#[derive(Debug)]
pub(crate) struct CaptureEntry<T>(Arc<Mutex<T>>);

impl<T> CaptureEntry<T> {
    pub(crate) fn get(&self) -> MutexGuard<'_, T> {
        lock(&self.0)
    }
}

impl<T> Clone for CaptureEntry<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Adds bytes up to the limit of one connection; whether some had no room.
#[must_use]
pub(crate) fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let room = BYTES - kept.len();
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    bytes.len() > room
}

/// Whether `name` can be read in `bytes`, in any case of letters.
pub(crate) fn shows(bytes: &[u8], name: &str) -> bool {
    bytes
        .windows(name.len().max(1))
        .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can leave the data half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
