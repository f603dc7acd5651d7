//! How a server tells the client that it accepted (RFC 9849 §7.2): eight bytes in the
//! ServerHello's random, or in an extension of the HelloRetryRequest.

use std::ops::Range;

use crate::codec::Reader;
use crate::hello::extension::ENCRYPTED_CLIENT_HELLO;

/// The handshake type `server_hello` (RFC 8446 §4); a HelloRetryRequest has it too.
pub const SERVER_HELLO: u8 = 2;

/// The length of a confirmation.
pub const CONFIRMATION_LEN: usize = 8;

/// The random that makes a ServerHello a HelloRetryRequest (RFC 8446 §4.1.3).
const HRR_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Header, legacy_version: where the random of a ServerHello lies.
const RANDOM: Range<usize> = 6..38;

/// Whether a handshake message is a HelloRetryRequest.
pub fn is_hello_retry_request(message: &[u8]) -> bool {
    message.first() == Some(&SERVER_HELLO) && message.get(RANDOM) == Some(&HRR_RANDOM[..])
}

/// A ServerHello or HelloRetryRequest with zeros where its confirmation goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    message: Vec<u8>,
    at: usize,
    label: &'static [u8],
}

impl Unconfirmed {
    /// Makes place for the confirmation in a message as a server without ECH writes it. `None`
    /// when it is not such a message, or already has an ECH extension.
    pub fn new(message: &[u8]) -> Option<Self> {
        if message.first() != Some(&SERVER_HELLO) {
            return None;
        }
        match is_hello_retry_request(message) {
            true => Self::hello_retry_request(message),
            false => Self::server_hello(message),
        }
    }

    /// RFC 9849 §7.2: the last eight bytes of the random.
    fn server_hello(message: &[u8]) -> Option<Self> {
        let at = RANDOM.end - CONFIRMATION_LEN;
        let mut message = message.to_vec();
        message.get_mut(at..RANDOM.end)?.fill(0);
        Some(Self {
            message,
            at,
            label: b"ech accept confirmation",
        })
    }

    /// RFC 9849 §7.2.1: an extension, added at the end.
    fn hello_retry_request(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        reader.bytes(RANDOM.end).ok()?;
        reader.vec8().ok()?;
        reader.bytes(2 + 1).ok()?;
        let block_at = reader.position();
        let block = reader.vec16().ok().filter(|_| reader.is_empty())?;
        let mut extensions = Reader::new(block);
        while !extensions.is_empty() {
            if extensions.u16().ok()? == ENCRYPTED_CLIENT_HELLO {
                return None;
            }
            extensions.vec16().ok()?;
        }

        let mut message = message.to_vec();
        message.extend_from_slice(&ENCRYPTED_CLIENT_HELLO.to_be_bytes());
        message.extend_from_slice(&(CONFIRMATION_LEN as u16).to_be_bytes());
        let at = message.len();
        message.extend_from_slice(&[0; CONFIRMATION_LEN]);
        let added = message.len() - block_at - 2;
        message[block_at..block_at + 2].copy_from_slice(&u16::try_from(added).ok()?.to_be_bytes());
        let len = u32::try_from(message.len() - 4).ok()?;
        message[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
        Some(Self {
            message,
            at,
            label: b"hrr ech accept confirmation",
        })
    }

    /// The message with zeros, as it enters the transcript hash of the confirmation.
    pub fn bytes(&self) -> &[u8] {
        &self.message
    }

    /// Writes the confirmation and returns the message to send.
    ///
    /// `hkdf` is that of the negotiated suite: HKDF-Extract with zeros for a salt from its first
    /// argument, then HKDF-Expand with the second, in parts, over the third; `None` when it fails.
    /// `inner_random` is the random of the first ClientHelloInner; `transcript_hash` covers the
    /// handshake up to and with
    /// [`bytes`](Self::bytes).
    pub fn confirm(
        mut self,
        hkdf: impl FnOnce(&[u8], &[&[u8]], &mut [u8]) -> Option<()>,
        inner_random: &[u8; 32],
        transcript_hash: &[u8],
    ) -> Option<Vec<u8>> {
        let value = confirmation(hkdf, inner_random, self.label, transcript_hash)?;
        self.message[self.at..self.at + CONFIRMATION_LEN].copy_from_slice(&value);
        Some(self.message)
    }
}

/// `HKDF-Expand-Label(HKDF-Extract(0, random), label, transcript_hash, 8)`.
fn confirmation(
    hkdf: impl FnOnce(&[u8], &[&[u8]], &mut [u8]) -> Option<()>,
    inner_random: &[u8; 32],
    label: &[u8],
    transcript_hash: &[u8],
) -> Option<[u8; CONFIRMATION_LEN]> {
    const PREFIX: &[u8] = b"tls13 ";
    let label_len = u8::try_from(PREFIX.len() + label.len()).ok()?;
    let context_len = u8::try_from(transcript_hash.len()).ok()?;
    let mut value = [0; CONFIRMATION_LEN];
    let info = [
        &(CONFIRMATION_LEN as u16).to_be_bytes(),
        &[label_len][..],
        PREFIX,
        label,
        &[context_len],
        transcript_hash,
    ];
    hkdf(inner_random, &info, &mut value)?;
    Some(value)
}

#[cfg(test)]
mod tests;
