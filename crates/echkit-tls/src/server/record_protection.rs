//! Record protection: lets EncryptedExtensions grow by the retry_configs on their way out, and pads
//! the server's first encrypted flight.

use std::sync::Arc;

use echkit_proto::tls_record::MAX_PLAINTEXT;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error};

use super::interpose::{self, Mode, Shared};
use super::transcript::grow;
use crate::record_opener;

/// A suite's record protection, wrapped.
pub(super) struct RecordProtection(pub(super) &'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for RecordProtection {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        let raw = self.0.encrypter(key, iv);
        let Some(shared) = interpose::current() else {
            return raw;
        };
        let mut state = shared.lock();
        // The handshake key is made between ServerHello and EncryptedExtensions.
        let wanted = matches!(state.mode, Mode::Reject { .. }) || state.padding.step > 0;
        if !wanted || !state.server_hello || state.encrypted_extensions {
            return raw;
        }
        state.encrypters += 1;
        let number = state.encrypters;
        drop(state);
        Box::new(Encrypter {
            raw,
            shared,
            number,
        })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        record_opener::shared(self.0.decrypter(key, iv))
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// The encrypter of the server's handshake key.
struct Encrypter {
    raw: Box<dyn MessageEncrypter>,
    shared: Arc<Shared>,
    number: u32,
}

impl MessageEncrypter for Encrypter {
    fn encrypt(
        &mut self,
        msg: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        if msg.typ != ContentType::Handshake {
            return self.raw.encrypt(msg, seq);
        }
        let mut state = self.shared.lock();
        let mut payload = Vec::with_capacity(msg.payload.len());
        msg.payload.copy_to_vec(&mut payload);
        // Only the encrypter made last can carry what the transcript grew.
        if let (0, Some(head), true) = (seq, state.grown, state.encrypters == self.number) {
            // No `Err` here, ever: rustls takes it for impossible. The handshake is ended after
            // the call instead.
            match with_extension(&payload, &head, &state.mode) {
                Some(extended) => {
                    state.inserted = true;
                    payload = extended;
                }
                None => state.failed = true,
            }
        }
        let zeros = state.padding.after(payload.len());
        drop(state);
        let mut typ = msg.typ;
        if zeros > 0 {
            // TLSInnerPlaintext (RFC 8446 §5.2) is content, type, zeros. rustls writes what it
            // takes for the type behind what it takes for the content: the last of the zeros.
            payload.push(typ.into());
            payload.resize(payload.len() + zeros - 1, 0);
            typ = ContentType::Unknown(0);
        }
        self.raw.encrypt(
            OutboundPlainMessage {
                typ,
                version: msg.version,
                payload: OutboundChunks::Single(&payload),
            },
            seq,
        )
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.raw.encrypted_payload_len(payload_len)
    }
}

/// A record that begins with EncryptedExtensions, with the extension in it. `None` when it begins
/// otherwise, or would be longer than a record may be (RFC 8446 §5.1).
fn with_extension(payload: &[u8], head: &[u8; 6], mode: &Mode) -> Option<Vec<u8>> {
    let Mode::Reject { extension } = mode else {
        return None;
    };
    let rest = payload.strip_prefix(head)?;
    let (_, grown) = grow(payload, extension.len())?;
    let extended = [&grown[..], extension, rest].concat();
    (extended.len() <= MAX_PLAINTEXT).then_some(extended)
}
