//! Ciphertext that was taken from a `MemoryBIO`, record by record.

use std::collections::VecDeque;

use echkit_proto::tls_record::{RECORD_HEADER_LEN, RecordHeader};
use pyo3::pybacked::PyBackedBytes;

/// Ciphertext in Python's own `bytes`, which saves a copy.
///
/// A BIO is left with what comes after the record that is being read: its `pending` tells a consumer
/// whether to read on, what follows close_notify is the program's, and a reader that pauses stops the
/// flow.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pieces: VecDeque<PyBackedBytes>,
    /// Pieces of which nothing is left.
    finished: usize,
    /// How much of the next one was used.
    used: usize,
    /// Nothing will follow.
    eof: bool,
    /// The header of the record that is being taken from the BIO, as far as it has come.
    header: Vec<u8>,
    /// How much of that record's content has not come yet.
    missing: usize,
}

impl Input {
    /// How much to take from the BIO next: the rest of a header, or of a record's content.
    pub(crate) fn wanted(&self) -> usize {
        match self.missing {
            0 => RECORD_HEADER_LEN - self.header.len(),
            missing => missing,
        }
    }

    /// Whether what was taken from the BIO ends with a record.
    pub(crate) fn is_between_records(&self) -> bool {
        self.missing == 0 && self.header.is_empty()
    }

    /// Adds what was taken from the BIO: at most what was [wanted](Self::wanted).
    pub(crate) fn add(&mut self, bytes: PyBackedBytes) {
        if self.missing > 0 {
            self.missing = self.missing.saturating_sub(bytes.len());
        } else {
            self.header.extend_from_slice(&bytes);
            if let Some(header) = RecordHeader::read(&self.header) {
                self.header.clear();
                // What is not TLS goes to rustls as it is, to be refused.
                self.missing = match header.is_tls() {
                    true => usize::from(header.len),
                    false => 0,
                };
            }
        }
        self.pieces.push_back(bytes);
    }

    /// Notes that the BIO has ended; says whether that is news.
    pub(crate) fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.eof, true)
    }

    /// Frees what was used. To be called with the interpreter's lock, which freeing needs.
    pub(crate) fn release(&mut self) {
        self.pieces.drain(..std::mem::take(&mut self.finished));
    }

    /// What can be used next; empty where nothing is left.
    pub(crate) fn next(&self) -> &[u8] {
        self.pieces
            .get(self.finished)
            .map_or(&[], |piece| &piece[self.used..])
    }

    pub(crate) fn take(&mut self, len: usize) {
        self.used += len;
        if self.next().is_empty() && self.finished < self.pieces.len() {
            self.finished += 1;
            self.used = 0;
        }
    }

    pub(crate) fn ends_here(&self) -> bool {
        self.eof && self.next().is_empty()
    }
}
