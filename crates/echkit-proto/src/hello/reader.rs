//! Puts a ClientHello together from a stream of TLS records (RFC 8446 §5.1).

use super::{CLIENT_HELLO, HANDSHAKE_HEADER_LEN, handshake_len};
use crate::alert::Alert;
use crate::tls_record::{HANDSHAKE, MAX_PLAINTEXT, RecordPart, RecordWalker};

/// The longest hello that is put together. It is also the longest handshake message that rustls
/// accepts.
pub const MAX_HELLO: usize = 0xffff;

/// One handshake message on its way in.
#[derive(Clone, Debug, Default)]
struct Partial {
    message: Vec<u8>,
}

impl Partial {
    /// Takes from `input` what still belongs to the message, and returns it when it is whole.
    fn take(&mut self, input: &mut &[u8], max: usize) -> Result<Option<Vec<u8>>, HelloReadError> {
        loop {
            let lacking = match handshake_len(&self.message) {
                Some(wanted) if wanted > max => return Err(HelloReadError::TooLong(wanted)),
                Some(wanted) if wanted == self.message.len() => {
                    return Ok(Some(std::mem::take(&mut self.message)));
                }
                Some(wanted) => wanted - self.message.len(),
                None => HANDSHAKE_HEADER_LEN - self.message.len(),
            };
            if input.is_empty() {
                return Ok(None);
            }
            let (head, rest) = input.split_at(lacking.min(input.len()));
            self.message.extend_from_slice(head);
            *input = rest;
            if self.message.first().is_some_and(|t| *t != CLIENT_HELLO) {
                return Err(HelloReadError::NotClientHello);
            }
        }
    }
}

/// Puts one ClientHello together from plaintext handshake records.
///
/// Work is linear in the bytes fed, however they are cut.
#[derive(Clone, Debug)]
pub struct HelloReader {
    walker: RecordWalker,
    partial: Partial,
    max: usize,
}

impl Default for HelloReader {
    fn default() -> Self {
        Self::new(MAX_HELLO)
    }
}

impl HelloReader {
    /// A reader that refuses hellos of more than `max` bytes, handshake header included.
    pub fn new(max: usize) -> Self {
        Self {
            walker: RecordWalker::default(),
            partial: Partial::default(),
            max,
        }
    }

    /// Whether no byte of a record or message is held: the next byte fed begins a record.
    pub fn is_idle(&self) -> bool {
        self.walker.is_between_records() && self.partial.message.is_empty()
    }

    /// Reads on. Returns how many bytes of `input` were taken, and the message (with its
    /// handshake header) once whole; then the record that held its end is used up too.
    ///
    /// # Errors
    ///
    /// When the stream cannot become a ClientHello. Do not read on with this reader then.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), HelloReadError> {
        let mut rest = input;
        while let Some(part) = self.walker.take(&mut rest) {
            let mut content = match part {
                RecordPart::Content(content) => content,
                RecordPart::Header(header) => {
                    match (header.content_type, usize::from(header.len)) {
                        (HANDSHAKE, 0) => return Err(HelloReadError::Empty),
                        (HANDSHAKE, 1..=MAX_PLAINTEXT) => continue,
                        (HANDSHAKE, len) => return Err(HelloReadError::Overflow(len)),
                        (other, _) => return Err(HelloReadError::NotHandshake(other)),
                    }
                }
            };
            let Some(message) = self.partial.take(&mut content, self.max)? else {
                continue;
            };
            // A hello ends its record: keys may change right after (RFC 8446 §5.1).
            return match self.walker.is_between_records() && content.is_empty() {
                true => Ok((input.len() - rest.len(), Some(message))),
                false => Err(HelloReadError::Trailing),
            };
        }
        Ok((input.len(), None))
    }
}

/// A stream of records that cannot become a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloReadError {
    /// A record of another content type.
    #[error("expected a ClientHello, got a record of content type {0}")]
    NotHandshake(u8),
    /// Another handshake message.
    #[error("expected a ClientHello, got another handshake message")]
    NotClientHello,
    /// A handshake record without content (RFC 8446 §5.1 forbids it).
    #[error("an empty handshake record")]
    Empty,
    /// A record longer than any may be (RFC 8446 §5.1 answers it with record_overflow).
    #[error("a record of {0} bytes exceeds the limit of TLS")]
    Overflow(usize),
    /// A message over its limit.
    #[error("a handshake message of {0} bytes exceeds the limit")]
    TooLong(usize),
    /// Bytes after the hello in its record.
    #[error("bytes follow the ClientHello in its record")]
    Trailing,
}

impl HelloReadError {
    /// The alert to abort with (RFC 8446 §5.1, §6.2).
    pub fn alert(&self) -> Alert {
        match self {
            Self::Overflow(_) => Alert::RECORD_OVERFLOW,
            Self::TooLong(_) => Alert::DECODE_ERROR,
            Self::NotHandshake(_) | Self::NotClientHello | Self::Empty | Self::Trailing => {
                Alert::UNEXPECTED_MESSAGE
            }
        }
    }
}

#[cfg(test)]
mod tests;
