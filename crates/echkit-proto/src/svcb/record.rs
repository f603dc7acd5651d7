//! One SVCB or HTTPS record on the wire (RFC 9460 §2.2).

use super::name::{DomainName, NameError};
use super::params::{Params, ParamsError, split};
use crate::codec::{Reader, Short};

/// The RDATA of one SVCB or HTTPS record.
///
/// `Display` and `FromStr` are the presentation form of RFC 9460 §2.1; `FromStr` also takes the
/// generic form of RFC 3597 §5 (`\# 19 0000…`).
///
/// ```
/// use echkit_proto::svcb::{Record, RecordError, TextError};
///
/// let record: Record = "1 . alpn=h2,h3 ipv4hint=192.0.2.1".parse()?;
/// assert!(!record.is_alias());
/// let rdata = record.encode().unwrap();
/// assert_eq!(Record::parse(&rdata), Ok(record));
/// assert_eq!(Record::parse(&rdata[..1]), Err(RecordError::Truncated));
/// # Ok::<(), TextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// SvcPriority: 0 is AliasMode, all else ServiceMode, smaller first (RFC 9460 §2.4.1).
    pub priority: u16,
    /// TargetName; the root has a meaning of its own (RFC 9460 §2.5).
    pub target: DomainName,
    /// SvcParams; always empty in AliasMode, where they are to be ignored (RFC 9460 §2.4.2).
    pub params: Params,
}

impl Record {
    /// An AliasMode record.
    pub fn alias(target: DomainName) -> Self {
        Self {
            priority: 0,
            target,
            params: Params::default(),
        }
    }

    /// Whether the record is in AliasMode (RFC 9460 §2.4.2).
    pub fn is_alias(&self) -> bool {
        self.priority == 0
    }

    /// Reads RDATA, all of it.
    ///
    /// In AliasMode the parameters must be well framed and sorted, since §2.2 speaks of every
    /// record, but their values mean nothing (§2.4.2) and are not looked at.
    pub fn parse(rdata: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(rdata);
        let priority = reader.u16().map_err(|Short| RecordError::Truncated)?;
        let target = DomainName::read(&mut reader).map_err(RecordError::Target)?;
        let params = reader.rest();
        let params = if priority == 0 {
            split(params).try_for_each(|param| param.map(|_| ()))?;
            Params::default()
        } else {
            Params::parse(params)?
        };
        Ok(Self {
            priority,
            target,
            params,
        })
    }

    /// Writes RDATA. Fails where [`Record::parse`] would refuse the result.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut out = self.priority.to_be_bytes().to_vec();
        out.extend_from_slice(self.target.wire());
        if !self.is_alias() {
            out.extend_from_slice(&self.params.encode()?);
        }
        if out.len() > usize::from(u16::MAX) {
            return Err(RecordError::TooLong);
        }
        Ok(out)
    }
}

/// Why RDATA is malformed. One such record spoils its whole RRset (RFC 9460 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Too short for a priority.
    #[error("the record ends inside its priority")]
    Truncated,
    /// TargetName does not parse, or is compressed.
    #[error("the target name is malformed: {0}")]
    Target(NameError),
    /// SvcParams do not parse or contradict each other.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// Longer than RDATA can be.
    #[error("the record is longer than 65535 octets")]
    TooLong,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::EchConfigList;
    use crate::svcb::SvcParamKey;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn service(params: &[u8]) -> Result<Record, RecordError> {
        Record::parse(&[&[0, 1, 0], params].concat())
    }

    fn param(key: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        [&key.to_be_bytes(), &length.to_be_bytes(), value].concat()
    }

    #[track_caller]
    fn refuses(params: &[&[u8]], error: ParamsError) {
        assert_eq!(service(&params.concat()), Err(RecordError::Params(error)));
    }

    #[test]
    fn refuses_unsorted_duplicate_and_cut_parameters() {
        let (alpn, port) = (param(1, b"\x02h2"), param(3, &[1, 187]));
        refuses(&[&port, &alpn], ParamsError::KeyOrder(SvcParamKey::ALPN));
        refuses(&[&port, &port], ParamsError::KeyOrder(SvcParamKey::PORT));
        refuses(&[&alpn, &port[..5]], ParamsError::Truncated);
        refuses(&[&alpn, &port, &[0]], ParamsError::Truncated);
        refuses(&[&alpn, &[0, 3, 0, 2]], ParamsError::Truncated);
    }

    #[test]
    fn refuses_values_of_the_wrong_format() {
        for (key, value) in [
            (1, &b""[..]),
            (1, b"\x00"),
            (1, b"\x02h2\x00"),
            (1, b"\x03h2"),
            (2, b"x"),
            (3, b""),
            (3, b"\x01"),
            (3, b"\x01\x02\x03"),
            (4, b""),
            (4, b"\x7f\0\0"),
            (6, b""),
            (6, b"\x7f\0\0\x01"),
            (0, b""),
            (0, b"\x01"),
            (5, b""),
            (5, b"\0\0"),
            (5, b"\0\x04\xfe\x0d\0\x01"),
            (5, b"\0\x05\xfe\x0d\0\0"),
            (5, b"\0\x04\xfe\x0d\0\0\0"),
            (5, b"\0\x05\xfe\x0d\0\0\0"),
            (7, b"\xff"),
            (65535, b""),
        ] {
            refuses(&[&param(key, value)], ParamsError::Value(SvcParamKey(key)));
        }
    }

    #[test]
    fn refuses_parameters_that_contradict_each_other() {
        let (alpn, port) = (param(1, b"\x02h2"), param(3, &[1, 187]));
        refuses(&[&param(2, b"")], ParamsError::NoDefaultAlpnAlone);
        refuses(&[&param(0, &[0, 0])], ParamsError::MandatoryItself);
        refuses(
            &[&param(0, &[0, 3]), &alpn],
            ParamsError::MandatoryMissing(SvcParamKey::PORT),
        );
        refuses(
            &[&param(0, &[0, 3, 0, 1]), &alpn, &port],
            ParamsError::MandatoryOrder,
        );
        refuses(
            &[&param(0, &[0, 1, 0, 1]), &alpn, &port],
            ParamsError::MandatoryOrder,
        );
        assert!(service(&[param(0, &[0, 1, 0, 3]), alpn, port].concat()).is_ok());
    }

    #[test]
    fn refuses_cut_headers_and_compressed_targets() {
        assert_eq!(Record::parse(&[]), Err(RecordError::Truncated));
        assert_eq!(Record::parse(&[0]), Err(RecordError::Truncated));
        assert_eq!(
            Record::parse(&[0, 1]),
            Err(RecordError::Target(NameError::Truncated))
        );
        assert_eq!(
            Record::parse(&[0, 1, 0xc0, 0x0c]),
            Err(RecordError::Target(NameError::Compressed))
        );
    }

    #[test]
    fn keeps_alpn_as_bytes_and_unknown_keys_as_they_came() {
        let params = [param(1, b"\x02\xff\0\x03a,b"), param(667, b"hello")].concat();
        let record = service(&params).unwrap();
        assert_eq!(record.params.alpn, [&b"\xff\0"[..], b"a,b"]);
        assert_eq!(record.params.other[&SvcParamKey(667)], b"hello");
    }

    #[test]
    fn a_config_of_zero_length_is_well_framed() {
        assert!(service(&param(5, b"\0\x04\xfe\x0d\0\0")).is_ok());
    }

    #[test]
    fn an_alias_ignores_its_parameters_but_not_their_framing() {
        let alias = |params: &[u8]| Record::parse(&[b"\0\0\x01a\0", params].concat());
        assert_eq!(alias(&param(3, b"bad")).unwrap().params, Params::default());
        assert_eq!(
            alias(&[0, 3, 0, 2]),
            Err(RecordError::Params(ParamsError::Truncated))
        );
    }

    prop_compose! {
        pub(crate) fn any_params()(
            alpn in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..4),
            no_default_alpn in any::<bool>(),
            port in any::<Option<u16>>(),
            ipv4hint in prop::collection::vec(any::<std::net::Ipv4Addr>(), 0..3),
            configs in prop::collection::vec(
                (any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 0..3),
            ipv6hint in prop::collection::vec(any::<std::net::Ipv6Addr>(), 0..3),
            dohpath in prop::option::of(".{0,12}"),
            other in prop::collection::btree_map(
                8u16..65535, prop::collection::vec(any::<u8>(), 0..12), 0..4),
            chosen in any::<u16>(),
        ) -> Params {
            let list: Vec<u8> = configs.iter().flat_map(|(v, c)| param(*v, c)).collect();
            let mut params = Params {
                mandatory: Vec::new(),
                no_default_alpn: no_default_alpn && !alpn.is_empty(),
                alpn,
                port,
                ipv4hint,
                ech: (!list.is_empty()).then(|| {
                    let length = u16::try_from(list.len()).unwrap().to_be_bytes();
                    EchConfigList::parse(&[&length[..], &list].concat()).unwrap()
                }),
                ipv6hint,
                dohpath,
                other: other.into_iter().map(|(k, v)| (SvcParamKey(k), v)).collect(),
            };
            let keys: Vec<_> = params.wire_values().unwrap().into_keys().collect();
            params.mandatory = keys.iter().enumerate()
                .filter(|(i, _)| chosen >> (i % 16) & 1 == 1)
                .map(|(_, key)| *key)
                .collect();
            params
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            priority in 1u16..,
            labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..4),
            params in any_params(),
        ) {
            let target = DomainName::from_labels(labels).unwrap();
            let record = Record { priority, target, params };
            let wire = record.encode().unwrap();
            prop_assert_eq!(&Record::parse(&wire).unwrap(), &record);
            let text = record.to_string();
            prop_assert_eq!(text.parse::<Record>().unwrap(), record, "{}", text);
        }

        #[test]
        fn what_reads_writes_back_the_same(rdata in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(record) = Record::parse(&rdata) && !record.is_alias() {
                prop_assert_eq!(record.encode().unwrap(), rdata);
            }
        }

        #[test]
        fn mutations_never_panic_and_stay_faithful(
            params in any_params(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let record = Record { priority: 1, target: DomainName::root(), params };
            let mut wire = record.encode().unwrap();
            for (at, value) in flips {
                let at = at.index(wire.len());
                wire[at] = value;
            }
            if let Ok(record) = Record::parse(&wire) && !record.is_alias() {
                prop_assert_eq!(record.encode().unwrap(), wire);
            }
        }
    }

    #[test]
    fn refuses_to_write_what_it_would_not_read() {
        let with = |params| {
            Record {
                priority: 1,
                target: DomainName::root(),
                params,
            }
            .encode()
        };
        let cases = [
            Params {
                no_default_alpn: true,
                ..Params::default()
            },
            Params {
                alpn: vec![vec![]],
                ..Params::default()
            },
            Params {
                alpn: vec![vec![0; 256]],
                ..Params::default()
            },
            Params {
                mandatory: vec![SvcParamKey::ECH],
                ..Params::default()
            },
            Params {
                other: BTreeMap::from([(SvcParamKey(3), vec![])]),
                ..Params::default()
            },
            Params {
                other: BTreeMap::from([(SvcParamKey(9), vec![0; 65536])]),
                ..Params::default()
            },
        ];
        for params in cases {
            assert!(with(params).is_err());
        }
    }
}
