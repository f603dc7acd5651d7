//! Why a key file is refused.

use crate::config::ConfigListError;

/// A file is not one of RFC 9934.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// No PEM at all.
    #[error(
        "not a PEM file; ECH keys are read from PEM with a PRIVATE KEY and an ECHCONFIG block (RFC 9934)"
    )]
    NotPem,
    /// No `ECHCONFIG` block.
    #[error("it has no ECHCONFIG block (RFC 9934); make one with `ech keygen` or `openssl ech`")]
    NoEchConfig,
    /// A block has no end, or is not base64.
    #[error("its {0} block is malformed")]
    BrokenBlock(&'static str),
    /// RFC 9934 files hold the private key unencrypted.
    #[error("its private key is encrypted; ECH key files hold it in plain PKCS#8 (RFC 9934)")]
    Encrypted,
    /// Not PKCS#8, or of another kind of key.
    #[error("its private key {0}")]
    PrivateKey(String),
    /// The private key belongs to none of the configs.
    #[error("its private key matches none of its ECHConfigs")]
    Mismatch,
    /// The ECHCONFIG block is not an ECHConfigList.
    #[error(transparent)]
    List(#[from] ConfigListError),
}
