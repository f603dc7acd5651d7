//! The algorithms of HPKE by number and name (RFC 9180 §7), and the suites of this build.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// An HPKE key encapsulation mechanism (RFC 9180 §7.1), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kem(pub u16);

impl Kem {
    /// DHKEM(P-256, HKDF-SHA256).
    pub const P256: Self = Self(0x0010);
    /// DHKEM(P-384, HKDF-SHA384).
    pub const P384: Self = Self(0x0011);
    /// DHKEM(P-521, HKDF-SHA512).
    pub const P521: Self = Self(0x0012);
    /// DHKEM(X25519, HKDF-SHA256).
    pub const X25519: Self = Self(0x0020);
    /// X-Wing: ML-KEM-768 with X25519 (draft-ietf-hpke-pq).
    pub const X_WING: Self = Self(0x647a);

    /// Every KEM that this build implements: X-Wing with the feature `x-wing` only.
    pub const ALL: &'static [Self] = &[
        Self::P256,
        Self::P384,
        Self::P521,
        Self::X25519,
        #[cfg(feature = "x-wing")]
        Self::X_WING,
    ];

    /// The KDF inside a DHKEM (RFC 9180 §7.1); `None` for other KEMs.
    pub(super) fn own_kdf(self) -> Option<Kdf> {
        match self {
            Self::P256 | Self::X25519 => Some(Kdf::HKDF_SHA256),
            Self::P384 => Some(Kdf::HKDF_SHA384),
            Self::P521 => Some(Kdf::HKDF_SHA512),
            _ => None,
        }
    }
}

/// An HPKE key derivation function (RFC 9180 §7.2), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kdf(pub u16);

impl Kdf {
    /// HKDF-SHA256.
    pub const HKDF_SHA256: Self = Self(0x0001);
    /// HKDF-SHA384.
    pub const HKDF_SHA384: Self = Self(0x0002);
    /// HKDF-SHA512.
    pub const HKDF_SHA512: Self = Self(0x0003);

    /// Every KDF that this crate implements.
    pub const ALL: [Self; 3] = [Self::HKDF_SHA256, Self::HKDF_SHA384, Self::HKDF_SHA512];
}

/// An HPKE authenticated encryption algorithm (RFC 9180 §7.3), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aead(pub u16);

impl Aead {
    /// AES-128-GCM.
    pub const AES_128_GCM: Self = Self(0x0001);
    /// AES-256-GCM.
    pub const AES_256_GCM: Self = Self(0x0002);
    /// ChaCha20-Poly1305.
    pub const CHACHA20_POLY1305: Self = Self(0x0003);

    /// Every AEAD that this crate implements.
    pub const ALL: [Self; 3] = [
        Self::AES_128_GCM,
        Self::AES_256_GCM,
        Self::CHACHA20_POLY1305,
    ];
}

macro_rules! named {
    ($ty:ident, $what:literal, $($constant:ident => $name:literal),+ $(,)?) => {
        /// The name used in reports and on the command line; unknown numbers in hexadecimal.
        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$constant => f.write_str($name),)+
                    Self(other) => write!(f, "0x{other:04x}"),
                }
            }
        }

        /// Reads the name that `Display` writes, or the number in decimal or hexadecimal.
        impl FromStr for $ty {
            type Err = UnknownAlgorithm;

            fn from_str(s: &str) -> Result<Self, UnknownAlgorithm> {
                match s.to_ascii_lowercase().as_str() {
                    $($name => Ok(Self::$constant),)+
                    other => parse_number(other)
                        .map(Self)
                        .ok_or_else(|| UnknownAlgorithm {
                            kind: $what,
                            name: s.to_owned(),
                            known: &[$($name),+],
                        }),
                }
            }
        }
    };
}

named!(Kem, "KEM",
    P256 => "p256", P384 => "p384", P521 => "p521", X25519 => "x25519", X_WING => "x-wing");
named!(Kdf, "KDF",
    HKDF_SHA256 => "hkdf-sha256", HKDF_SHA384 => "hkdf-sha384", HKDF_SHA512 => "hkdf-sha512");
named!(Aead, "AEAD",
    AES_128_GCM => "aes-128-gcm", AES_256_GCM => "aes-256-gcm",
    CHACHA20_POLY1305 => "chacha20-poly1305");

fn parse_number(s: &str) -> Option<u16> {
    match s.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => s.parse().ok(),
    }
}

/// A name is not one of an HPKE algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name:?}; known are {}, or give its number", known.join(", "))]
pub struct UnknownAlgorithm {
    kind: &'static str,
    name: String,
    known: &'static [&'static str],
}

/// A KDF and an AEAD: `HpkeSymmetricCipherSuite` of RFC 9849 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymmetricSuite {
    /// The key derivation function.
    pub kdf: Kdf,
    /// The authenticated encryption algorithm.
    pub aead: Aead,
}

impl SymmetricSuite {
    /// The suite that every ECH implementation is expected to have (RFC 9849 §9).
    pub const MANDATORY: Self = Self::new(Kdf::HKDF_SHA256, Aead::AES_128_GCM);

    /// Pairs `kdf` with `aead`.
    pub const fn new(kdf: Kdf, aead: Aead) -> Self {
        Self { kdf, aead }
    }
}

/// `hkdf-sha256,aes-128-gcm`.
impl fmt::Display for SymmetricSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.kdf, self.aead)
    }
}

/// Reads `KDF,AEAD`.
impl FromStr for SymmetricSuite {
    type Err = UnknownAlgorithm;

    fn from_str(s: &str) -> Result<Self, UnknownAlgorithm> {
        let (kdf, aead) = s.split_once(',').unwrap_or((s, ""));
        Ok(Self::new(kdf.trim().parse()?, aead.trim().parse()?))
    }
}

/// A full HPKE suite: KEM, KDF and AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Suite {
    /// The key encapsulation mechanism.
    pub kem: Kem,
    /// KDF and AEAD.
    pub sym: SymmetricSuite,
}

impl Suite {
    /// DHKEM(X25519, HKDF-SHA256) with the mandatory KDF and AEAD (RFC 9849 §9).
    pub const MANDATORY: Self = Self {
        kem: Kem::X25519,
        sym: SymmetricSuite::MANDATORY,
    };

    /// Whether this build implements the KEM, the KDF and the AEAD.
    ///
    /// Never for the export-only AEAD (0xffff), with which no ClientHello can be sealed.
    pub fn is_supported(&self) -> bool {
        Kem::ALL.contains(&self.kem)
            && Kdf::ALL.contains(&self.sym.kdf)
            && Aead::ALL.contains(&self.sym.aead)
    }
}

/// Every suite of this build, most common first: the DHKEMs with the hash of their own, then with
/// the other hashes, then X-Wing.
pub fn suites() -> &'static [Suite] {
    static SUITES: LazyLock<Vec<Suite>> = LazyLock::new(|| {
        const ORDER: [Kem; 5] = [Kem::X25519, Kem::P256, Kem::P384, Kem::P521, Kem::X_WING];
        let kems = ORDER.into_iter().filter(|kem| Kem::ALL.contains(kem));
        let all = kems.flat_map(|kem| {
            Kdf::ALL.into_iter().flat_map(move |kdf| {
                Aead::ALL.map(|aead| Suite {
                    kem,
                    sym: SymmetricSuite::new(kdf, aead),
                })
            })
        });
        let (mut own, others): (Vec<_>, Vec<_>) =
            all.partition(|suite| suite.kem.own_kdf() == Some(suite.sym.kdf));
        own.extend(others);
        own
    });
    &SUITES
}

/// `x25519,hkdf-sha256,aes-128-gcm`, as in reports.
impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.kem, self.sym)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_combination_is_listed_once() {
        let mut seen = suites().to_vec();
        assert_eq!(seen.len(), Kem::ALL.len() * 3 * 3);
        assert_eq!(seen[0], Suite::MANDATORY);
        assert!(seen.iter().all(Suite::is_supported));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), Kem::ALL.len() * 3 * 3);
    }

    #[test]
    fn a_kem_outside_of_this_build_is_unknown() {
        let x_wing = Suite {
            kem: Kem::X_WING,
            sym: SymmetricSuite::MANDATORY,
        };
        assert_eq!(x_wing.is_supported(), cfg!(feature = "x-wing"));
    }

    #[test]
    fn the_export_only_aead_cannot_seal() {
        let sym = SymmetricSuite::new(Kdf::HKDF_SHA256, Aead(0xffff));
        let kem = Kem::X25519;
        assert!(!Suite { kem, sym }.is_supported());
    }

    #[test]
    fn names_and_numbers_are_read_back() {
        assert_eq!("x-wing".parse::<Kem>().unwrap(), Kem::X_WING);
        assert_eq!("0x0010".parse::<Kem>().unwrap(), Kem::P256);
        assert_eq!("2".parse::<Kdf>().unwrap(), Kdf::HKDF_SHA384);
        assert_eq!(
            "hkdf-sha256,chacha20-poly1305"
                .parse::<SymmetricSuite>()
                .unwrap(),
            SymmetricSuite::new(Kdf::HKDF_SHA256, Aead::CHACHA20_POLY1305)
        );
        let error = "rot13".parse::<Aead>().unwrap_err().to_string();
        assert!(
            error.contains("rot13") && error.contains("aes-128-gcm"),
            "{error}"
        );
    }
}
