//! ECH key pairs: generation, use, and their files (RFC 9849 §4, RFC 9934).
//!
//! ```
//! use echkit_proto::key::{EchKey, EchKeyFile, KeyParams};
//!
//! let key = EchKey::generate(&KeyParams::new("public.example")?)?;
//! let pem = key.to_pem()?;
//! let again = EchKeyFile::from_pem(&pem)?;
//! assert_eq!(again.keys()[0].config(), key.config());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::{
    BadPublicName, ContentsError, EchConfig, EchConfigContents, MAX_CONFIG_LEN, PublicName,
};
use crate::hpke::{
    self, HpkeError, Kem, KeySchedule, PrivateKey, ReceiverContext, Suite, SymmetricSuite,
};

mod file;
mod file_error;
mod pkcs8;

pub(crate) use file::ECHCONFIG;
pub use file::EchKeyFile;
pub use file_error::KeyFileError;

/// The parameters of a new key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyParams {
    /// The name that outer hellos show.
    pub public_name: PublicName,
    /// Tells the server's keys apart; random when `None`.
    pub config_id: Option<u8>,
    /// The KEM. Default: X25519.
    pub kem: Kem,
    /// KDF and AEAD pairs, preferred first. Default: HKDF-SHA256 with AES-128-GCM.
    pub suites: Vec<SymmetricSuite>,
    /// maximum_name_length: the longest name that clients pad for; 0 (the default) leaves padding
    /// to the client.
    pub maximum_name_length: u8,
}

impl KeyParams {
    /// The mandatory suite (RFC 9849 §9), a random config_id.
    ///
    /// # Errors
    ///
    /// When `public_name` is not a host name by RFC 9849 §6.1.7.
    pub fn new(public_name: &str) -> Result<Self, BadPublicName> {
        Ok(Self {
            public_name: PublicName::new(public_name)?,
            config_id: None,
            kem: Kem::X25519,
            suites: vec![SymmetricSuite::MANDATORY],
            maximum_name_length: 0,
        })
    }

    /// The same with this config_id, or with a random one.
    #[must_use]
    pub fn with_config_id(mut self, id: impl Into<Option<u8>>) -> Self {
        self.config_id = id.into();
        self
    }

    /// The same with another KEM.
    #[must_use]
    pub fn with_kem(mut self, kem: Kem) -> Self {
        self.kem = kem;
        self
    }

    /// The same with these pairs of KDF and AEAD, preferred first.
    #[must_use]
    pub fn with_suites(mut self, suites: impl IntoIterator<Item = SymmetricSuite>) -> Self {
        self.suites = suites.into_iter().collect();
        self
    }

    /// The same with another length that clients pad names to; 0 leaves it to them.
    #[must_use]
    pub fn with_maximum_name_length(mut self, octets: u8) -> Self {
        self.maximum_name_length = octets;
        self
    }
}

/// A server's ECH key: an ECHConfig and the private key of its public key. Cheap to clone.
#[derive(Clone)]
pub struct EchKey {
    config: EchConfig,
    contents: Arc<EchConfigContents>,
    /// One for each suite of the config that is implemented.
    schedules: Arc<[KeySchedule]>,
    private: Arc<PrivateKey>,
}

impl EchKey {
    /// Makes a key pair and its ECHConfig.
    ///
    /// # Errors
    ///
    /// When `params` name a KEM or suite that is not implemented, no suite at all, or so many that
    /// clients would pass the config over for its length.
    pub fn generate(params: &KeyParams) -> Result<Self, KeyError> {
        if params.suites.is_empty() {
            return Err(KeyError::NoSuite);
        }
        for sym in &params.suites {
            let suite = Suite {
                kem: params.kem,
                sym: *sym,
            };
            if !suite.is_supported() {
                return Err(KeyError::UnknownSuite(suite));
            }
        }
        let private = PrivateKey::generate(params.kem).map_err(KeyError::Hpke)?;
        let public_key = private.public_key().to_vec();
        if params.suites.len() * 4 + public_key.len() > MAX_CONFIG_LEN / 2 {
            return Err(KeyError::TooManySuites(params.suites.len()));
        }
        let config = EchConfig::try_from(EchConfigContents {
            config_id: params.config_id.unwrap_or_else(rand::random),
            kem: params.kem,
            public_key,
            cipher_suites: params.suites.clone(),
            maximum_name_length: params.maximum_name_length,
            public_name: params.public_name.clone(),
            extensions: Vec::new(),
        })?;
        Self::pair(&config, &Arc::new(private))
    }

    /// Joins an ECHConfig with the private key of its public key, as the KEM serialises it.
    ///
    /// # Errors
    ///
    /// When the config cannot be used (its version, its KEM), or the key is not its key.
    pub fn new(
        config: EchConfig,
        private_key: impl Into<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, KeyError> {
        let bytes = private_key.into();
        let kem = usable(&config)?.kem;
        let private = PrivateKey::from_bytes(kem, &bytes).map_err(KeyError::Hpke)?;
        Self::pair(&config, &Arc::new(private))
    }

    /// Joins the two if they belong together.
    fn pair(config: &EchConfig, private: &Arc<PrivateKey>) -> Result<Self, KeyError> {
        let contents = usable(config)?;
        if contents.kem != private.kem() || contents.public_key != private.public_key() {
            return Err(KeyError::Mismatch);
        }
        let info = config.hpke_info();
        let suites = contents.cipher_suites.iter().map(|sym| Suite {
            kem: contents.kem,
            sym: *sym,
        });
        let schedules = suites
            .filter(|suite| suite.is_supported())
            .map(|suite| KeySchedule::new(suite, &info))
            .collect::<Result<Vec<_>, _>>()
            .map_err(KeyError::Hpke)?;
        Ok(Self {
            config: config.clone(),
            contents,
            schedules: schedules.into(),
            private: Arc::clone(private),
        })
    }

    /// The ECHConfig to publish.
    pub fn config(&self) -> &EchConfig {
        &self.config
    }

    /// The contents of the ECHConfig.
    pub fn contents(&self) -> &EchConfigContents {
        &self.contents
    }

    /// The config_id that clients name the key by.
    pub fn config_id(&self) -> u8 {
        self.contents().config_id
    }

    /// The private key, as the KEM serialises it (RFC 9180 §7.1.2). Keep it secret.
    ///
    /// # Errors
    ///
    /// When the cryptography library fails.
    pub fn private_key_bytes(&self) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        self.private.to_bytes()
    }

    /// Sets up the HPKE context that opens what a client sealed under `enc` (RFC 9849 §7.1).
    ///
    /// # Errors
    ///
    /// When the ECHConfig does not list `sym`, or `enc` is not a value of its KEM.
    pub fn setup_receiver(
        &self,
        sym: SymmetricSuite,
        enc: &[u8],
    ) -> Result<ReceiverContext, OpenError> {
        let suite = Suite {
            kem: self.contents.kem,
            sym,
        };
        let schedule = self.schedules.iter().find(|known| known.suite() == suite);
        let schedule = schedule.ok_or(OpenError::SuiteNotOffered(suite))?;
        hpke::setup_scheduled_receiver(schedule, enc, &self.private)
            .map_err(|_| OpenError::Encapsulation)
    }

    /// The key and its config as one file of RFC 9934, as `openssl ech` writes them.
    ///
    /// # Errors
    ///
    /// When the private key cannot be written as PKCS#8.
    pub fn to_pem(&self) -> Result<String, KeyFileError> {
        EchKeyFile::from(self.clone()).to_pem()
    }
}

/// Shows the config, never the private key.
impl fmt::Debug for EchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchKey")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The contents of a config that a key can be joined with.
fn usable(config: &EchConfig) -> Result<Arc<EchConfigContents>, KeyError> {
    let contents = config
        .shared_contents()
        .ok_or_else(|| KeyError::UnusableConfig(config.why_not().map(|w| w.to_string())))?;
    match Kem::ALL.contains(&contents.kem) {
        true => Ok(contents),
        false => Err(KeyError::UnknownKem(contents.kem)),
    }
}

/// A key cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No pair of KDF and AEAD was asked for.
    #[error("a key needs at least one cipher suite")]
    NoSuite,
    /// More suites than an ECHConfig should hold.
    #[error("{0} cipher suites make the ECHConfig too long for clients; name fewer")]
    TooManySuites(usize),
    /// A suite that is not implemented.
    #[error("the HPKE suite {0} is not implemented")]
    UnknownSuite(Suite),
    /// A KEM that is not implemented.
    #[error("the KEM {0} is not implemented")]
    UnknownKem(Kem),
    /// A config without contents to match a key with.
    #[error("the ECHConfig is not usable{}", .0.as_ref().map(|w| format!(": {w}")).unwrap_or_default())]
    UnusableConfig(Option<String>),
    /// The private key belongs to another public key.
    #[error("the private key does not match the public key in the ECHConfig")]
    Mismatch,
    /// The private key is not one of its KEM, or could not be generated.
    #[error(transparent)]
    Hpke(HpkeError),
    /// The ECHConfig cannot be written.
    #[error("the ECHConfig cannot be encoded: {0}")]
    Contents(ContentsError),
}

impl From<ContentsError> for KeyError {
    fn from(error: ContentsError) -> Self {
        Self::Contents(error)
    }
}

/// A client's offer cannot be opened under a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The ECHConfig does not list the suite.
    #[error("the ECHConfig does not list the suite {0}")]
    SuiteNotOffered(Suite),
    /// `enc` is not a value of the KEM.
    #[error("the encapsulated key is not valid")]
    Encapsulation,
}

#[cfg(test)]
mod tests;
