//! Domain names as DNS has them: any octets, up to 63 in a label and 255 in all (RFC 1035 §2.3.4).

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use crate::codec::{Reader, Short};

/// A fully qualified domain name.
///
/// Kept as wire bytes (RFC 1035 §3.1), so that every name which DNS can carry survives; compared
/// without regard to ASCII case (RFC 4343).
#[derive(Clone)]
pub struct DomainName {
    /// Length-prefixed labels, the empty root label included.
    wire: Vec<u8>,
}

impl DomainName {
    /// Octets that a name takes at most on the wire, the root label included.
    pub const MAX_WIRE: usize = 255;
    /// Octets that one label takes at most.
    pub const MAX_LABEL: usize = 63;

    /// The root, written `.`.
    pub fn root() -> Self {
        Self { wire: vec![0] }
    }

    /// Reads an uncompressed name.
    ///
    /// Compression pointers are refused: RFC 9460 §2.2 wants TargetName uncompressed.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, NameError> {
        let mut wire = Vec::new();
        loop {
            let length = reader.u8().map_err(|Short| NameError::Truncated)?;
            wire.push(length);
            match usize::from(length) {
                0 => return Ok(Self { wire }),
                1..=Self::MAX_LABEL => {
                    let label = reader.bytes(length.into());
                    wire.extend_from_slice(label.map_err(|Short| NameError::Truncated)?);
                }
                0xc0.. => return Err(NameError::Compressed),
                _ => return Err(NameError::LabelType),
            }
            if wire.len() >= Self::MAX_WIRE {
                return Err(NameError::TooLong);
            }
        }
    }

    /// Builds a name from labels, the leftmost first; the root label is added.
    pub fn from_labels<L: AsRef<[u8]>>(
        labels: impl IntoIterator<Item = L>,
    ) -> Result<Self, NameError> {
        let mut wire = Vec::new();
        for label in labels {
            let label = label.as_ref();
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            let length = u8::try_from(label.len())
                .ok()
                .filter(|l| usize::from(*l) <= Self::MAX_LABEL)
                .ok_or(NameError::LabelTooLong)?;
            wire.push(length);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        if wire.len() > Self::MAX_WIRE {
            return Err(NameError::TooLong);
        }
        Ok(Self { wire })
    }

    /// The same name below a new leftmost label.
    pub fn prepend(&self, label: impl AsRef<[u8]>) -> Result<Self, NameError> {
        Self::from_labels(core::iter::once(label.as_ref()).chain(self.labels()))
    }

    /// The labels, the leftmost first, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire.as_slice();
        core::iter::from_fn(move || {
            let (length, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(*length))?;
            rest = tail;
            (!label.is_empty()).then_some(label)
        })
    }

    /// The name as it goes on the wire, uncompressed.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Whether this is the root, `.`.
    pub fn is_root(&self) -> bool {
        self.wire.len() == 1
    }

    /// Whether this name is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        let (mine, theirs) = (self.labels().count(), ancestor.labels().count());
        mine >= theirs
            && self
                .labels()
                .skip(mine - theirs)
                .zip(ancestor.labels())
                .all(|(a, b)| a.eq_ignore_ascii_case(b))
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        // Length octets are below 64, so ASCII case folding leaves them alone.
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for DomainName {}

impl Hash for DomainName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in &self.wire {
            state.write_u8(octet.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for DomainName {
    /// Master file form (RFC 1035 §5.1) without the final dot; the root is `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (i, label) in self.labels().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainName({self})")
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    /// Reads master file form. Every name is taken as absolute, with or without its final dot.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut labels = Vec::new();
        let mut label = Vec::new();
        let mut bytes = text.bytes();
        let mut ended = false;
        while let Some(byte) = bytes.next() {
            ended = false;
            match byte {
                b'.' => {
                    labels.push(core::mem::take(&mut label));
                    ended = true;
                }
                b'\\' => label.push(unescape(&mut bytes).ok_or(NameError::Escape)?),
                0x21..=0x7e => label.push(byte),
                _ => return Err(NameError::Character),
            }
        }
        if !ended {
            labels.push(label);
        }
        Self::from_labels(labels)
    }
}

/// What follows a backslash in master files: a character, or three decimal digits.
pub(super) fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return (0x21..=0x7e).contains(&first).then_some(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

/// Why bytes or text are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The bytes end inside the name.
    #[error("the name is cut short")]
    Truncated,
    /// A compression pointer where none is allowed.
    #[error("the name is compressed where it must not be")]
    Compressed,
    /// A retired label type (RFC 6891 §5).
    #[error("the name has a label of an unknown type")]
    LabelType,
    /// Two dots in a row, or a dot in front.
    #[error("the name has an empty label")]
    EmptyLabel,
    /// More than 63 octets in a label.
    #[error("the name has a label of more than 63 octets")]
    LabelTooLong,
    /// More than 255 octets in all.
    #[error("the name has more than 255 octets")]
    TooLong,
    /// A backslash followed by something that it cannot escape.
    #[error("the name has an invalid escape sequence")]
    Escape,
    /// A space, control or non-ASCII character outside an escape sequence.
    #[error("the name has a character that must be escaped")]
    Character,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_text_with_and_without_final_dot() {
        let a: DomainName = "WWW.Example.com".parse().unwrap();
        let b: DomainName = "www.example.COM.".parse().unwrap();
        assert_eq!(a, b);
        assert_eq!(a.wire(), b"\x03WWW\x07Example\x03com\0");
        assert_eq!(b.to_string(), "www.example.COM");
    }

    #[test]
    fn refuses_bad_text() {
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a b", NameError::Character),
            ("a\\", NameError::Escape),
            ("a\\25", NameError::Escape),
            ("a\\256", NameError::Escape),
            ("ä.example", NameError::Character),
        ] {
            assert_eq!(text.parse::<DomainName>(), Err(error), "{text:?}");
        }
        assert_eq!(
            "a".repeat(64).parse::<DomainName>(),
            Err(NameError::LabelTooLong)
        );
        let long = vec!["a".repeat(63); 4].join(".");
        assert_eq!(long.parse::<DomainName>(), Err(NameError::TooLong));
        let longest = format!("{}.{}", vec!["a".repeat(63); 3].join("."), "a".repeat(61));
        assert_eq!(longest.parse::<DomainName>().unwrap().wire().len(), 255);
    }

    #[test]
    fn refuses_pointers_and_cut_names() {
        let read = |bytes: &[u8]| DomainName::read(&mut Reader::new(bytes));
        assert_eq!(read(b"\x01a\xc0\x0c"), Err(NameError::Compressed));
        assert_eq!(read(b"\x40"), Err(NameError::LabelType));
        assert_eq!(read(b"\x03ab"), Err(NameError::Truncated));
        assert_eq!(read(b""), Err(NameError::Truncated));
        assert_eq!(read(&[1; 300]), Err(NameError::TooLong));
    }

    #[test]
    fn knows_what_lies_below() {
        let zone: DomainName = "example.com".parse().unwrap();
        assert!(
            "a.EXAMPLE.com"
                .parse::<DomainName>()
                .unwrap()
                .is_within(&zone)
        );
        assert!(zone.is_within(&zone) && zone.is_within(&DomainName::root()));
        assert!(
            !"anexample.com"
                .parse::<DomainName>()
                .unwrap()
                .is_within(&zone)
        );
    }

    proptest! {
        #[test]
        fn text_and_wire_round_trip(labels in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let name = DomainName::from_labels(&labels).unwrap();
            let mut reader = Reader::new(name.wire());
            let again = DomainName::read(&mut reader).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(again.wire(), name.wire());
            let parsed: DomainName = name.to_string().parse().unwrap();
            prop_assert_eq!(parsed.wire(), name.wire());
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), text in ".{0,80}") {
            let _ = DomainName::read(&mut Reader::new(&bytes));
            let _ = text.parse::<DomainName>();
        }
    }
}
