//! Record protection: lets EncryptedExtensions grow by the retry_configs on their way out.

use std::sync::Arc;

use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error};

use super::hash::grow;
use super::interpose::{self, Mode, Shared};

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
        let wanted = matches!(state.mode, Mode::Reject { .. });
        if !wanted || !state.server_hello || state.grown.is_some() {
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
        self.0.decrypter(key, iv)
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
        if seq != 0 || msg.typ != ContentType::Handshake {
            return self.raw.encrypt(msg, seq);
        }
        let mut state = self.shared.lock();
        // Only the encrypter made last can carry what the transcript grew.
        let (Some(head), true) = (state.grown, state.encrypters == self.number) else {
            drop(state);
            return self.raw.encrypt(msg, seq);
        };
        let mut payload = Vec::with_capacity(msg.payload.len());
        msg.payload.copy_to_vec(&mut payload);
        let extended = match &state.mode {
            Mode::Reject { extension } if payload.starts_with(&head) => {
                grow(&payload, extension.len())
                    .map(|(_, grown)| [&grown[..], extension, &payload[head.len()..]].concat())
            }
            _ => None,
        };
        // No `Err` here, ever: rustls takes it for impossible. The handshake is ended after the
        // call instead.
        match &extended {
            Some(_) => state.inserted = true,
            None => state.failed = true,
        }
        drop(state);
        let payload = extended.as_ref().unwrap_or(&payload);
        self.raw.encrypt(
            OutboundPlainMessage {
                typ: msg.typ,
                version: msg.version,
                payload: OutboundChunks::Single(payload),
            },
            seq,
        )
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.raw.encrypted_payload_len(payload_len)
    }
}
