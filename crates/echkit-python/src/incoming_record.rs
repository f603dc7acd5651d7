//! What is received, record by record.

use std::ops::Range;

use echkit_proto::tls_record::{RECORD_HEADER_LEN, RecordHeader};

/// After a record of this length the next header is received with it, which saves a system call.
/// After a shorter one nothing is: it may be close_notify (24 bytes), and what follows no TLS.
const LONG: usize = 4_096;
/// What a record adds to its plaintext at most: a nonce and a tag (RFC 5288 §3).
const OVERHEAD: usize = 24;

/// The record that is being received or read, and after a long one the header of the next.
#[derive(Debug, Default)]
pub(crate) struct IncomingRecord {
    /// Grows to the longest record, so that it is not filled with zeros each time.
    buffer: Vec<u8>,
    filled: usize,
    /// Application data that was opened in it and has not been taken yet.
    opened: Range<usize>,
}

impl IncomingRecord {
    /// How long the record is, as far as is known: its header first.
    fn end(&self) -> usize {
        // What is not TLS goes to rustls as it is, to be refused.
        RecordHeader::read(&self.buffer[..self.filled.min(RECORD_HEADER_LEN)])
            .filter(|header| header.is_tls())
            .map_or(RECORD_HEADER_LEN, RecordHeader::record_len)
    }

    /// Whether all of it is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.filled >= self.end()
    }

    /// How much is missing of its header, or of the rest of it.
    pub(crate) fn missing(&self) -> usize {
        self.end().saturating_sub(self.filled)
    }

    /// Where a socket's bytes go: what is missing, and after a long record the next header.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        let end = match self.end() {
            long if long > LONG => long + RECORD_HEADER_LEN,
            short => short,
        };
        self.room(end)
    }

    fn room(&mut self, end: usize) -> &mut [u8] {
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.filled..end]
    }

    /// Adds what was taken from a BIO, at most what is [missing](Self::missing).
    ///
    /// A BIO is left with what comes after the record: its `pending` tells a consumer whether to read
    /// on, what follows close_notify is the program's, and a reader that pauses stops the flow.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        self.room(end).copy_from_slice(bytes);
        self.filled = end;
    }

    /// Says how much of [`Self::spare`] was filled.
    pub(crate) fn received(&mut self, len: usize) {
        self.filled += len;
    }

    /// The record, once it [is complete](Self::is_complete).
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let end = self.end();
        &mut self.buffer[..end]
    }

    /// Goes on to the next record.
    pub(crate) fn next(&mut self) {
        let end = self.end();
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
        self.opened = 0..0;
    }

    /// Notes where in the record application data was opened.
    pub(crate) fn open(&mut self, data: Range<usize>) {
        self.opened = data;
    }

    /// Application data that was opened and not taken.
    pub(crate) fn data(&self) -> &[u8] {
        &self.buffer[self.opened.clone()]
    }

    /// Takes application data; after the last of it comes the next record.
    pub(crate) fn take(&mut self, len: usize) {
        self.opened.start += len;
        if self.opened.is_empty() {
            self.next();
        }
    }

    /// The least plaintext of the record whose header is there, if one is.
    pub(crate) fn announced(&self) -> Option<usize> {
        match self.end() {
            RECORD_HEADER_LEN => None,
            end => Some(end.saturating_sub(RECORD_HEADER_LEN + OVERHEAD)),
        }
    }
}
