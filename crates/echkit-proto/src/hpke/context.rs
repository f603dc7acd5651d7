//! The key schedule and the contexts that it makes (RFC 9180 §5.1, §5.2).

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use zeroize::Zeroizing;

use super::error::HpkeError;
use super::kdf::{LabeledKdf, Secret};
use super::suite::{Aead, Suite};

/// `mode_base` (RFC 9180 §5).
const MODE_BASE: u8 = 0x00;

/// The sender's context: seals messages in sequence.
pub struct SenderContext(Context);

impl SenderContext {
    pub(super) fn new(suite: Suite, secret: &Secret, info: &[u8]) -> Result<Self, HpkeError> {
        Context::new(suite, secret, info).map(Self)
    }

    /// `ContextS.Seal(aad, pt)` (RFC 9180 §5.2). The result is longer than the plaintext by the
    /// tag.
    ///
    /// # Errors
    ///
    /// When the context has reached its message limit.
    pub fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, HpkeError> {
        let context = &mut self.0;
        let (nonce, next) = context.nonce()?;
        let tag_len = context.key.algorithm().tag_len();
        let mut sealed = Vec::with_capacity(plaintext.len() + tag_len);
        sealed.extend_from_slice(plaintext);
        context
            .key
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)?;
        context.sequence = next;
        Ok(sealed)
    }
}

/// The receiver's context: opens messages in sequence.
pub struct ReceiverContext(Context);

impl ReceiverContext {
    pub(super) fn new(suite: Suite, secret: &Secret, info: &[u8]) -> Result<Self, HpkeError> {
        Context::new(suite, secret, info).map(Self)
    }

    /// `ContextR.Open(aad, ct)` (RFC 9180 §5.2). What does not open leaves the sequence as it is.
    ///
    /// # Errors
    ///
    /// When the message does not open, or the context has reached its message limit.
    pub fn open(&mut self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, HpkeError> {
        let context = &mut self.0;
        let (nonce, next) = context.nonce()?;
        let mut opened = sealed.to_vec();
        let len = context
            .key
            .open_in_place(nonce, Aad::from(aad), &mut opened)
            .map_err(|_| HpkeError::Open)?
            .len();
        opened.truncate(len);
        context.sequence = next;
        Ok(opened)
    }
}

/// Shows no key.
impl fmt::Debug for SenderContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderContext").finish_non_exhaustive()
    }
}

/// Shows no key.
impl fmt::Debug for ReceiverContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverContext").finish_non_exhaustive()
    }
}

/// What both contexts hold.
struct Context {
    key: LessSafeKey,
    base_nonce: Zeroizing<[u8; NONCE_LEN]>,
    sequence: u64,
}

impl Context {
    /// `KeySchedule(mode_base, shared_secret, info, "", "")` (RFC 9180 §5.1). The exporter secret
    /// is left out: ECH exports nothing.
    fn new(suite: Suite, shared_secret: &Secret, info: &[u8]) -> Result<Self, HpkeError> {
        let Suite { kem, sym } = suite;
        let [kem, kdf, aead] = [kem.0, sym.kdf.0, sym.aead.0].map(u16::to_be_bytes);
        let suite_id = [b"HPKE", &kem[..], &kdf, &aead].concat();
        let unknown = HpkeError::UnknownSuite(suite);
        let algorithm = algorithm(sym.aead).ok_or(unknown)?;
        let kdf = LabeledKdf::new(sym.kdf, &suite_id).ok_or(unknown)?;

        let psk_id_hash = kdf.extract(b"", b"psk_id_hash", b"")?;
        let info_hash = kdf.extract(b"", b"info_hash", info)?;
        let context = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()];
        let secret = kdf.extract(shared_secret.as_slice(), b"secret", b"")?;
        let secret = kdf.prk(&secret);

        let mut key = Secret::zeros(algorithm.key_len());
        kdf.expand(&secret, b"key", &context, key.as_mut_slice())?;
        let mut base_nonce = Zeroizing::new([0; NONCE_LEN]);
        kdf.expand(&secret, b"base_nonce", &context, &mut base_nonce[..])?;
        Ok(Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key.as_slice())?),
            base_nonce,
            sequence: 0,
        })
    }

    /// `ComputeNonce(seq)`, and the sequence number to go on with. Its 64 bits end long before
    /// the 96 that RFC 9180 §5.2 allows.
    fn nonce(&self) -> Result<(Nonce, u64), HpkeError> {
        let next = self
            .sequence
            .checked_add(1)
            .ok_or(HpkeError::MessageLimit)?;
        let mut nonce = *self.base_nonce;
        let tail = &mut nonce[NONCE_LEN - size_of::<u64>()..];
        for (byte, number) in tail.iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        Ok((Nonce::assume_unique_for_key(nonce), next))
    }
}

fn algorithm(aead: Aead) -> Option<&'static Algorithm> {
    match aead {
        Aead::AES_128_GCM => Some(&AES_128_GCM),
        Aead::AES_256_GCM => Some(&AES_256_GCM),
        Aead::CHACHA20_POLY1305 => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_context_at_its_message_limit_seals_and_opens_no_more() {
        let context = || {
            let mut context = Context::new(Suite::MANDATORY, &Secret::zeros(32), b"info").unwrap();
            context.sequence = u64::MAX - 1;
            context
        };
        let (mut sender, mut receiver) = (SenderContext(context()), ReceiverContext(context()));
        let sealed = sender.seal(b"", b"last").unwrap();
        assert_eq!(receiver.open(b"", &sealed).unwrap(), b"last");
        assert_eq!(sender.seal(b"", b"more"), Err(HpkeError::MessageLimit));
        assert_eq!(receiver.open(b"", &sealed), Err(HpkeError::MessageLimit));
    }
}
