//! ECH keys of the cases, and the ECHConfigLists that are published: good, odd and broken.

use std::collections::BTreeMap;

use echkit_proto::config::{ConfigExtension, EchConfig, EchConfigContents, EchConfigList};
use echkit_proto::hpke::{Kem, SymmetricSuite};
use echkit_proto::key::{EchKey, KeyParams};

use crate::error::TestbedError;
use crate::names::{PUBLIC, in_zone};

/// A version that no ECH was ever given.
const UNKNOWN_VERSION: u16 = 0xfeff;

/// A KEM that RFC 9180 and its registry leave unassigned.
const UNKNOWN_KEM: Kem = Kem(0x7fff);

/// An extension that no client knows; with the high bit it is mandatory (RFC 9849 §4.2).
const UNKNOWN_EXTENSION: u16 = 0x4a4a;
const MANDATORY_BIT: u16 = 0x8000;

/// An ECH key of a case, by a label that is its own.
#[derive(Clone, Debug)]
pub(crate) struct KeySpec {
    pub(crate) label: &'static str,
    pub(crate) kem: Kem,
    pub(crate) suites: &'static [SymmetricSuite],
    pub(crate) maximum_name_length: u8,
    /// The server lost it, or never had it.
    pub(crate) lost: bool,
    /// Its ECHConfig has an unknown extension that may be ignored.
    pub(crate) extension: bool,
}

impl KeySpec {
    pub(crate) const fn new(label: &'static str) -> Self {
        Self {
            label,
            kem: Kem::X25519,
            suites: &[SymmetricSuite::MANDATORY],
            maximum_name_length: 64,
            lost: false,
            extension: false,
        }
    }

    pub(crate) const fn kem(self, kem: Kem) -> Self {
        Self { kem, ..self }
    }

    pub(crate) const fn suites(self, suites: &'static [SymmetricSuite]) -> Self {
        Self { suites, ..self }
    }

    pub(crate) const fn lost(self) -> Self {
        Self { lost: true, ..self }
    }

    pub(crate) const fn extension(self) -> Self {
        Self {
            extension: true,
            ..self
        }
    }
}

/// The value of an `ech` SvcParam.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListSpec {
    /// A list of ECHConfigs.
    Of(&'static [ConfigSpec]),
    /// Bytes as they are.
    Raw(&'static [u8]),
}

/// One ECHConfig of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConfigSpec {
    /// That of a key.
    Key(&'static str),
    /// An unknown version.
    UnknownVersion,
    /// The same, and no contents.
    EmptyUnknownVersion,
    /// An unknown KEM.
    UnknownKem(&'static str),
    /// Unknown KDFs and AEADs.
    UnknownSuite(&'static str),
    /// With an unknown mandatory extension (RFC 9849 §4.2).
    MandatoryExtension(&'static str),
    /// With the same extension twice (RFC 9849 §4.2).
    DuplicateExtension(&'static str),
    /// With a public_name that reads as an IPv4 address (RFC 9849 §6.1.7).
    PublicNameIsAddress(&'static str),
    /// Version 0xfe0d and no contents.
    ZeroLength,
}

/// The keys of one case.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_label: BTreeMap<&'static str, EchKey>,
}

impl Keys {
    pub(crate) fn generate(case: &str, specs: &[KeySpec]) -> Result<Self, TestbedError> {
        let mut by_label = BTreeMap::new();
        // Ids differ inside a case, so that a page tells which key opened the hello.
        for (config_id, spec) in (1..).zip(specs) {
            let key = generate(spec, config_id).map_err(|reason| TestbedError::Key {
                case: case.to_owned(),
                reason: format!("{}: {reason}", spec.label),
            })?;
            by_label.insert(spec.label, key);
        }
        Ok(Self { by_label })
    }

    pub(crate) fn key(&self, label: &str) -> Result<&EchKey, String> {
        self.by_label
            .get(label)
            .ok_or_else(|| format!("there is no key `{label}`"))
    }

    /// The keys that the server has.
    pub(crate) fn held(&self, specs: &[KeySpec]) -> Result<Vec<EchKey>, String> {
        let held = specs.iter().filter(|spec| !spec.lost);
        held.map(|spec| self.key(spec.label).cloned()).collect()
    }

    /// The bytes of an `ech` SvcParam.
    pub(crate) fn list(&self, spec: &ListSpec) -> Result<Vec<u8>, String> {
        match spec {
            ListSpec::Raw(bytes) => Ok(bytes.to_vec()),
            ListSpec::Of(configs) => {
                let configs: Result<_, String> = configs.iter().map(|c| self.config(*c)).collect();
                let list = EchConfigList::from_configs(configs?).map_err(|e| e.to_string())?;
                Ok(list.encode())
            }
        }
    }

    fn config(&self, spec: ConfigSpec) -> Result<EchConfig, String> {
        let changed = |label: &str, change: &dyn Fn(&mut EchConfigContents)| {
            let mut contents = self.key(label)?.contents().clone();
            change(&mut contents);
            EchConfig::try_from(contents).map_err(|e| e.to_string())
        };
        match spec {
            ConfigSpec::Key(label) => Ok(self.key(label)?.config().clone()),
            ConfigSpec::UnknownVersion => raw(UNKNOWN_VERSION, b"of another age"),
            ConfigSpec::EmptyUnknownVersion => raw(UNKNOWN_VERSION, b""),
            ConfigSpec::ZeroLength => raw(echkit_proto::config::ECH_VERSION, b""),
            ConfigSpec::UnknownKem(label) => changed(label, &|c| c.kem = UNKNOWN_KEM),
            ConfigSpec::UnknownSuite(label) => changed(label, &|c| {
                c.cipher_suites = vec![SymmetricSuite::new(
                    echkit_proto::hpke::Kdf(0x7fff),
                    echkit_proto::hpke::Aead(0x7fff),
                )];
            }),
            ConfigSpec::MandatoryExtension(label) => changed(label, &|c| {
                c.extensions
                    .push(extension(UNKNOWN_EXTENSION | MANDATORY_BIT));
            }),
            ConfigSpec::DuplicateExtension(label) => changed(label, &|c| {
                c.extensions = vec![extension(UNKNOWN_EXTENSION); 2];
            }),
            ConfigSpec::PublicNameIsAddress(label) => {
                let encoded = self.key(label)?.config().encoded().to_vec();
                renamed(&encoded, &in_zone(PUBLIC), "127.0.0.1")
            }
        }
    }
}

pub(crate) fn generate(spec: &KeySpec, config_id: u8) -> Result<EchKey, String> {
    let mut params = KeyParams::new(&in_zone(PUBLIC)).map_err(|e| e.to_string())?;
    params.config_id = Some(config_id);
    params.kem = spec.kem;
    params.suites = spec.suites.to_vec();
    params.maximum_name_length = spec.maximum_name_length;
    let key = EchKey::generate(&params).map_err(|e| e.to_string())?;
    if !spec.extension {
        return Ok(key);
    }
    let mut contents = key.contents().clone();
    contents.extensions.push(extension(UNKNOWN_EXTENSION));
    let config = EchConfig::try_from(contents).map_err(|e| e.to_string())?;
    let private_key = key.private_key_bytes().map_err(|e| e.to_string())?;
    EchKey::new(config, private_key).map_err(|e| e.to_string())
}

fn extension(number: u16) -> ConfigExtension {
    ConfigExtension {
        number,
        data: b"ignore me".to_vec(),
    }
}

fn raw(version: u16, contents: &[u8]) -> Result<EchConfig, String> {
    let len = u16::try_from(contents.len()).map_err(|e| e.to_string())?;
    let bytes = [&version.to_be_bytes()[..], &len.to_be_bytes(), contents].concat();
    EchConfig::parse(&bytes).map_err(|e| e.to_string())
}

/// Writes another public_name over the one in an encoded ECHConfig: the codec would refuse it.
fn renamed(encoded: &[u8], from: &str, to: &str) -> Result<EchConfig, String> {
    let at = encoded
        .windows(from.len())
        .position(|w| w == from.as_bytes());
    let at = at.ok_or_else(|| format!("the ECHConfig does not say {from}"))?;
    // version and length (4 bytes) before, the name's own length byte just before `at`.
    let len = u8::try_from(to.len()).map_err(|e| e.to_string())?;
    let contents = [
        &encoded[4..at - 1],
        &[len],
        to.as_bytes(),
        &encoded[at + from.len()..],
    ];
    raw(echkit_proto::config::ECH_VERSION, &contents.concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn why_not(configs: &'static [ConfigSpec]) -> Vec<bool> {
        let keys = Keys::generate("test", &[KeySpec::new("a"), KeySpec::new("b").extension()]);
        let list = keys.unwrap().list(&ListSpec::Of(configs)).unwrap();
        let list = EchConfigList::parse(&list).unwrap();
        list.configs()
            .iter()
            .map(|c| c.why_not().is_none())
            .collect()
    }

    #[test]
    fn odd_configs_are_unusable_and_good_ones_are_not() {
        assert_eq!(
            why_not(&[
                ConfigSpec::UnknownVersion,
                ConfigSpec::EmptyUnknownVersion,
                ConfigSpec::UnknownKem("a"),
                ConfigSpec::UnknownSuite("a"),
                ConfigSpec::MandatoryExtension("a"),
                ConfigSpec::DuplicateExtension("a"),
                ConfigSpec::PublicNameIsAddress("a"),
                ConfigSpec::ZeroLength,
            ]),
            [false; 8]
        );
        assert_eq!(
            why_not(&[ConfigSpec::Key("a"), ConfigSpec::Key("b")]),
            [true; 2]
        );
    }

    #[test]
    fn only_the_name_differs_where_the_public_name_is_an_address() {
        let keys = Keys::generate("test", &[KeySpec::new("a")]).unwrap();
        let odd = keys.config(ConfigSpec::PublicNameIsAddress("a")).unwrap();
        let (odd, good) = (odd.contents().unwrap(), keys.key("a").unwrap().contents());
        assert_eq!(odd.public_name.as_bytes(), b"127.0.0.1");
        assert_eq!(odd.public_key, good.public_key);
        assert_eq!(odd.extensions, good.extensions);
    }
}
