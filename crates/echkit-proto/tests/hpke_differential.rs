//! Our HPKE against the crate `hpke`, in both directions.
#![allow(clippy::unwrap_used)]

use echkit_proto::hpke::{
    Aead, Kdf, Kem, PrivateKey, Suite, SymmetricSuite, setup_receiver, setup_sender,
};
use hpke::aead::{AesGcm128, AesGcm256, ChaCha20Poly1305};
use hpke::kdf::{HkdfSha256, HkdfSha384, HkdfSha512};
use hpke::kem::{DhP256HkdfSha256, DhP384HkdfSha384, DhP521HkdfSha512, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};

/// `info` is empty, of one byte, and of the length of an ECHConfig and more.
const INFO_LENS: [usize; 4] = [0, 1, 70, 1300];

fn both_directions<A, D, K>() -> Suite
where
    A: hpke::aead::Aead,
    D: hpke::kdf::Kdf,
    K: hpke::kem::Kem,
{
    let suite = Suite {
        kem: Kem(K::KEM_ID),
        sym: SymmetricSuite::new(Kdf(D::KDF_ID), Aead(A::AEAD_ID)),
    };
    for info in INFO_LENS.map(|len| vec![7; len]) {
        ours_to_theirs::<A, D, K>(suite, &info);
        theirs_to_ours::<A, D, K>(suite, &info);
    }
    suite
}

/// Sealed by us to a key of theirs, then to the same key as we read it.
fn ours_to_theirs<A, D, K>(suite: Suite, info: &[u8])
where
    A: hpke::aead::Aead,
    D: hpke::kdf::Kdf,
    K: hpke::kem::Kem,
{
    let (private, public) = K::gen_keypair();
    let read = PrivateKey::from_bytes(suite.kem, &private.to_bytes()).unwrap();
    assert_eq!(read.public_key(), &public.to_bytes()[..], "{suite}");

    let (enc, mut sender) = setup_sender(suite, &public.to_bytes(), info).unwrap();
    let enc = K::EncappedKey::from_bytes(&enc).unwrap();
    let mut receiver =
        hpke::setup_receiver::<A, D, K>(&OpModeR::Base, &private, &enc, info).unwrap();
    for message in 0..3_u8 {
        let (aad, plain) = (vec![message; 9], vec![message; 300]);
        let sealed = sender.seal(&aad, &plain).unwrap();
        assert_eq!(receiver.open(&sealed, &aad).unwrap(), plain, "{suite}");
    }
}

/// Sealed by them to a key of ours, which they read.
fn theirs_to_ours<A, D, K>(suite: Suite, info: &[u8])
where
    A: hpke::aead::Aead,
    D: hpke::kdf::Kdf,
    K: hpke::kem::Kem,
{
    let key = PrivateKey::generate(suite.kem).unwrap();
    let read = K::PrivateKey::from_bytes(&key.to_bytes().unwrap()).unwrap();
    assert_eq!(
        &K::sk_to_pk(&read).to_bytes()[..],
        key.public_key(),
        "{suite}"
    );

    let public = K::PublicKey::from_bytes(key.public_key()).unwrap();
    let (enc, mut sender) = hpke::setup_sender::<A, D, K>(&OpModeS::Base, &public, info).unwrap();
    let mut receiver = setup_receiver(suite.sym, &enc.to_bytes(), &key, info).unwrap();
    for message in 0..3_u8 {
        let (aad, plain) = (vec![message; 9], vec![message; 300]);
        let sealed = sender.seal(&plain, &aad).unwrap();
        assert_eq!(receiver.open(&aad, &sealed).unwrap(), plain, "{suite}");
    }
}

/// Every KDF and AEAD under one KEM; returns the suites that were run.
fn every_symmetric_suite<K: hpke::kem::Kem>() -> Vec<Suite> {
    vec![
        both_directions::<AesGcm128, HkdfSha256, K>(),
        both_directions::<AesGcm256, HkdfSha256, K>(),
        both_directions::<ChaCha20Poly1305, HkdfSha256, K>(),
        both_directions::<AesGcm128, HkdfSha384, K>(),
        both_directions::<AesGcm256, HkdfSha384, K>(),
        both_directions::<ChaCha20Poly1305, HkdfSha384, K>(),
        both_directions::<AesGcm128, HkdfSha512, K>(),
        both_directions::<AesGcm256, HkdfSha512, K>(),
        both_directions::<ChaCha20Poly1305, HkdfSha512, K>(),
    ]
}

#[test]
fn every_suite_agrees_with_the_crate_hpke_in_both_directions() {
    let mut run = every_symmetric_suite::<DhP256HkdfSha256>();
    run.extend(every_symmetric_suite::<DhP384HkdfSha384>());
    run.extend(every_symmetric_suite::<DhP521HkdfSha512>());
    run.extend(every_symmetric_suite::<X25519HkdfSha256>());
    #[cfg(feature = "x-wing")]
    run.extend(every_symmetric_suite::<hpke::kem::XWing>());
    run.sort();
    let mut all = echkit_proto::hpke::suites().to_vec();
    all.sort();
    assert_eq!(run, all);
}
