//! SvcParams: the wire form of each key's value (RFC 9460 §7, RFC 9461 §5, RFC 9848 §3).

use core::fmt;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::codec::{Reader, Short};
use crate::config::EchConfigList;

/// The number of a parameter in the registry of RFC 9460 §14.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SvcParamKey(pub u16);

impl SvcParamKey {
    /// `mandatory` (RFC 9460 §8)
    pub const MANDATORY: Self = Self(0);
    /// `alpn` (RFC 9460 §7.1)
    pub const ALPN: Self = Self(1);
    /// `no-default-alpn` (RFC 9460 §7.1)
    pub const NO_DEFAULT_ALPN: Self = Self(2);
    /// `port` (RFC 9460 §7.2)
    pub const PORT: Self = Self(3);
    /// `ipv4hint` (RFC 9460 §7.3)
    pub const IPV4HINT: Self = Self(4);
    /// `ech` (RFC 9848 §3)
    pub const ECH: Self = Self(5);
    /// `ipv6hint` (RFC 9460 §7.3)
    pub const IPV6HINT: Self = Self(6);
    /// `dohpath` (RFC 9461 §5)
    pub const DOHPATH: Self = Self(7);
    /// The key that must never be used (RFC 9460 §14.3.2).
    pub const INVALID: Self = Self(65535);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::MANDATORY, "mandatory"),
        (Self::ALPN, "alpn"),
        (Self::NO_DEFAULT_ALPN, "no-default-alpn"),
        (Self::PORT, "port"),
        (Self::IPV4HINT, "ipv4hint"),
        (Self::ECH, "ech"),
        (Self::IPV6HINT, "ipv6hint"),
        (Self::DOHPATH, "dohpath"),
    ];

    /// The key with this name, or in the form `keyNNNNN` without leading zeros (RFC 9460 §2.1).
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some((key, _)) = Self::NAMES.iter().find(|(_, known)| *known == name) {
            return Some(*key);
        }
        let digits = name.strip_prefix("key")?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        (plain && (digits == "0" || !digits.starts_with('0')))
            .then(|| digits.parse().ok().map(Self))
            .flatten()
    }

    /// Whether values of this key have a format that this module checks.
    pub fn is_known(self) -> bool {
        Self::NAMES.iter().any(|(known, _)| *known == self)
    }
}

impl fmt::Display for SvcParamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(known, _)| known == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "key{}", self.0),
        }
    }
}

/// The parameters of one record.
///
/// Lists that must not be empty on the wire mean an absent parameter when empty here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// Keys that a client must understand to use the record, in increasing order (RFC 9460 §8).
    pub mandatory: Vec<SvcParamKey>,
    /// ALPN protocol identifiers, in the publisher's order (RFC 9460 §7.1).
    pub alpn: Vec<Vec<u8>>,
    /// Whether the scheme's default ALPN is *not* spoken (RFC 9460 §7.1).
    pub no_default_alpn: bool,
    /// The port of the endpoint, where it is not the authority's (RFC 9460 §7.2).
    pub port: Option<u16>,
    /// Addresses to use until those of the target are known (RFC 9460 §7.3).
    pub ipv4hint: Vec<Ipv4Addr>,
    /// The ECHConfigList, well framed; what is inside a config is for [`EchConfigList::select`] to
    /// judge: one that cannot be used is passed over, and does not spoil the record (RFC 9848 §3).
    pub ech: Option<EchConfigList>,
    /// Addresses to use until those of the target are known (RFC 9460 §7.3).
    pub ipv6hint: Vec<Ipv6Addr>,
    /// A URI template for DNS over HTTPS (RFC 9461 §5).
    pub dohpath: Option<String>,
    /// Every other parameter as it came.
    pub other: BTreeMap<SvcParamKey, Vec<u8>>,
}

impl Params {
    /// Reads SvcParams to the end of `bytes` and checks all that RFC 9460 §2.2 and §2.4.3 demand.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParamsError> {
        let mut params = Self::default();
        let mut keys = Vec::new();
        for item in split(bytes) {
            let (key, value) = item?;
            params.set_wire(key, value)?;
            keys.push(key);
        }
        params.check_consistency(&keys)?;
        Ok(params)
    }

    /// Writes SvcParams in the order that the wire wants.
    ///
    /// Fails where a value does not fit or where [`Params::parse`] would refuse the result.
    pub fn encode(&self) -> Result<Vec<u8>, ParamsError> {
        let values = self.wire_values()?;
        let keys: Vec<_> = values.keys().copied().collect();
        self.check_consistency(&keys)?;
        let mut out = Vec::new();
        for (key, value) in values {
            let length = u16::try_from(value.len()).map_err(|_| ParamsError::Value(key))?;
            out.extend_from_slice(&key.0.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&value);
        }
        Ok(out)
    }

    /// Takes one parameter in wire form.
    pub(super) fn set_wire(&mut self, key: SvcParamKey, value: &[u8]) -> Result<(), ParamsError> {
        let bad = ParamsError::Value(key);
        match key {
            SvcParamKey::MANDATORY => self.mandatory = parse_mandatory(value)?,
            SvcParamKey::ALPN => self.alpn = parse_alpn(value).ok_or(bad)?,
            SvcParamKey::NO_DEFAULT_ALPN => {
                self.no_default_alpn = value.is_empty().then_some(true).ok_or(bad)?;
            }
            SvcParamKey::PORT => {
                let octets = value.try_into().map_err(|_| bad)?;
                self.port = Some(u16::from_be_bytes(octets));
            }
            SvcParamKey::IPV4HINT => {
                let hints: Option<Vec<[u8; 4]>> = arrays(value);
                self.ipv4hint = hints.ok_or(bad)?.into_iter().map(Ipv4Addr::from).collect();
            }
            SvcParamKey::ECH => {
                self.ech = Some(EchConfigList::parse(value).map_err(|_| bad)?);
            }
            SvcParamKey::IPV6HINT => {
                let hints: Option<Vec<[u8; 16]>> = arrays(value);
                self.ipv6hint = hints.ok_or(bad)?.into_iter().map(Ipv6Addr::from).collect();
            }
            SvcParamKey::DOHPATH => {
                // RFC 9461 §5: a relative URI template in UTF-8.
                let text = core::str::from_utf8(value).map_err(|_| bad)?;
                self.dohpath = Some(text.to_owned());
            }
            SvcParamKey::INVALID => return Err(bad),
            _ => {
                self.other.insert(key, value.to_vec());
            }
        }
        Ok(())
    }

    /// The wire form of each parameter that is present, by key.
    pub(super) fn wire_values(&self) -> Result<BTreeMap<SvcParamKey, Vec<u8>>, ParamsError> {
        let mut values = BTreeMap::new();
        for (key, value) in &self.other {
            if key.is_known() || *key == SvcParamKey::INVALID {
                return Err(ParamsError::Value(*key));
            }
            values.insert(*key, value.clone());
        }
        if !self.mandatory.is_empty() {
            let mut keys = self.mandatory.clone();
            keys.sort_unstable();
            let value = keys.iter().flat_map(|k| k.0.to_be_bytes()).collect();
            values.insert(SvcParamKey::MANDATORY, value);
        }
        if !self.alpn.is_empty() {
            let mut value = Vec::new();
            for id in &self.alpn {
                let length = u8::try_from(id.len()).ok().filter(|length| *length > 0);
                value.push(length.ok_or(ParamsError::Value(SvcParamKey::ALPN))?);
                value.extend_from_slice(id);
            }
            values.insert(SvcParamKey::ALPN, value);
        }
        if self.no_default_alpn {
            values.insert(SvcParamKey::NO_DEFAULT_ALPN, Vec::new());
        }
        if let Some(port) = self.port {
            values.insert(SvcParamKey::PORT, port.to_be_bytes().to_vec());
        }
        if !self.ipv4hint.is_empty() {
            let value = self.ipv4hint.iter().flat_map(Ipv4Addr::octets).collect();
            values.insert(SvcParamKey::IPV4HINT, value);
        }
        if let Some(ech) = &self.ech {
            values.insert(SvcParamKey::ECH, ech.encode());
        }
        if !self.ipv6hint.is_empty() {
            let value = self.ipv6hint.iter().flat_map(Ipv6Addr::octets).collect();
            values.insert(SvcParamKey::IPV6HINT, value);
        }
        if let Some(path) = &self.dohpath {
            values.insert(SvcParamKey::DOHPATH, path.clone().into_bytes());
        }
        Ok(values)
    }

    /// RFC 9460 §2.4.3: parameters must meet each other's requirements.
    pub(super) fn check_consistency(&self, keys: &[SvcParamKey]) -> Result<(), ParamsError> {
        // §7.1.1
        if self.no_default_alpn && self.alpn.is_empty() {
            return Err(ParamsError::NoDefaultAlpnAlone);
        }
        // §8
        for pair in self.mandatory.windows(2) {
            if pair[0] >= pair[1] {
                return Err(ParamsError::MandatoryOrder);
            }
        }
        match self.mandatory.iter().find(|key| !keys.contains(key)) {
            Some(key) => Err(ParamsError::MandatoryMissing(*key)),
            None if self.mandatory.contains(&SvcParamKey::MANDATORY) => {
                Err(ParamsError::MandatoryItself)
            }
            None => Ok(()),
        }
    }
}

/// The parameters in `bytes`, with lengths and key order checked (RFC 9460 §2.2), values not.
pub(super) fn split(
    bytes: &[u8],
) -> impl Iterator<Item = Result<(SvcParamKey, &[u8]), ParamsError>> {
    let mut reader = Reader::new(bytes);
    let mut last = None;
    let mut failed = false;
    core::iter::from_fn(move || {
        if failed || reader.is_empty() {
            return None;
        }
        let item = match take_param(&mut reader) {
            Err(Short) => Err(ParamsError::Truncated),
            Ok((key, _)) if last.is_some_and(|last| last >= key) => Err(ParamsError::KeyOrder(key)),
            Ok(param) => Ok(param),
        };
        failed = item.is_err();
        last = item.ok().map(|(key, _)| key);
        Some(item)
    })
}

fn take_param<'a>(reader: &mut Reader<'a>) -> Result<(SvcParamKey, &'a [u8]), Short> {
    let key = SvcParamKey(reader.u16()?);
    Ok((key, reader.vec16()?))
}

fn parse_mandatory(value: &[u8]) -> Result<Vec<SvcParamKey>, ParamsError> {
    let keys: Vec<_> = arrays::<2>(value)
        .ok_or(ParamsError::Value(SvcParamKey::MANDATORY))?
        .into_iter()
        .map(|octets| SvcParamKey(u16::from_be_bytes(octets)))
        .collect();
    if keys.contains(&SvcParamKey::MANDATORY) {
        return Err(ParamsError::MandatoryItself);
    }
    Ok(keys)
}

/// At least one identifier, none empty, exactly filling the value (RFC 9460 §7.1.1).
fn parse_alpn(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut ids = Vec::new();
    let mut reader = Reader::new(value);
    while !reader.is_empty() {
        let id = reader.vec8().ok().filter(|id| !id.is_empty())?;
        ids.push(id.to_vec());
    }
    (!ids.is_empty()).then_some(ids)
}

/// One or more items of a fixed size.
fn arrays<const N: usize>(value: &[u8]) -> Option<Vec<[u8; N]>> {
    let (items, rest) = value.as_chunks::<N>();
    (rest.is_empty() && !items.is_empty()).then(|| items.to_vec())
}

/// What is wrong with SvcParams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The record ends inside a parameter (RFC 9460 §2.2).
    #[error("the record ends inside a parameter")]
    Truncated,
    /// Keys are not in strictly increasing order, or one is a duplicate (RFC 9460 §2.2).
    #[error("the parameter {0} is out of order or a duplicate")]
    KeyOrder(SvcParamKey),
    /// A value does not have the format of its key (RFC 9460 §2.2).
    #[error("the value of {0} is malformed")]
    Value(SvcParamKey),
    /// `no-default-alpn` without `alpn` (RFC 9460 §7.1.1).
    #[error("no-default-alpn is present without alpn")]
    NoDefaultAlpnAlone,
    /// `mandatory` lists itself (RFC 9460 §8).
    #[error("mandatory lists itself")]
    MandatoryItself,
    /// `mandatory` is not in strictly increasing order, or lists a key twice (RFC 9460 §8).
    #[error("the keys in mandatory are out of order or duplicates")]
    MandatoryOrder,
    /// `mandatory` lists a key that the record does not have (RFC 9460 §8).
    #[error("mandatory lists {0}, which the record does not have")]
    MandatoryMissing(SvcParamKey),
}
