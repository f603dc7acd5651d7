//! What is received, record by record.

use std::io::{self, Read};

use echkit_proto::tls_record::{RECORD_HEADER_LEN, RecordHeader};

use crate::socket::{Fd, Received};

/// After a record of this length the next header is received with it, which saves a system call.
/// After a shorter one nothing is: it may be close_notify (24 bytes), and what follows no TLS.
const LONG: usize = 4_096;
/// What a record adds to its plaintext at most: a nonce and a tag (RFC 5288 §3).
const OVERHEAD: usize = 24;

/// The record that is being received, and after a long one the header of the next.
#[derive(Debug, Default)]
pub(crate) struct IncomingRecord {
    /// Grows to the longest record, so that it is not filled with zeros each time.
    buffer: Vec<u8>,
    filled: usize,
    /// How much of it was handed on before: the header that came early.
    given: usize,
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

    /// Where to receive what is missing.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        let end = self.filled + self.wanted();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.filled..end]
    }

    /// How much to receive: the rest of the header, or of the record and after a long one the next
    /// header.
    fn wanted(&self) -> usize {
        match self.end() {
            long if long > LONG => long + RECORD_HEADER_LEN - self.filled,
            short => short - self.filled,
        }
    }

    /// Whether everything received has been handed on, so that [`Direct`] can go on from here.
    pub(crate) fn is_handed_on(&self) -> bool {
        self.given == self.filled
    }

    /// Notes what was received past this buffer, at most [what was wanted](Self::wanted). Only headers
    /// are kept.
    fn note(&mut self, bytes: &[u8]) {
        if self.buffer.len() < RECORD_HEADER_LEN {
            self.buffer.resize(RECORD_HEADER_LEN, 0);
        }
        let early = if self.filled < RECORD_HEADER_LEN {
            self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
            self.filled += bytes.len();
            &[][..]
        } else {
            let (own, early) = bytes.split_at(bytes.len().min(self.end() - self.filled));
            self.filled += own.len();
            early
        };
        if self.is_complete() {
            self.buffer[..early.len()].copy_from_slice(early);
            self.filled = early.len();
        }
        self.given = self.filled;
    }

    /// Says how much of [`Self::spare`] was filled.
    pub(crate) fn received(&mut self, len: usize) {
        self.filled += len;
    }

    /// What was not handed on yet. That the next header is part of it keeps rustls from giving its
    /// buffer back after each record, and from growing it again in steps.
    pub(crate) fn news(&self) -> &[u8] {
        &self.buffer[self.given..self.filled]
    }

    /// Goes on to the next record, once all was handed on.
    pub(crate) fn next(&mut self) {
        let end = self.end();
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
        self.given = self.filled;
    }

    /// The least plaintext of the record whose header is there, if one is.
    pub(crate) fn announced(&self) -> Option<usize> {
        match self.end() {
            RECORD_HEADER_LEN => None,
            end => Some(end.saturating_sub(RECORD_HEADER_LEN + OVERHEAD)),
        }
    }
}

/// Receives right into the buffer of rustls, which saves a copy, and never more than the rest of a
/// record and the next header.
pub(crate) struct Direct<'a> {
    pub(crate) record: &'a mut IncomingRecord,
    pub(crate) fd: Fd,
    /// Whether the record has come to its end.
    pub(crate) finished: bool,
}

impl Read for Direct<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.record.wanted().min(buffer.len());
        match self.fd.receive(&mut buffer[..len]) {
            Received::Bytes(len) => {
                let within = self.record.filled;
                self.record.note(&buffer[..len]);
                self.finished = self.record.filled < within + len;
                Ok(len)
            }
            Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Received::End => Ok(0),
            Received::Error(error) => Err(error),
        }
    }
}
