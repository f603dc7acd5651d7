//! Which ECHConfig to offer, and why not the others (RFC 9849 §4, §6.1, §6.1.7).

use std::sync::Arc;

use super::{
    BadPublicName, EchConfig, EchConfigContents, EchConfigList, MAX_CONFIG_LEN, NameExposure,
};
use crate::hpke::{self, Kem, Suite};

/// Public keys that are checked in one list, at most.
///
/// Whether a point is on its curve takes microseconds, and a list may hold some 500 points. Lists
/// in use hold fewer than ten configs, and a client needs one.
pub const MAX_KEY_CHECKS: usize = 16;

impl EchConfigList {
    /// Judges the configs and chooses the first usable one: the server's order wins
    /// (RFC 9849 §4).
    pub fn select(&self) -> Selection {
        let mut usable = Vec::new();
        let mut verdicts = Vec::with_capacity(self.configs().len());
        let mut key_checks = 0;
        for (index, config) in self.configs().iter().enumerate() {
            let judged = config.known_suite().and_then(|(contents, suite)| {
                if key_checks == MAX_KEY_CHECKS {
                    return Err(WhyNot::NotJudged);
                }
                key_checks += 1;
                contents.check_public_key()?;
                Ok((contents, suite))
            });
            verdicts.push(ConfigVerdict {
                config_id: config.config_id(),
                why_not: judged.as_ref().err().cloned(),
            });
            if let Ok((contents, suite)) = judged {
                usable.push(Chosen {
                    index,
                    config: config.clone(),
                    contents: Arc::clone(contents),
                    suite,
                });
            }
        }
        let mut usable = usable.into_iter();
        Selection {
            chosen: usable.next(),
            others: usable.collect(),
            verdicts,
        }
    }
}

impl EchConfig {
    /// Why a client passes this config over; `None` when it is usable.
    pub fn why_not(&self) -> Option<WhyNot> {
        let judged = self.known_suite();
        judged
            .and_then(|(contents, _)| contents.check_public_key())
            .err()
    }

    /// The suite to offer under this config: the first in the server's order that is implemented.
    /// The public key is not looked at.
    fn known_suite(&self) -> Result<(&Arc<EchConfigContents>, Suite), WhyNot> {
        let contents = self.contents.as_ref().map_err(Clone::clone)?;
        if self.encoded().len() > MAX_CONFIG_LEN {
            return Err(WhyNot::TooLong(self.encoded().len()));
        }
        contents.check_extensions()?;
        if let Some(why) = contents.public_name.why_not() {
            return Err(WhyNot::PublicName(why));
        }
        let kem = contents.kem;
        if !Kem::ALL.contains(&kem) {
            return Err(WhyNot::UnknownKem(kem));
        }
        let mut suites = contents
            .cipher_suites
            .iter()
            .map(|sym| Suite { kem, sym: *sym });
        let suite = suites
            .find(Suite::is_supported)
            .ok_or(WhyNot::NoKnownSuite)?;
        Ok((contents, suite))
    }
}

impl EchConfigContents {
    fn check_public_key(&self) -> Result<(), WhyNot> {
        hpke::check_public_key(self.kem, &self.public_key).map_err(|_| WhyNot::PublicKey(self.kem))
    }

    /// RFC 9849 §4.2: no extension twice, and none that is mandatory and unknown.
    fn check_extensions(&self) -> Result<(), WhyNot> {
        let mut numbers: Vec<u16> = self.extensions.iter().map(|e| e.number).collect();
        numbers.sort_unstable();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(WhyNot::DuplicateExtension(pair[0]));
        }
        match self.extensions.iter().find(|e| e.is_mandatory()) {
            Some(extension) => Err(WhyNot::MandatoryExtension(extension.number)),
            None => Ok(()),
        }
    }
}

/// What came of looking through an ECHConfigList.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The config to offer.
    pub chosen: Option<Chosen>,
    /// The usable configs behind it, in the list's order: what to offer when encapsulating to the
    /// chosen one's key fails, as it does for the X25519 keys that share no secret.
    pub others: Vec<Chosen>,
    /// One verdict for each config, in the list's order.
    pub verdicts: Vec<ConfigVerdict>,
}

/// The verdict on one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigVerdict {
    /// Its config_id, where the version is known.
    pub config_id: Option<u8>,
    /// Why it is passed over; `None` when it is usable.
    pub why_not: Option<WhyNot>,
}

/// A usable config, with the suite to offer it under. Only a selection makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    index: usize,
    config: EchConfig,
    contents: Arc<EchConfigContents>,
    suite: Suite,
}

impl Chosen {
    /// Its place in the list, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The config.
    pub fn config(&self) -> &EchConfig {
        &self.config
    }

    /// The contents of the config.
    pub fn contents(&self) -> &EchConfigContents {
        &self.contents
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether an offer under this config hides `host`: not where the public_name is that name.
    pub fn hides(&self, host: &str) -> bool {
        self.contents.public_name.exposes(host) != NameExposure::Equal
    }

    /// An ECHConfigList of this config alone: a TLS library that is given it has no choice left.
    pub fn single_list(&self) -> Vec<u8> {
        EchConfigList::from(self.config.clone()).encode()
    }
}

/// Why a client passes an ECHConfig over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNot {
    /// A version other than 0xfe0d.
    #[error("its version 0x{0:04x} is unknown")]
    UnknownVersion(u16),
    /// The contents do not parse; the field where they stop to.
    #[error("its contents are malformed at {0}")]
    Malformed(&'static str),
    /// Longer than [`MAX_CONFIG_LEN`].
    #[error("it is {0} bytes long; the limit is {MAX_CONFIG_LEN}")]
    TooLong(usize),
    /// An extension that a client must know, and this one does not.
    #[error("its mandatory extension 0x{0:04x} is unknown")]
    MandatoryExtension(u16),
    /// Two extensions of one number.
    #[error("its extension 0x{0:04x} is duplicated")]
    DuplicateExtension(u16),
    /// The public_name is not a host name.
    #[error("its public_name is not valid: {0}")]
    PublicName(BadPublicName),
    /// A KEM that is not implemented.
    #[error("its KEM {0} is unknown")]
    UnknownKem(Kem),
    /// No pair of KDF and AEAD that is implemented.
    #[error("it has no known cipher suite")]
    NoKnownSuite,
    /// The public key is not one of its KEM.
    #[error("its public key is not a valid {0} key")]
    PublicKey(Kem),
    /// Its key comes after [`MAX_KEY_CHECKS`] others.
    #[error("it was not checked: {MAX_KEY_CHECKS} configs with a known suite precede it")]
    NotJudged,
}
