//! ClientHello messages in a stream of TLS records (RFC 8446 §5.1).
//!
//! [`HelloReader`] puts together the hello that a server waits for. [`HelloObserver`] watches
//! everything that a client sends, and hands out each hello before its last byte leaves.

use super::{CLIENT_HELLO, HANDSHAKE_HEADER_LEN};

/// Content type `change_cipher_spec`.
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type `alert`.
pub const ALERT: u8 = 21;
/// Content type `handshake`.
pub const HANDSHAKE: u8 = 22;
/// Content type `application_data`.
pub const APPLICATION_DATA: u8 = 23;

/// The length of a record's header.
pub const RECORD_HEADER_LEN: usize = 5;
/// The most that a plaintext record holds (RFC 8446 §5.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// The most that any record holds (RFC 8446 §5.2, RFC 5246 §6.2.3).
pub const MAX_RECORD: usize = MAX_PLAINTEXT + 2048;
/// The most that an encrypted record of TLS 1.3 holds (RFC 8446 §5.2).
pub const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 256;
/// The longest hello that is put together. It is also the longest handshake message that rustls
/// accepts.
pub const MAX_HELLO: usize = 0xffff;

/// Wraps a handshake message in plaintext records of at most `max` bytes of content.
pub fn wrap_handshake(message: &[u8], max: usize) -> Vec<u8> {
    let max = max.clamp(1, MAX_PLAINTEXT);
    let mut out = Vec::with_capacity(message.len() + RECORD_HEADER_LEN * 5);
    for fragment in message.chunks(max) {
        // legacy_record_version (RFC 8446 §5.1); `clamp` keeps the length in 16 bits.
        out.extend_from_slice(&[HANDSHAKE, 3, 3]);
        out.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
        out.extend_from_slice(fragment);
    }
    out
}

/// A header of five bytes, as far as it has come.
#[derive(Clone, Debug, Default)]
struct Header {
    bytes: [u8; RECORD_HEADER_LEN],
    have: usize,
}

impl Header {
    /// Takes what it lacks from `input`; `None` until whole. Then it is ready for the next one.
    fn take(&mut self, input: &mut &[u8]) -> Option<(u8, usize)> {
        let n = (RECORD_HEADER_LEN - self.have).min(input.len());
        let (head, rest) = input.split_at(n);
        self.bytes[self.have..self.have + n].copy_from_slice(head);
        self.have += n;
        *input = rest;
        if self.have < RECORD_HEADER_LEN {
            return None;
        }
        self.have = 0;
        let len = u16::from_be_bytes([self.bytes[3], self.bytes[4]]);
        Some((self.bytes[0], len.into()))
    }
}

/// One handshake message on its way in.
#[derive(Clone, Debug, Default)]
struct Partial {
    message: Vec<u8>,
}

impl Partial {
    /// The whole length by the handshake header, once that is there.
    fn wanted(&self) -> Option<usize> {
        let header = self.message.get(1..HANDSHAKE_HEADER_LEN)?;
        let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        Some(HANDSHAKE_HEADER_LEN + len as usize)
    }

    /// Takes from `input` what still belongs to the message, and returns it when it is whole.
    fn take(&mut self, input: &mut &[u8], max: usize) -> Result<Option<Vec<u8>>, RecordError> {
        loop {
            let lacking = match self.wanted() {
                Some(wanted) if wanted > max => return Err(RecordError::TooLong(wanted)),
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
                return Err(RecordError::NotClientHello);
            }
        }
    }
}

/// Puts one ClientHello together from plaintext handshake records.
///
/// Work is linear in the bytes fed, however they are cut.
#[derive(Clone, Debug)]
pub struct HelloReader {
    header: Header,
    left: usize,
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
            header: Header::default(),
            left: 0,
            partial: Partial::default(),
            max,
        }
    }

    /// Whether no byte of a record or message is held: the next byte fed begins a record.
    pub fn is_idle(&self) -> bool {
        self.header.have == 0 && self.left == 0 && self.partial.message.is_empty()
    }

    /// Reads on. Returns how many bytes of `input` were taken, and the message (with its
    /// handshake header) once whole; then the record that held its end is used up too.
    ///
    /// # Errors
    ///
    /// When the stream cannot become a ClientHello. The reader is of no use afterwards.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), RecordError> {
        let mut rest = input;
        loop {
            if self.left == 0 {
                let Some((content, len)) = self.header.take(&mut rest) else {
                    return Ok((input.len(), None));
                };
                match (content, len) {
                    (HANDSHAKE, 0) => return Err(RecordError::Empty),
                    (HANDSHAKE, 1..=MAX_PLAINTEXT) => self.left = len,
                    (HANDSHAKE, _) => return Err(RecordError::Overflow(len)),
                    (other, _) => return Err(RecordError::NotHandshake(other)),
                }
            }
            let (mut body, after) = rest.split_at(self.left.min(rest.len()));
            let taken = body.len();
            rest = after;
            if taken == 0 {
                return Ok((input.len(), None));
            }
            let message = self.partial.take(&mut body, self.max)?;
            self.left -= taken;
            if let Some(message) = message {
                // A hello ends its record: keys may change right after (RFC 8446 §5.1).
                return match (self.left, body.is_empty()) {
                    (0, true) => Ok((input.len() - rest.len(), Some(message))),
                    _ => Err(RecordError::Trailing),
                };
            }
        }
    }
}

/// Watches the bytes that a client sends, and hands out each ClientHello among them.
///
/// It looks at plaintext handshake records, lets every other record pass, and stops looking when
/// something else than a ClientHello comes: then no further hello can follow.
#[derive(Clone, Debug)]
pub struct HelloObserver {
    header: Header,
    content: u8,
    left: usize,
    partial: Partial,
    max: usize,
    done: bool,
}

impl Default for HelloObserver {
    fn default() -> Self {
        Self::new(MAX_HELLO)
    }
}

impl HelloObserver {
    /// An observer that holds at most `max` bytes of a hello.
    pub fn new(max: usize) -> Self {
        Self {
            header: Header::default(),
            content: 0,
            left: 0,
            partial: Partial::default(),
            max,
            done: false,
        }
    }

    /// Whether the bytes fed so far end inside a ClientHello: a guard then waits for the rest.
    pub fn is_inside_hello(&self) -> bool {
        !self.done && !self.partial.message.is_empty()
    }

    /// Takes the next bytes of the stream, and returns the hellos that ended in them, as
    /// handshake messages. A hello longer than the limit ends the watch like anything foreign.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut hellos = Vec::new();
        let mut rest = bytes;
        while !self.done && !rest.is_empty() {
            if self.left == 0 {
                let Some((content, len)) = self.header.take(&mut rest) else {
                    break;
                };
                self.content = content;
                self.left = len;
                continue;
            }
            let (mut body, after) = rest.split_at(self.left.min(rest.len()));
            self.left -= body.len();
            rest = after;
            while self.content == HANDSHAKE && !body.is_empty() && !self.done {
                match self.partial.take(&mut body, self.max) {
                    Ok(Some(message)) => hellos.push(message),
                    Ok(None) => {}
                    Err(_) => self.done = true,
                }
            }
        }
        hellos
    }
}

/// A stream of records that cannot become a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A record of another content type.
    #[error("a record of content type {0} came where a ClientHello belongs")]
    NotHandshake(u8),
    /// Another handshake message.
    #[error("another handshake message came where a ClientHello belongs")]
    NotClientHello,
    /// A handshake record without content (RFC 8446 §5.1 forbids it).
    #[error("an empty handshake record")]
    Empty,
    /// A record longer than any may be (RFC 8446 §5.1 answers it with record_overflow).
    #[error("a record of {0} bytes is longer than TLS allows")]
    Overflow(usize),
    /// A message over its limit.
    #[error("a message of {0} bytes is over the limit")]
    TooLong(usize),
    /// Bytes after the hello in its record.
    #[error("bytes follow the ClientHello in its record")]
    Trailing,
}

#[cfg(test)]
mod tests;
