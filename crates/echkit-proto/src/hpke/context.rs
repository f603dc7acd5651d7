//! The key schedule and the contexts that it makes (RFC 9180 §5.1, §5.2).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use zeroize::Zeroizing;

use super::error::HpkeError;
use super::kdf::{LabeledKdf, Secret};
use super::shared_secret::SharedSecret;
use super::suite::{Aead, Suite};

/// `mode_base` (RFC 9180 §5).
const MODE_BASE: u8 = 0x00;

/// The sender's context: seals messages in sequence.
pub struct SenderContext(Context);

impl SenderContext {
    pub(super) fn new(schedule: &KeySchedule, secret: &Secret) -> Result<Self, HpkeError> {
        Context::new(schedule, secret).map(Self)
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
    pub(super) fn new(schedule: &KeySchedule, secret: &Secret) -> Result<Self, HpkeError> {
        Context::new(schedule, secret).map(Self)
    }

    /// The context of a shared secret that is known, as from a key log (RFC 9850).
    ///
    /// # Errors
    ///
    /// When the cryptography library fails.
    pub fn with_secret(schedule: &KeySchedule, secret: &SharedSecret) -> Result<Self, HpkeError> {
        Self::new(schedule, &secret.0)
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

/// What the key schedule of a suite has in common for every message under one `info`. A receiver
/// computes it once for each of its configs.
#[derive(Clone)]
pub struct KeySchedule {
    suite: Suite,
    suite_id: [u8; SUITE_ID_LEN],
    /// `key_schedule_context` (RFC 9180 §5.1).
    context: Arc<[u8]>,
}

/// `HPKE` and three numbers (RFC 9180 §5.1).
const SUITE_ID_LEN: usize = 10;

impl KeySchedule {
    /// The part of `KeySchedule(mode_base, shared_secret, info, "", "")` (RFC 9180 §5.1) that
    /// needs no secret.
    ///
    /// # Errors
    ///
    /// When the suite is not implemented, or `info` is longer than [`MAX_INFO`](super::MAX_INFO).
    pub fn new(suite: Suite, info: &[u8]) -> Result<Self, HpkeError> {
        super::check(suite, info)?;
        let mut schedule = Self {
            suite,
            suite_id: suite_id(suite),
            context: Arc::default(),
        };
        let kdf = schedule.kdf()?;
        let psk_id_hash = kdf.extract(b"", b"psk_id_hash", b"")?;
        let info_hash = kdf.extract(b"", b"info_hash", info)?;
        let context = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()];
        schedule.context = context.concat().into();
        Ok(schedule)
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    fn kdf(&self) -> Result<LabeledKdf<'_>, HpkeError> {
        LabeledKdf::new(self.suite.sym.kdf, &self.suite_id)
            .ok_or(HpkeError::UnknownSuite(self.suite))
    }
}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySchedule").field(&self.suite).finish()
    }
}

fn suite_id(Suite { kem, sym }: Suite) -> [u8; SUITE_ID_LEN] {
    let mut id = *b"HPKE\0\0\0\0\0\0";
    for (bytes, number) in id[4..].chunks_mut(2).zip([kem.0, sym.kdf.0, sym.aead.0]) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
    id
}

impl Context {
    /// `KeySchedule(mode_base, shared_secret, info, "", "")` (RFC 9180 §5.1). The exporter secret
    /// is left out: ECH exports nothing.
    fn new(schedule: &KeySchedule, shared_secret: &Secret) -> Result<Self, HpkeError> {
        let algorithm =
            algorithm(schedule.suite.sym.aead).ok_or(HpkeError::UnknownSuite(schedule.suite))?;
        let kdf = schedule.kdf()?;
        let context = [&schedule.context[..]];
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

    /// `ComputeNonce(seq)`, and the sequence number to continue with. Its 64 bits end long before
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
            let schedule = KeySchedule::new(Suite::MANDATORY, b"info").unwrap();
            let mut context = Context::new(&schedule, &Secret::zeros(32)).unwrap();
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
