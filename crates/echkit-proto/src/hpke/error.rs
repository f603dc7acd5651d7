//! Why an HPKE operation fails.

use super::suite::{Kem, Suite};

/// The longest `info` that is taken. HPKE puts no bound on it (RFC 9180 §7.2.1) and other
/// implementations end at 16 bits; `info` is a prefix and an ECHConfig, which another party may
/// have written, so that it is refused well before.
pub const MAX_INFO: usize = 0x8000;

/// An HPKE operation has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HpkeError {
    /// A KEM, KDF or AEAD that this build does not implement.
    #[error("the HPKE suite {0} is not implemented")]
    UnknownSuite(Suite),
    /// A KEM that this build does not implement.
    #[error("the KEM {0} is not implemented")]
    UnknownKem(Kem),
    /// `info` is longer than [`MAX_INFO`].
    #[error("HPKE info of {0} bytes is longer than {MAX_INFO}")]
    InfoTooLong(usize),
    /// Not a public key of the KEM, or one with which no secret can be shared.
    #[error("invalid {0} public key")]
    PublicKey(Kem),
    /// Not a private key of the KEM.
    #[error("invalid {0} private key")]
    PrivateKey(Kem),
    /// Not an encapsulated key of the KEM, or one with which no secret can be shared.
    #[error("invalid {0} encapsulated key")]
    EncapsulatedKey(Kem),
    /// The sealed bytes, their associated data or their place in the sequence were changed.
    #[error("HPKE decryption failed")]
    Open,
    /// The context has sealed or opened all messages that it may (RFC 9180 §5.2).
    #[error("the HPKE context has reached its message limit")]
    MessageLimit,
    /// The cryptography library failed: out of memory or randomness.
    #[error("the cryptography library returned an error")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for HpkeError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}
