//! The public_name of an ECHConfig and its rules (RFC 9849 §6.1.7).

use std::fmt;

/// Longest host name in text form (RFC 1035 §2.3.4, less the root's byte and the first length).
const MAX_NAME: usize = 253;

/// Longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// The public_name of an ECHConfig: a host name, or the bytes that stood in its place.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicName(Vec<u8>);

impl PublicName {
    /// Checks `name` by the rules of RFC 9849 §6.1.7.
    ///
    /// # Errors
    ///
    /// When it is not a sequence of LDH labels, or would be taken for an IPv4 address.
    pub fn new(name: &str) -> Result<Self, BadPublicName> {
        check(name.as_bytes())?;
        Ok(Self(name.as_bytes().to_vec()))
    }

    /// Keeps what a peer or a file wrote, valid or not.
    pub(super) fn from_wire(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The name, where it is a valid one.
    pub fn as_str(&self) -> Option<&str> {
        check(&self.0).ok()?;
        std::str::from_utf8(&self.0).ok()
    }

    /// The bytes as in the ECHConfig.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What this name, which is sent in the clear, reveals about the host that ECH must hide.
    pub fn exposes(&self, host: &str) -> NameExposure {
        let labels = |name: &[u8]| -> Vec<Vec<u8>> {
            let name = name.strip_suffix(b".").unwrap_or(name);
            let labels = name.split(|byte| *byte == b'.');
            labels.map(<[u8]>::to_ascii_lowercase).collect()
        };
        let (public, hidden) = (labels(&self.0), labels(host.as_bytes()));
        match public.windows(hidden.len()).any(|labels| labels == hidden) {
            true if public.len() == hidden.len() => NameExposure::Equal,
            true => NameExposure::Contains,
            false => NameExposure::None,
        }
    }

    /// Why a client must pass over a config with this public_name.
    pub fn why_not(&self) -> Option<BadPublicName> {
        check(&self.0).err()
    }
}

/// The name; what is not printable ASCII as `\xNN`.
impl fmt::Display for PublicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for PublicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a public_name tells an eavesdropper of the name inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameExposure {
    /// Nothing.
    None,
    /// It contains the name as whole labels: a hint, and a common way to name a cover.
    Contains,
    /// It is the name: ECH hides nothing.
    Equal,
}

/// Why a public_name is not valid (RFC 9849 §6.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPublicName {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("it is longer than 253 bytes")]
    TooLong,
    /// A label is empty: two dots in a row, or a dot at either end.
    #[error("it has an empty label (a leading, trailing or double dot)")]
    EmptyLabel,
    /// A label is longer than 63 bytes.
    #[error("it has a label longer than 63 bytes")]
    LongLabel,
    /// A label begins or ends with a hyphen.
    #[error("a label begins or ends with a hyphen")]
    Hyphen,
    /// A character that is not a letter, digit or hyphen.
    #[error("it has characters other than letters, digits, hyphens and dots")]
    NotLdh,
    /// The last label is a number, so URL parsers take the whole for an IPv4 address.
    #[error("its last label is a number, which reads as an IPv4 address")]
    LooksLikeIpv4,
}

fn check(name: &[u8]) -> Result<(), BadPublicName> {
    if name.is_empty() {
        return Err(BadPublicName::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(BadPublicName::TooLong);
    }
    let mut last: &[u8] = &[];
    for label in name.split(|b| *b == b'.') {
        match label {
            [] => return Err(BadPublicName::EmptyLabel),
            _ if label.len() > MAX_LABEL => return Err(BadPublicName::LongLabel),
            [b'-', ..] | [.., b'-'] => return Err(BadPublicName::Hyphen),
            _ if !label
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-') =>
            {
                return Err(BadPublicName::NotLdh);
            }
            _ => last = label,
        }
    }
    let hexadecimal = matches!(last, [b'0', b'x' | b'X', digits @ ..]
        if digits.iter().all(u8::is_ascii_hexdigit));
    match hexadecimal || last.iter().all(u8::is_ascii_digit) {
        true => Err(BadPublicName::LooksLikeIpv4),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_taken() {
        for name in [
            "public.example",
            "a",
            "a.b-c.1d",
            "XN--NXASMM1C.example",
            "1.2.3.4a",
            "0xg",
        ] {
            assert_eq!(PublicName::new(name).map(|_| ()), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_public_name_exposes_the_host_that_it_is_or_contains() {
        let public = PublicName::from_wire(b"Cover.Example.com");
        for (host, exposure) in [
            ("cover.example.com", NameExposure::Equal),
            ("COVER.example.com.", NameExposure::Equal),
            ("example.com", NameExposure::Contains),
            ("example", NameExposure::Contains),
            ("cover.example", NameExposure::Contains),
            ("www.cover.example.com", NameExposure::None),
            ("over.example.com", NameExposure::None),
            ("cover.com", NameExposure::None),
            ("", NameExposure::None),
        ] {
            assert_eq!(public.exposes(host), exposure, "{host}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_the_reason() {
        let long_label = "a".repeat(64);
        let long_name = ["a".repeat(63).as_str(); 4].join(".");
        for (name, why) in [
            ("", BadPublicName::Empty),
            (".", BadPublicName::EmptyLabel),
            ("a.", BadPublicName::EmptyLabel),
            (".a", BadPublicName::EmptyLabel),
            ("a..b", BadPublicName::EmptyLabel),
            ("-a.example", BadPublicName::Hyphen),
            ("a-.example", BadPublicName::Hyphen),
            ("a_b.example", BadPublicName::NotLdh),
            ("bücher.example", BadPublicName::NotLdh),
            ("a b", BadPublicName::NotLdh),
            ("127.0.0.1", BadPublicName::LooksLikeIpv4),
            ("example.1", BadPublicName::LooksLikeIpv4),
            ("example.0x", BadPublicName::LooksLikeIpv4),
            ("example.0XfF", BadPublicName::LooksLikeIpv4),
            (&long_label, BadPublicName::LongLabel),
            (&long_name, BadPublicName::TooLong),
        ] {
            assert_eq!(PublicName::new(name).map(|_| ()), Err(why), "{name}");
        }
    }
}
