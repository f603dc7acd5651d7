//! LabeledExtract and LabeledExpand (RFC 9180 §4).

use aws_lc_rs::hkdf::{self, KeyType, Prk};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::error::HpkeError;
use super::suite::Kdf;

const VERSION: &[u8] = b"HPKE-v1";

/// The output of SHA-512, the longest hash.
pub(super) const MAX_HASH: usize = 64;

/// A KDF bound to the suite_id of a KEM or of a whole suite.
pub(super) struct LabeledKdf<'a> {
    algorithm: hkdf::Algorithm,
    suite_id: &'a [u8],
}

/// The output of an extraction or expansion, zeroized after use.
pub(super) struct Secret {
    bytes: Zeroizing<[u8; MAX_HASH]>,
    len: usize,
}

impl Secret {
    /// Zeros to write a secret over, as many as the longest hash has at most.
    pub(super) fn zeros(len: usize) -> Self {
        Self {
            bytes: Zeroizing::new([0; MAX_HASH]),
            len: len.min(MAX_HASH),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl<'a> LabeledKdf<'a> {
    /// `None` for a KDF that is not implemented.
    pub(super) fn new(kdf: Kdf, suite_id: &'a [u8]) -> Option<Self> {
        let algorithm = match kdf {
            Kdf::HKDF_SHA256 => hkdf::HKDF_SHA256,
            Kdf::HKDF_SHA384 => hkdf::HKDF_SHA384,
            Kdf::HKDF_SHA512 => hkdf::HKDF_SHA512,
            _ => return None,
        };
        Some(Self {
            algorithm,
            suite_id,
        })
    }

    /// The length of the hash.
    pub(super) fn hash_len(&self) -> usize {
        self.algorithm.len()
    }

    /// `LabeledExtract(salt, label, ikm)`. HKDF-Extract is HMAC with the salt as its key
    /// (RFC 5869 §2.2).
    pub(super) fn extract(
        &self,
        salt: &[u8],
        label: &[u8],
        ikm: &[u8],
    ) -> Result<Secret, HpkeError> {
        let parts = [VERSION, self.suite_id, label, ikm];
        // Room for all at once: a buffer that grows leaves copies of `ikm` behind.
        let mut labeled = Zeroizing::new(Vec::with_capacity(parts.iter().map(|p| p.len()).sum()));
        parts
            .iter()
            .for_each(|part| labeled.extend_from_slice(part));
        let key = hmac::Key::new(self.algorithm.hmac_algorithm(), salt);
        let mut prk = Secret::zeros(self.hash_len());
        hmac::sign_to_buffer(&key, &labeled, prk.as_mut_slice())?;
        Ok(prk)
    }

    /// The pseudorandom key of [`expand`](Self::expand).
    pub(super) fn prk(&self, prk: &Secret) -> Prk {
        Prk::new_less_safe(self.algorithm, prk.as_slice())
    }

    /// `LabeledExpand(prk, label, info, L)`, L being the length of `out`.
    pub(super) fn expand(
        &self,
        prk: &Prk,
        label: &[u8],
        info: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), HpkeError> {
        let len = u16::try_from(out.len()).map_err(|_| HpkeError::Library)?;
        let len = len.to_be_bytes();
        let mut parts = vec![&len[..], VERSION, self.suite_id, label];
        parts.extend_from_slice(info);
        prk.expand(&parts, OutputLen(out.len()))?.fill(out)?;
        Ok(())
    }
}

/// How many bytes to expand to.
struct OutputLen(usize);

impl KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
