//! Which ECHConfig to offer, and why not the others (RFC 9849 §4, §6.1, §6.1.7).

use std::fmt;

use rustls::crypto::hpke::{Hpke, HpkePublicKey};

use super::{BadPublicName, EchConfig, EchConfigContents, EchConfigList, MAX_CONFIG_LEN};
use crate::hpke::{self, Kem, Suite};

impl EchConfigList {
    /// Judges every config and chooses the first usable one: the server's order wins (RFC 9849 §4).
    pub fn select(&self) -> Selection {
        let mut chosen = None;
        let mut verdicts = Vec::with_capacity(self.configs().len());
        for (index, config) in self.configs().iter().enumerate() {
            let judged = config.usable_suite();
            verdicts.push(Verdict {
                config_id: config.config_id(),
                why_not: judged.as_ref().err().cloned(),
            });
            if let (None, Ok(suite)) = (&chosen, judged) {
                chosen = Some(Chosen {
                    index,
                    config: config.clone(),
                    suite,
                });
            }
        }
        Selection { chosen, verdicts }
    }
}

impl EchConfig {
    /// Why a client passes this config over; `None` when it is usable.
    pub fn why_not(&self) -> Option<WhyNot> {
        self.usable_suite().err()
    }

    /// The suite to offer under this config: the first in the server's order that there is an
    /// implementation of.
    fn usable_suite(&self) -> Result<&'static dyn Hpke, WhyNot> {
        let contents = self.contents.as_ref().map_err(Clone::clone)?;
        if self.encoded().len() > MAX_CONFIG_LEN {
            return Err(WhyNot::TooLong(self.encoded().len()));
        }
        contents.check_extensions()?;
        if let Some(why) = contents.public_name.why_not() {
            return Err(WhyNot::PublicName(why));
        }
        if !Kem::ALL.contains(&contents.kem) {
            return Err(WhyNot::UnknownKem(contents.kem));
        }
        let suite = contents
            .cipher_suites
            .iter()
            .find_map(|sym| {
                hpke::find(Suite {
                    kem: contents.kem,
                    sym: *sym,
                })
            })
            .ok_or(WhyNot::NoKnownSuite)?;
        // A key of the wrong length or off its curve shows only when it is used.
        suite
            .setup_sealer(b"", &HpkePublicKey(contents.public_key.clone()))
            .map_err(|_| WhyNot::PublicKey(contents.kem))?;
        Ok(suite)
    }
}

impl EchConfigContents {
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
    /// One verdict for each config, in the list's order.
    pub verdicts: Vec<Verdict>,
}

/// The verdict on one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its config_id, where the version is known.
    pub config_id: Option<u8>,
    /// Why it is passed over; `None` when it is usable.
    pub why_not: Option<WhyNot>,
}

/// The config to offer, with the suite to offer it under.
#[derive(Clone)]
pub struct Chosen {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The config.
    pub config: EchConfig,
    /// The implementation of the suite.
    pub suite: &'static dyn Hpke,
}

impl Chosen {
    /// The contents of the config.
    pub fn contents(&self) -> &EchConfigContents {
        self.config
            .contents()
            .expect("only a config with contents is chosen")
    }

    /// The suite's numbers.
    pub fn suite_id(&self) -> Suite {
        self.suite.suite().into()
    }

    /// An ECHConfigList of this config alone: a TLS library that is given it has no choice left.
    pub fn single_list(&self) -> Vec<u8> {
        EchConfigList::from(self.config.clone()).encode()
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("index", &self.index)
            .field("config", &self.config)
            .field("suite", &self.suite_id())
            .finish()
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
    #[error("it is {0} bytes long, {MAX_CONFIG_LEN} are taken at most")]
    TooLong(usize),
    /// An extension that a client must know, and this one does not.
    #[error("its mandatory extension 0x{0:04x} is unknown")]
    MandatoryExtension(u16),
    /// An extension stands twice.
    #[error("its extension 0x{0:04x} stands twice")]
    DuplicateExtension(u16),
    /// The public_name is no host name.
    #[error("its public_name is not valid: {0}")]
    PublicName(BadPublicName),
    /// A KEM that is not implemented.
    #[error("its KEM {0} is unknown")]
    UnknownKem(Kem),
    /// No pair of KDF and AEAD that is implemented.
    #[error("it has no cipher suite that is known")]
    NoKnownSuite,
    /// The public key is not one of its KEM.
    #[error("its public key is no valid {0} key")]
    PublicKey(Kem),
}
