//! Where records begin and end in what is received.

const HEADER: usize = 5;
/// Longest record (RFC 8446 §5.2); TLS 1.2 allows more (RFC 5246 §6.2.3).
const MAX_BODY: usize = 16_384 + 2_048;
/// After a record of this length the next header is received with it, which saves a system call.
/// After a shorter one nothing is: it may be close_notify (24 bytes), and what follows no TLS.
const LONG: usize = 4_096;
/// What a record adds to its plaintext at most: a nonce and a tag (RFC 5288 §3).
const OVERHEAD: usize = 24;

/// The record that is being received, and after a long one the header of the next.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Grows to the longest record, so that it is not filled with zeros each time.
    buffer: Vec<u8>,
    filled: usize,
    /// How much of it was handed on before: the header that came early.
    given: usize,
}

impl Record {
    /// How long the record is, as far as is known: its header first.
    fn end(&self) -> usize {
        let Some(header) = self.buffer[..self.filled].first_chunk::<HEADER>() else {
            return HEADER;
        };
        let body = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // What is no TLS goes to rustls as it is, to be refused.
        match (20..=23).contains(&header[0]) && header[1] == 3 && body <= MAX_BODY {
            true => HEADER + body,
            false => HEADER,
        }
    }

    /// Whether all of it is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.filled >= self.end()
    }

    /// Where to receive what is missing.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        let end = match self.end() {
            long if long > LONG => long + HEADER,
            short => short,
        };
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.filled..end]
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
            HEADER => None,
            end => Some(end.saturating_sub(HEADER + OVERHEAD)),
        }
    }
}
