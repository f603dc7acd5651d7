//! The table of suites: rustls' own first, the crate `hpke` for those that rustls lacks.

use rustls::crypto::aws_lc_rs::hpke as aws;
use rustls::crypto::hpke::Hpke;

use super::rustcrypto::RustCrypto;
use ::hpke::aead::{AesGcm128, AesGcm256, ChaCha20Poly1305};
use ::hpke::kdf::{HkdfSha256, HkdfSha384, HkdfSha512};
use ::hpke::kem::{DhP256HkdfSha256, DhP384HkdfSha384, DhP521HkdfSha512, X25519HkdfSha256, XWing};

/// Every HPKE suite of this crate, commonest first.
pub fn suites() -> &'static [&'static dyn Hpke] {
    SUITES
}

macro_rules! pure {
    ($kem:ty, $kdf:ty, $aead:ty) => {{
        static SUITE: RustCrypto<$aead, $kdf, $kem> = RustCrypto::new();
        &SUITE
    }};
}

static SUITES: &[&dyn Hpke] = &[
    aws::DH_KEM_X25519_HKDF_SHA256_AES_128,
    aws::DH_KEM_X25519_HKDF_SHA256_AES_256,
    aws::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305,
    aws::DH_KEM_P256_HKDF_SHA256_AES_128,
    aws::DH_KEM_P256_HKDF_SHA256_AES_256,
    aws::DH_KEM_P256_HKDF_SHA256_CHACHA20_POLY1305,
    aws::DH_KEM_P384_HKDF_SHA384_AES_128,
    aws::DH_KEM_P384_HKDF_SHA384_AES_256,
    aws::DH_KEM_P384_HKDF_SHA384_CHACHA20_POLY1305,
    aws::DH_KEM_P521_HKDF_SHA512_AES_128,
    aws::DH_KEM_P521_HKDF_SHA512_AES_256,
    aws::DH_KEM_P521_HKDF_SHA512_CHACHA20_POLY1305,
    pure!(X25519HkdfSha256, HkdfSha384, AesGcm128),
    pure!(X25519HkdfSha256, HkdfSha384, AesGcm256),
    pure!(X25519HkdfSha256, HkdfSha384, ChaCha20Poly1305),
    pure!(X25519HkdfSha256, HkdfSha512, AesGcm128),
    pure!(X25519HkdfSha256, HkdfSha512, AesGcm256),
    pure!(X25519HkdfSha256, HkdfSha512, ChaCha20Poly1305),
    pure!(DhP256HkdfSha256, HkdfSha384, AesGcm128),
    pure!(DhP256HkdfSha256, HkdfSha384, AesGcm256),
    pure!(DhP256HkdfSha256, HkdfSha384, ChaCha20Poly1305),
    pure!(DhP256HkdfSha256, HkdfSha512, AesGcm128),
    pure!(DhP256HkdfSha256, HkdfSha512, AesGcm256),
    pure!(DhP256HkdfSha256, HkdfSha512, ChaCha20Poly1305),
    pure!(DhP384HkdfSha384, HkdfSha256, AesGcm128),
    pure!(DhP384HkdfSha384, HkdfSha256, AesGcm256),
    pure!(DhP384HkdfSha384, HkdfSha256, ChaCha20Poly1305),
    pure!(DhP384HkdfSha384, HkdfSha512, AesGcm128),
    pure!(DhP384HkdfSha384, HkdfSha512, AesGcm256),
    pure!(DhP384HkdfSha384, HkdfSha512, ChaCha20Poly1305),
    pure!(DhP521HkdfSha512, HkdfSha256, AesGcm128),
    pure!(DhP521HkdfSha512, HkdfSha256, AesGcm256),
    pure!(DhP521HkdfSha512, HkdfSha256, ChaCha20Poly1305),
    pure!(DhP521HkdfSha512, HkdfSha384, AesGcm128),
    pure!(DhP521HkdfSha512, HkdfSha384, AesGcm256),
    pure!(DhP521HkdfSha512, HkdfSha384, ChaCha20Poly1305),
    pure!(XWing, HkdfSha256, AesGcm128),
    pure!(XWing, HkdfSha256, AesGcm256),
    pure!(XWing, HkdfSha256, ChaCha20Poly1305),
    pure!(XWing, HkdfSha384, AesGcm128),
    pure!(XWing, HkdfSha384, AesGcm256),
    pure!(XWing, HkdfSha384, ChaCha20Poly1305),
    pure!(XWing, HkdfSha512, AesGcm128),
    pure!(XWing, HkdfSha512, AesGcm256),
    pure!(XWing, HkdfSha512, ChaCha20Poly1305),
];
