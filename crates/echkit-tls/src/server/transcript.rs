//! The transcript hash: sees each handshake message as rustls adds it, and changes those that ECH
//! changes before they are hashed.
//!
//! rustls adds one whole message in one `update` (assumption `one_update_is_one_message`).

use std::sync::Arc;

use echkit_proto::accept::{SERVER_HELLO, Unconfirmed, is_hello_retry_request};
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::tls13::Hkdf;

use super::interpose::{self, Mode, Patch, Shared, State};

/// `encrypted_extensions` (RFC 8446 §4).
const ENCRYPTED_EXTENSIONS: u8 = 8;
/// `message_hash`, the synthetic message of RFC 8446 §4.4.1.
const MESSAGE_HASH: u8 = 254;

/// A suite's hash, wrapped.
pub(super) struct TranscriptHash {
    pub(super) raw: &'static dyn Hash,
    pub(super) hkdf: &'static dyn Hkdf,
}

impl Hash for TranscriptHash {
    fn start(&self) -> Box<dyn Context> {
        match interpose::current() {
            None => self.raw.start(),
            Some(shared) => Box::new(Transcript {
                raw: self.raw.start(),
                hkdf: self.hkdf,
                shared,
                stage: Stage::Fresh,
            }),
        }
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.raw.hash(data)
    }

    fn output_len(&self) -> usize {
        self.raw.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.raw.algorithm()
    }

    fn fips(&self) -> bool {
        self.raw.fips()
    }
}

/// How far a transcript has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was added.
    Fresh,
    /// It starts with the hello that this connection's rustls was given.
    Hello,
    /// It starts with the hash of a first hello.
    Rollup,
    /// A HelloRetryRequest was added; the second hello comes next.
    Retry,
    /// The ServerHello was added.
    ServerHello,
    /// Nothing is left to change, or it is another connection's.
    Pass,
}

/// A transcript that may be this connection's.
struct Transcript {
    raw: Box<dyn Context>,
    hkdf: &'static dyn Hkdf,
    shared: Arc<Shared>,
    stage: Stage,
}

impl Context for Transcript {
    fn fork_finish(&self) -> Output {
        self.raw.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self {
            raw: self.raw.fork(),
            hkdf: self.hkdf,
            shared: self.shared.clone(),
            stage: self.stage,
        })
    }

    fn finish(self: Box<Self>) -> Output {
        let output = self.raw.finish();
        if self.stage == Stage::Hello {
            self.shared.lock().rollup = Some(output.as_ref().to_vec());
        }
        output
    }

    fn update(&mut self, data: &[u8]) {
        // Empty updates happen, and a finished watch costs one comparison.
        if data.is_empty() || self.stage == Stage::Pass {
            return self.raw.update(data);
        }
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let kind = data[0];
        self.stage = match (self.stage, kind) {
            (Stage::Fresh | Stage::Retry, _) if data == state.expected_hello => Stage::Hello,
            (Stage::Fresh, MESSAGE_HASH) if state.rollup.as_deref() == data.get(4..) => {
                Stage::Rollup
            }
            (Stage::Hello, SERVER_HELLO) => {
                state.server_hello = true;
                return self.server_hello(&mut state, data, Stage::ServerHello);
            }
            (Stage::Rollup, SERVER_HELLO) if is_hello_retry_request(data) => {
                return self.server_hello(&mut state, data, Stage::Retry);
            }
            (Stage::ServerHello, ENCRYPTED_EXTENSIONS) => {
                self.stage = Stage::Pass;
                return self.encrypted_extensions(&mut state, data);
            }
            _ => Stage::Pass,
        };
        self.raw.update(data);
    }
}

impl Transcript {
    /// Adds a ServerHello or HelloRetryRequest, confirmed when ECH was accepted (RFC 9849 §7.2).
    fn server_hello(&mut self, state: &mut State, data: &[u8], next: Stage) {
        self.stage = next;
        let Mode::Accept { inner_random } = &state.mode else {
            return self.raw.update(data);
        };
        let patched = Unconfirmed::new(data).and_then(|unconfirmed| {
            let mut hash = self.raw.fork();
            hash.update(unconfirmed.bytes());
            let hkdf = |secret: &[u8], info: &[&[u8]], out: &mut [u8]| {
                let expander = self.hkdf.extract_from_secret(None, secret);
                expander.expand_slice(info, out).ok()
            };
            unconfirmed.confirm(hkdf, inner_random, hash.finish().as_ref())
        });
        let Some(patched) = patched else {
            // The wire layer finds no patch for this message and ends the handshake.
            state.failed = true;
            return self.raw.update(data);
        };
        self.raw.update(&patched);
        state.patches.push(Patch {
            original: data.to_vec(),
            patched,
        });
    }

    /// Adds EncryptedExtensions, with retry_configs at their head when ECH was rejected (§7.1).
    fn encrypted_extensions(&mut self, state: &mut State, data: &[u8]) {
        state.encrypted_extensions = true;
        let Mode::Reject { extension } = &state.mode else {
            return self.raw.update(data);
        };
        let Some((head, grown)) = grow(data, extension.len()) else {
            state.failed = true;
            return self.raw.update(data);
        };
        self.raw.update(&grown);
        self.raw.update(extension);
        self.raw.update(&data[head.len()..]);
        state.grown = Some(head);
    }
}

/// The first six bytes of EncryptedExtensions, as they are and as they are with `more` bytes of
/// extensions. `None` when the message has another form or would become too long.
pub(super) fn grow(message: &[u8], more: usize) -> Option<([u8; 6], [u8; 6])> {
    let head: [u8; 6] = message.get(..6)?.try_into().ok()?;
    let body = u32::from_be_bytes([0, head[1], head[2], head[3]]);
    let list = u16::from_be_bytes([head[4], head[5]]);
    let list = u16::try_from(usize::from(list) + more).ok()?;
    let body = u32::try_from(more).ok()?.checked_add(body)?;
    let (body, list) = (body.to_be_bytes(), list.to_be_bytes());
    let grown = [head[0], body[1], body[2], body[3], list[0], list[1]];
    (body[0] == 0).then_some((head, grown))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::interpose::Padding;
    use super::*;

    #[test]
    fn grows_both_lengths_of_encrypted_extensions() {
        let (head, grown) = grow(&[8, 0, 0, 2, 0, 0], 0x1234).unwrap();
        assert_eq!(head, [8, 0, 0, 2, 0, 0]);
        assert_eq!(grown, [8, 0, 0x12, 0x36, 0x12, 0x34]);
    }

    #[test]
    fn refuses_a_retry_extension_that_does_not_fit() {
        assert!(grow(&[8, 0, 0xff, 0xf2, 0xff, 0xf0], 15).is_some());
        assert!(grow(&[8, 0, 0xff, 0xf2, 0xff, 0xf0], 16).is_none());
        assert!(grow(&[8, 0, 0, 2, 0], 15).is_none());
    }

    /// Point 7 of the acceptance list: the handshake does not go on.
    #[test]
    fn an_oversized_retry_extension_fails_the_handshake() {
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let suite = suite.tls13().unwrap();
        let hash = TranscriptHash {
            raw: suite.common.hash_provider,
            hkdf: suite.hkdf_provider,
        };
        let extension = vec![0; 0x10000];
        let shared = Shared::new(
            Mode::Reject { extension },
            vec![1, 2, 3],
            Padding::default(),
        );
        let mut transcript = interpose::enter(Some(&shared), || hash.start());
        transcript.update(&[1, 2, 3]);
        transcript.update(&[2, 0, 0, 0]);
        assert!(!shared.lock().failed);
        transcript.update(&[8, 0, 0, 2, 0, 0]);
        assert!(shared.lock().failed);
    }
}
