//! The keys of an ECH server, and a handle to swap them while it runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{ConfigListError, EchConfigList};
use crate::hello::extension::ENCRYPTED_CLIENT_HELLO;
use crate::key::EchKey;

/// The longest retry_configs extension that is sent, type and length included: the record with
/// EncryptedExtensions has to hold it beside its certificate bytes.
pub const MAX_RETRY_EXTENSION: usize = 4096;

/// How many keys may share a config_id: each costs an HPKE operation before a client has proved
/// anything.
pub const MAX_SAME_ID: usize = 4;

/// What clients are sent whose offers no key opens.
#[derive(Clone, Debug, Default)]
enum Retry {
    /// Nothing was said about it.
    #[default]
    Unsaid,
    /// Nothing, on purpose.
    Nothing,
    /// These configs.
    Configs(EchConfigList),
}

/// A set of ECH keys, newest first.
///
/// ```
/// use echkit_proto::key::{EchKey, KeyParams};
/// use echkit_proto::server::{EchKeyHandle, EchKeys};
///
/// let old = EchKey::generate(&KeyParams::new("public.example")?.with_config_id(1))?;
/// let keys = EchKeyHandle::new(EchKeys::new(vec![old.clone()])?);
///
/// // A rotation: clients may hold the old config for as long as its record lives.
/// let new = EchKey::generate(&KeyParams::new("public.example")?.with_config_id(2))?;
/// keys.store(EchKeys::new(vec![new])?.with_retired(vec![old])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct EchKeys {
    keys: Vec<Arc<EchKey>>,
    retry: Retry,
    retry_extension: Option<Vec<u8>>,
}

impl EchKeys {
    /// Keys that open hellos, and whose configs are the retry_configs in the same order.
    ///
    /// # Errors
    ///
    /// When too many share a config_id, or the retry_configs are too long.
    pub fn new(keys: Vec<EchKey>) -> Result<Self, EchKeysError> {
        let configs: Vec<_> = keys.iter().map(|key| key.config().clone()).collect();
        let retry = match configs.is_empty() {
            true => None,
            false => Some(EchConfigList::from_configs(configs).map_err(EchKeysError::Configs)?),
        };
        let all = Self::default().with_opening(keys)?;
        match retry {
            None => Ok(all),
            retry => all.with_retry_configs(retry),
        }
    }

    /// Adds keys that open hellos and are not among the retry_configs: rotated out, and kept
    /// until clients have forgotten them.
    ///
    /// # Errors
    ///
    /// When too many share a config_id, or when no retry_configs are there: a server with keys
    /// sends some (RFC 9849 §7.1), or is told not to by
    /// [`with_retry_configs`](Self::with_retry_configs).
    pub fn with_retired(self, keys: Vec<EchKey>) -> Result<Self, EchKeysError> {
        match (&self.retry, keys.is_empty()) {
            (Retry::Unsaid, false) => Err(EchKeysError::NoRetryConfigs),
            _ => self.with_opening(keys),
        }
    }

    fn with_opening(mut self, keys: Vec<EchKey>) -> Result<Self, EchKeysError> {
        self.keys.extend(keys.into_iter().map(Arc::new));
        let mut count = [0_usize; 256];
        for key in &self.keys {
            count[usize::from(key.config_id())] += 1;
            if count[usize::from(key.config_id())] > MAX_SAME_ID {
                return Err(EchKeysError::SameId(key.config_id()));
            }
        }
        Ok(self)
    }

    /// Sends other retry_configs than those of the keys, or none. A client that gets none takes
    /// ECH for switched off (RFC 9849 §6.1.6); RFC 9849 §7.1 wants some while there are keys.
    ///
    /// # Errors
    ///
    /// When they are too long for [`MAX_RETRY_EXTENSION`].
    pub fn with_retry_configs(
        mut self,
        retry: Option<EchConfigList>,
    ) -> Result<Self, EchKeysError> {
        self.retry_extension = match &retry {
            None => None,
            Some(list) => {
                let list = list.encode();
                if list.len() + 4 > MAX_RETRY_EXTENSION {
                    return Err(EchKeysError::RetryTooLong(list.len() + 4));
                }
                let mut extension = ENCRYPTED_CLIENT_HELLO.to_be_bytes().to_vec();
                extension.extend_from_slice(&(list.len() as u16).to_be_bytes());
                extension.extend(list);
                Some(extension)
            }
        };
        self.retry = retry.map_or(Retry::Nothing, Retry::Configs);
        Ok(self)
    }

    /// Answers rejected offers with this extension, type and length included, whatever it holds:
    /// for tests of what a client does with it.
    #[cfg(feature = "test-util")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_forged_retry_extension(mut self, extension: Vec<u8>) -> Self {
        self.retry_extension = Some(extension);
        self
    }

    /// The keys, newest first.
    pub fn keys(&self) -> &[Arc<EchKey>] {
        &self.keys
    }

    /// What rejected clients are sent.
    pub fn retry_configs(&self) -> Option<&EchConfigList> {
        match &self.retry {
            Retry::Configs(list) => Some(list),
            Retry::Unsaid | Retry::Nothing => None,
        }
    }

    /// The same as an extension of EncryptedExtensions, type and length included.
    pub fn retry_extension(&self) -> Option<&[u8]> {
        self.retry_extension.as_deref()
    }

    /// Whether `name` is the public_name of one of the keys.
    pub fn is_public_name(&self, name: &str) -> bool {
        self.keys
            .iter()
            .filter_map(|key| key.contents().public_name.as_str())
            .any(|public| public.eq_ignore_ascii_case(name))
    }
}

/// Keys that a server cannot use together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EchKeysError {
    /// More than [`MAX_SAME_ID`] keys share a config_id.
    #[error("more than {MAX_SAME_ID} ECH keys have the config_id {0}; retire some")]
    SameId(u8),
    /// The retry_configs are longer than [`MAX_RETRY_EXTENSION`].
    #[error(
        "retry_configs take {0} bytes, at most {MAX_RETRY_EXTENSION} are sent; publish fewer keys"
    )]
    RetryTooLong(usize),
    /// Keys that open hellos, and nothing to send to clients whose offers they do not open.
    #[error(
        "none of the ECH keys is published, so there are no retry_configs (RFC 9849 §7.1); \
            publish one, or say that none are sent"
    )]
    NoRetryConfigs,
    /// The configs make no ECHConfigList.
    #[error("the keys' configs do not form an ECHConfigList: {0}")]
    Configs(ConfigListError),
}

/// The keys that a server uses now; swapping them touches no connection under way.
#[derive(Clone, Debug, Default)]
pub struct EchKeyHandle(Arc<RwLock<Arc<EchKeys>>>);

impl EchKeyHandle {
    /// A handle to `keys`.
    pub fn new(keys: EchKeys) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keys))))
    }

    /// The keys of this moment. The lock is held for copying a pointer only.
    pub fn load(&self) -> Arc<EchKeys> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Uses `keys` for every connection that begins from now on.
    pub fn store(&self, keys: EchKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

impl From<EchKeys> for EchKeyHandle {
    fn from(keys: EchKeys) -> Self {
        Self::new(keys)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::key::KeyParams;

    fn key() -> EchKey {
        EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap()
    }

    #[test]
    fn keys_without_retry_configs_are_refused_unless_that_is_meant() {
        let refused = EchKeys::default().with_retired(vec![key()]).unwrap_err();
        assert_eq!(refused, EchKeysError::NoRetryConfigs);

        let meant = EchKeys::default().with_retry_configs(None).unwrap();
        let meant = meant.with_retired(vec![key()]).unwrap();
        assert_eq!((meant.keys().len(), meant.retry_configs()), (1, None));

        let published = EchKeys::new(vec![key()]).unwrap();
        let both = published.with_retired(vec![key()]).unwrap();
        assert_eq!(both.keys().len(), 2);
        assert_eq!(both.retry_configs().unwrap().configs().len(), 1);
    }
}
