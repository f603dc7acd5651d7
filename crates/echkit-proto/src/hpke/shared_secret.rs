//! The secret that a KEM gives both sides.

use std::fmt;

use super::kdf::{MAX_HASH, Secret};

/// `shared_secret` of a KEM (RFC 9180 §4): it opens what is sealed under its
/// encapsulated key. Zeroized on drop.
pub struct SharedSecret(pub(super) Secret);

impl SharedSecret {
    /// A secret read from a key log; `None` when it is longer than any KEM's.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_HASH {
            return None;
        }
        let mut secret = Secret::zeros(bytes.len());
        secret.as_mut_slice().copy_from_slice(bytes);
        Some(Self(secret))
    }

    /// The secret, for a key log.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Shows no secret.
impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}
