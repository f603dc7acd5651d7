//! Ciphertext that was handed in through a `MemoryBIO`.

use std::collections::VecDeque;

use pyo3::pybacked::PyBackedBytes;

/// Ciphertext in Python's own `bytes`, which saves a copy.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pieces: VecDeque<PyBackedBytes>,
    /// Pieces of which nothing is left.
    finished: usize,
    /// How much of the next one was taken.
    taken: usize,
    /// Nothing will follow.
    eof: bool,
}

impl Input {
    pub(crate) fn add(&mut self, bytes: PyBackedBytes, eof: bool) {
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
        self.eof = eof;
    }

    /// Lets go of what was taken. To be called with the interpreter's lock, which freeing needs.
    pub(crate) fn release(&mut self) {
        self.pieces.drain(..std::mem::take(&mut self.finished));
    }

    /// What can be taken next; empty where nothing is left.
    pub(crate) fn next(&self) -> &[u8] {
        self.pieces
            .get(self.finished)
            .map_or(&[], |piece| &piece[self.taken..])
    }

    pub(crate) fn take(&mut self, len: usize) {
        self.taken += len;
        if self.next().is_empty() && self.finished < self.pieces.len() {
            self.finished += 1;
            self.taken = 0;
        }
    }

    pub(crate) fn ends_here(&self) -> bool {
        self.eof && self.next().is_empty()
    }
}
