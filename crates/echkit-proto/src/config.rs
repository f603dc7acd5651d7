//! ECHConfigList (RFC 9849 §4): parse, encode, and choose what to offer.
//!
//! A list is well framed or it is an error; inside a well-framed list every ECHConfig is kept,
//! also one that this crate cannot use, with the reason ([`WhyNot`]), which tells an operator why
//! clients ignore a config. `docs/decisions/070-malformed-configs.md` says why one with malformed
//! contents does not spoil its list.
//!
//! ```
//! use echkit_proto::config::EchConfigList;
//! use echkit_proto::key::{EchKey, KeyParams};
//!
//! let key = EchKey::generate(&KeyParams::new("public.example")?)?;
//! let list = EchConfigList::from(key.config().clone());
//! let again = EchConfigList::parse(&list.encode())?;
//! assert_eq!(list, again);
//!
//! let chosen = again.select().chosen.expect("a fresh key is usable");
//! assert_eq!(chosen.contents().public_name.as_str(), Some("public.example"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;

use crate::codec::{Reader, Short, TooLong, put_vec8, put_vec16};
use crate::hpke::{Kem, SymmetricSuite};

mod input;
mod public_name;
mod select;

pub use input::{ConfigInputError, ConfigListForm, ConfigListInput};
pub use public_name::{BadPublicName, NameExposure, PublicName};
pub use select::{Chosen, ConfigVerdict, MAX_KEY_CHECKS, Selection, WhyNot};

/// The `encrypted_client_hello` version and extension number: 0xfe0d (RFC 9849 §4, §5).
pub const ECH_VERSION: u16 = 0xfe0d;

/// ECHConfigs longer than this are passed over.
///
/// The longest useful one holds a post-quantum key of about 1.2 KB. HPKE's `info` contains the
/// ECHConfig, and is bounded too ([`MAX_INFO`](crate::hpke::MAX_INFO)).
pub const MAX_CONFIG_LEN: usize = 8192;

/// The length of an ECHConfig's version and length (RFC 9849 §4).
const HEADER_LEN: usize = 4;

/// Extensions whose number has this bit set are mandatory (RFC 9849 §4.2).
const MANDATORY_BIT: u16 = 0x8000;

/// A well-framed list of ECHConfigs, in the server's order of preference (RFC 9849 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchConfigList {
    configs: Vec<EchConfig>,
}

impl EchConfigList {
    /// Parses the bytes of an `ECHConfigList`, its two length bytes included, as they stand in the
    /// `ech` SvcParam, in a PEM file and in retry_configs.
    ///
    /// # Errors
    ///
    /// When the framing is wrong: the list's length does not match, a config ends beyond the list,
    /// or there is none. A config that is unusable is not an error, see [`EchConfig::why_not`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigListError> {
        let mut outer = Reader::new(bytes);
        let len = outer.u16().map_err(|_| ConfigListError::NoLength)?;
        let list = outer
            .bytes(len.into())
            .map_err(|_| ConfigListError::Truncated {
                announced: len.into(),
                present: bytes.len() - 2,
            })?;
        if !outer.is_empty() {
            return Err(ConfigListError::TrailingBytes(outer.rest().len()));
        }
        let mut reader = Reader::new(list);
        let mut configs = Vec::new();
        while !reader.is_empty() {
            let index = configs.len();
            configs.push(
                EchConfig::read(&mut reader)
                    .map_err(|Short| ConfigListError::ConfigTruncated { index })?,
            );
        }
        match configs.is_empty() {
            true => Err(ConfigListError::Empty),
            false => Ok(Self { configs }),
        }
    }

    /// Builds a list from configs, in order of preference.
    ///
    /// # Errors
    ///
    /// When there is none, or when they are longer than a list can be (65,535 bytes).
    pub fn from_configs(configs: Vec<EchConfig>) -> Result<Self, ConfigListError> {
        let len: usize = configs.iter().map(|c| c.encoded().len()).sum();
        match len {
            0 => Err(ConfigListError::Empty),
            len if len > u16::MAX.into() => Err(ConfigListError::TooLong(len)),
            _ => Ok(Self { configs }),
        }
    }

    /// The bytes of the list, its two length bytes included.
    pub fn encode(&self) -> Vec<u8> {
        let len: usize = self.configs.iter().map(|c| c.encoded().len()).sum();
        let mut out = Vec::with_capacity(2 + len);
        // Every way to make a list keeps its length in 16 bits.
        out.extend_from_slice(&(len as u16).to_be_bytes());
        for config in &self.configs {
            out.extend_from_slice(config.encoded());
        }
        out
    }

    /// The configs, in the server's order of preference.
    pub fn configs(&self) -> &[EchConfig] {
        &self.configs
    }

    /// Whether any config has a version that this crate knows.
    ///
    /// RFC 9849 §6.1.6 tells "ECH was replaced by other keys" from "ECH was switched off" by this.
    pub fn has_supported_version(&self) -> bool {
        self.configs.iter().any(|c| c.version() == ECH_VERSION)
    }
}

impl From<EchConfig> for EchConfigList {
    fn from(config: EchConfig) -> Self {
        Self {
            configs: vec![config],
        }
    }
}

/// One ECHConfig: its exact bytes, and its contents where the version is known. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct EchConfig {
    /// Four bytes of version and length at least, and no more than a list can hold.
    encoded: Arc<[u8]>,
    contents: Result<Arc<EchConfigContents>, WhyNot>,
}

impl EchConfig {
    /// Parses one ECHConfig, without a list around it.
    ///
    /// # Errors
    ///
    /// When the bytes end too early, go on behind the config, or are more than a list can hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigListError> {
        let mut reader = Reader::new(bytes);
        let config = Self::read(&mut reader)
            .map_err(|Short| ConfigListError::ConfigTruncated { index: 0 })?;
        match reader.rest().len() {
            0 if bytes.len() > u16::MAX.into() => Err(ConfigListError::TooLong(bytes.len())),
            0 => Ok(config),
            trailing => Err(ConfigListError::TrailingBytes(trailing)),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let whole = reader.rest();
        let version = reader.u16()?;
        let body = reader.vec16()?;
        let contents = match version {
            ECH_VERSION => EchConfigContents::parse(body).map(Arc::new),
            unknown => Err(WhyNot::UnknownVersion(unknown)),
        };
        Ok(Self {
            encoded: whole[..HEADER_LEN + body.len()].into(),
            contents,
        })
    }

    /// The bytes of the `ECHConfig`: version, length and contents.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The version: 0xfe0d, or another that is passed over.
    pub fn version(&self) -> u16 {
        u16::from_be_bytes([self.encoded[0], self.encoded[1]])
    }

    /// The contents, where the version is known and they are well formed.
    pub fn contents(&self) -> Option<&EchConfigContents> {
        self.contents.as_deref().ok()
    }

    /// The same, to be kept.
    pub(crate) fn shared_contents(&self) -> Option<Arc<EchConfigContents>> {
        self.contents.as_ref().ok().cloned()
    }

    /// The config_id, where the version is known and there is at least that byte.
    pub fn config_id(&self) -> Option<u8> {
        match self.version() {
            ECH_VERSION => self.encoded.get(HEADER_LEN).copied(),
            _ => None,
        }
    }

    /// The HPKE `info` of this config: `"tls ech" || 0x00 || ECHConfig` (RFC 9849 §6.1, §7.1).
    pub fn hpke_info(&self) -> Vec<u8> {
        [b"tls ech\0", self.encoded()].concat()
    }
}

impl fmt::Debug for EchConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.contents {
            Ok(contents) => contents.fmt(f),
            Err(why_not) => write!(f, "EchConfig({} bytes: {why_not})", self.encoded.len()),
        }
    }
}

impl TryFrom<EchConfigContents> for EchConfig {
    type Error = ContentsError;

    /// Encodes `contents` as version 0xfe0d.
    fn try_from(contents: EchConfigContents) -> Result<Self, ContentsError> {
        let body = contents.encode()?;
        let whole = |TooLong(len)| ContentsError::TooLong("ECHConfig", len);
        let mut encoded = Vec::with_capacity(HEADER_LEN + body.len());
        encoded.extend_from_slice(&ECH_VERSION.to_be_bytes());
        put_vec16(&mut encoded, &body).map_err(whole)?;
        if encoded.len() > u16::MAX.into() {
            return Err(whole(TooLong(encoded.len())));
        }
        Ok(Self {
            encoded: encoded.into(),
            contents: Ok(Arc::new(contents)),
        })
    }
}

/// A field of [`EchConfigContents`] has a length that its encoding cannot have (RFC 9849 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentsError {
    /// It must hold something.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// It is longer than its length prefix can say.
    #[error("{0} is too long: {1} bytes")]
    TooLong(&'static str, usize),
}

/// `ECHConfigContents` of version 0xfe0d (RFC 9849 §4): plain values, which
/// [`EchConfig::try_from`] checks and encodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchConfigContents {
    /// Tells the server's keys apart.
    pub config_id: u8,
    /// The KEM of `public_key`.
    pub kem: Kem,
    /// The server's public key, as the KEM serialises it.
    pub public_key: Vec<u8>,
    /// KDF and AEAD pairs, in the server's order of preference.
    pub cipher_suites: Vec<SymmetricSuite>,
    /// The longest name that inner hellos are padded for; 0 leaves it to the client.
    pub maximum_name_length: u8,
    /// The server_name of the ClientHelloOuter.
    pub public_name: PublicName,
    /// Extensions, known or not.
    pub extensions: Vec<ConfigExtension>,
}

impl EchConfigContents {
    fn parse(body: &[u8]) -> Result<Self, WhyNot> {
        Self::read(body).map_err(|Malformed(field)| WhyNot::Malformed(field))
    }

    fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let config_id = r.u8().map_err(in_field("config_id"))?;
        let kem = Kem(r.u16().map_err(in_field("kem_id"))?);
        let public_key = r.vec16().map_err(in_field("public_key"))?;
        if public_key.is_empty() {
            return Err(Malformed("public_key"));
        }
        let suites = r.vec16().map_err(in_field("cipher_suites"))?;
        let (suites, odd) = suites.as_chunks::<4>();
        if suites.is_empty() || !odd.is_empty() {
            return Err(Malformed("cipher_suites"));
        }
        let maximum_name_length = r.u8().map_err(in_field("maximum_name_length"))?;
        let public_name = r.vec8().map_err(in_field("public_name"))?;
        if public_name.is_empty() {
            return Err(Malformed("public_name"));
        }
        let mut raw = Reader::new(r.vec16().map_err(in_field("extensions"))?);
        let mut extensions = Vec::new();
        while !raw.is_empty() {
            extensions.push(ConfigExtension {
                number: raw.u16().map_err(in_field("extensions"))?,
                data: raw.vec16().map_err(in_field("extensions"))?.to_vec(),
            });
        }
        if !r.is_empty() {
            return Err(Malformed("trailing bytes"));
        }
        Ok(Self {
            config_id,
            kem,
            public_key: public_key.to_vec(),
            cipher_suites: suites
                .iter()
                .map(|s| {
                    let pair = [[s[0], s[1]], [s[2], s[3]]].map(u16::from_be_bytes);
                    SymmetricSuite::new(crate::hpke::Kdf(pair[0]), crate::hpke::Aead(pair[1]))
                })
                .collect(),
            maximum_name_length,
            public_name: PublicName::from_wire(public_name),
            extensions,
        })
    }

    fn encode(&self) -> Result<Vec<u8>, ContentsError> {
        let too_long = |field| move |TooLong(len)| ContentsError::TooLong(field, len);
        for (field, len) in [
            ("public_key", self.public_key.len()),
            ("cipher_suites", self.cipher_suites.len()),
            ("public_name", self.public_name.as_bytes().len()),
        ] {
            if len == 0 {
                return Err(ContentsError::Empty(field));
            }
        }
        let mut out = vec![self.config_id];
        out.extend_from_slice(&self.kem.0.to_be_bytes());
        put_vec16(&mut out, &self.public_key).map_err(too_long("public_key"))?;
        let suites: Vec<u8> = self
            .cipher_suites
            .iter()
            .flat_map(|s| [s.kdf.0.to_be_bytes(), s.aead.0.to_be_bytes()])
            .flatten()
            .collect();
        put_vec16(&mut out, &suites).map_err(too_long("cipher_suites"))?;
        out.push(self.maximum_name_length);
        put_vec8(&mut out, self.public_name.as_bytes()).map_err(too_long("public_name"))?;
        let mut extensions = Vec::new();
        for extension in &self.extensions {
            extensions.extend_from_slice(&extension.number.to_be_bytes());
            put_vec16(&mut extensions, &extension.data).map_err(too_long("extension"))?;
        }
        put_vec16(&mut out, &extensions).map_err(too_long("extensions"))?;
        Ok(out)
    }
}

/// An extension of an ECHConfig (RFC 9849 §4.2). This crate knows none so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigExtension {
    /// `ECHConfigExtensionType`.
    pub number: u16,
    /// Its data.
    pub data: Vec<u8>,
}

impl ConfigExtension {
    /// Whether a client that does not know this extension must pass the config over.
    pub fn is_mandatory(&self) -> bool {
        self.number & MANDATORY_BIT != 0
    }
}

/// The field that is broken.
struct Malformed(&'static str);

fn in_field(field: &'static str) -> impl Fn(Short) -> Malformed {
    move |Short| Malformed(field)
}

/// A list of ECHConfigs is not framed as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigListError {
    /// Fewer than two bytes.
    #[error("the ECHConfigList is truncated: it begins with a length of two bytes")]
    NoLength,
    /// The list's length says more than there is.
    #[error(
        "the ECHConfigList is truncated: its length is {announced}, and {present} bytes follow"
    )]
    Truncated {
        /// What the length says.
        announced: usize,
        /// What is there.
        present: usize,
    },
    /// There are bytes behind the list.
    #[error("{0} bytes follow the ECHConfigList")]
    TrailingBytes(usize),
    /// A config says more than the list has.
    #[error("ECHConfig {} of the list extends past its end", index + 1)]
    ConfigTruncated {
        /// The config's place, from 0.
        index: usize,
    },
    /// There is no config.
    #[error("the ECHConfigList is empty")]
    Empty,
    /// The configs, or one alone, do not fit into a list.
    #[error("{0} bytes of ECHConfigs do not fit into a list (65535 at most)")]
    TooLong(usize),
}

#[cfg(test)]
mod tests;
