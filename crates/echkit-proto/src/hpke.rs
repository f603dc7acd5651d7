//! HPKE suites (RFC 9180) behind [`rustls::crypto::hpke::Hpke`].
//!
//! [`suites()`] lists every combination that ECH is used with: the four DHKEMs of RFC 9180 §7.1
//! and X-Wing, with three KDFs (§7.2) and three AEADs (§7.3). rustls' own implementations on
//! aws-lc-rs serve the combinations that it has; the crate `hpke` serves the others.
//!
//! ```
//! use echkit_proto::hpke::{self, Aead, Kdf, Kem, Suite, SymmetricSuite};
//!
//! let suite = Suite { kem: Kem::X25519, sym: SymmetricSuite::new(Kdf::HKDF_SHA384, Aead::AES_256_GCM) };
//! assert_eq!(suite.to_string(), "x25519,hkdf-sha384,aes-256-gcm");
//! assert!(hpke::find(suite).is_some());
//! ```

use std::fmt;
use std::str::FromStr;

use rustls::crypto::hpke::{Hpke, HpkeSuite};
use rustls::internal::msgs::enums::{HpkeAead, HpkeKdf, HpkeKem};
use rustls::internal::msgs::handshake::HpkeSymmetricCipherSuite;

mod rustcrypto;
mod table;

pub(crate) use rustcrypto::public_key;
pub use table::suites;

/// Returns the implementation of `suite`, or `None` where there is none.
///
/// `None` is the answer for unknown KEMs, KDFs and AEADs and for the export-only AEAD (0xffff),
/// with which no ClientHello can be sealed.
pub fn find(suite: Suite) -> Option<&'static dyn Hpke> {
    suites()
        .iter()
        .copied()
        .find(|hpke| Suite::from(hpke.suite()) == suite)
}

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

    /// Every KEM that this crate implements.
    pub const ALL: [Self; 5] = [
        Self::P256,
        Self::P384,
        Self::P521,
        Self::X25519,
        Self::X_WING,
    ];
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
}

/// `x25519,hkdf-sha256,aes-128-gcm`, as it stands in reports.
impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.kem, self.sym)
    }
}

impl From<HpkeSymmetricCipherSuite> for SymmetricSuite {
    fn from(sym: HpkeSymmetricCipherSuite) -> Self {
        Self::new(Kdf(sym.kdf_id.into()), Aead(sym.aead_id.into()))
    }
}

impl From<SymmetricSuite> for HpkeSymmetricCipherSuite {
    fn from(sym: SymmetricSuite) -> Self {
        Self {
            kdf_id: HpkeKdf::from(sym.kdf.0),
            aead_id: HpkeAead::from(sym.aead.0),
        }
    }
}

impl From<HpkeSuite> for Suite {
    fn from(suite: HpkeSuite) -> Self {
        Self {
            kem: Kem(suite.kem.into()),
            sym: suite.sym.into(),
        }
    }
}

impl From<Suite> for HpkeSuite {
    fn from(suite: Suite) -> Self {
        Self {
            kem: HpkeKem::from(suite.kem.0),
            sym: suite.sym.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_combination_is_listed_once() {
        let mut seen: Vec<Suite> = suites().iter().map(|h| h.suite().into()).collect();
        assert_eq!(seen.len(), 5 * 3 * 3);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5 * 3 * 3);
        for kem in Kem::ALL {
            for kdf in Kdf::ALL {
                for aead in Aead::ALL {
                    let sym = SymmetricSuite::new(kdf, aead);
                    assert!(find(Suite { kem, sym }).is_some(), "{kem},{sym}");
                }
            }
        }
    }

    #[test]
    fn every_suite_opens_what_it_seals_and_refuses_what_was_changed() {
        for hpke in suites() {
            let (public, private) = hpke.generate_key_pair().unwrap();
            let (enc, mut sealer) = hpke.setup_sealer(b"info", &public).unwrap();
            let first = sealer.seal(b"aad", b"first").unwrap();
            let second = sealer.seal(b"aad2", b"second").unwrap();
            let mut opener = hpke.setup_opener(&enc, b"info", &private).unwrap();
            assert_eq!(opener.open(b"aad", &first).unwrap(), b"first");
            assert_eq!(opener.open(b"aad2", &second).unwrap(), b"second");

            let mut changed = first;
            changed[0] ^= 1;
            let mut opener = hpke.setup_opener(&enc, b"info", &private).unwrap();
            assert!(opener.open(b"aad", &changed).is_err());
        }
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

    #[test]
    fn the_export_only_aead_cannot_seal() {
        let sym = SymmetricSuite::new(Kdf::HKDF_SHA256, Aead(0xffff));
        assert!(
            find(Suite {
                kem: Kem::X25519,
                sym
            })
            .is_none()
        );
    }
}
