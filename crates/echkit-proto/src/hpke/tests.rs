#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn every_suite_opens_in_sequence_what_it_seals_and_refuses_what_was_changed() {
    for suite in suites() {
        let key = PrivateKey::generate(suite.kem).unwrap();
        let (enc, mut sender) = setup_sender(*suite, key.public_key(), b"info").unwrap();
        let first = sender.seal(b"aad", b"first").unwrap();
        let second = sender.seal(b"aad2", b"second").unwrap();
        assert_eq!(first.len(), b"first".len() + 16, "{suite}");
        let receiver = |info: &[u8]| setup_receiver(suite.sym, &enc, &key, info).unwrap();

        let mut opened = receiver(b"info");
        assert_eq!(opened.open(b"aad2", &second), Err(HpkeError::Open));
        assert_eq!(opened.open(b"aad", &first).unwrap(), b"first");
        assert_eq!(opened.open(b"aad", &first), Err(HpkeError::Open));
        assert_eq!(opened.open(b"aad2", &second).unwrap(), b"second");

        let mut changed = first.clone();
        changed[0] ^= 1;
        assert_eq!(
            receiver(b"info").open(b"aad", &changed),
            Err(HpkeError::Open)
        );
        assert_eq!(receiver(b"info").open(b"aae", &first), Err(HpkeError::Open));
        assert_eq!(
            receiver(b"other").open(b"aad", &first),
            Err(HpkeError::Open)
        );
        assert_eq!(
            receiver(b"info").open(b"aad", b"short"),
            Err(HpkeError::Open)
        );
    }
}

#[test]
fn private_keys_are_read_back_and_their_public_key_is_the_same() {
    for kem in Kem::ALL {
        let key = PrivateKey::generate(*kem).unwrap();
        let again = PrivateKey::from_bytes(*kem, &key.to_bytes().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key(), "{kem}");
        assert_eq!(again.to_bytes().unwrap(), key.to_bytes().unwrap());
        assert_eq!(check_public_key(*kem, key.public_key()), Ok(()));
    }
}

/// The check of a config refuses it, and the key agreement itself at either end.
fn assert_invalid(kem: Kem, public: &[u8], what: &str) {
    let refused = Err(HpkeError::PublicKey(kem));
    assert_eq!(check_public_key(kem, public), refused, "{kem}: {what}");
    assert_no_exchange(kem, public, what);
}

fn assert_no_exchange(kem: Kem, public: &[u8], what: &str) {
    let suite = Suite {
        kem,
        sym: SymmetricSuite::MANDATORY,
    };
    let sent = setup_sender(suite, public, b"");
    assert_eq!(
        sent.unwrap_err(),
        HpkeError::PublicKey(kem),
        "{kem}: {what}"
    );
    let key = PrivateKey::generate(kem).unwrap();
    let received = setup_receiver(suite.sym, public, &key, b"");
    assert_eq!(
        received.unwrap_err(),
        HpkeError::EncapsulatedKey(kem),
        "{kem}: {what}"
    );
}

#[test]
fn public_keys_of_a_wrong_length_are_refused_as_receiver_and_as_enc() {
    for kem in [Kem::P256, Kem::P384, Kem::P521, Kem::X25519] {
        let key = PrivateKey::generate(kem).unwrap();
        let good = key.public_key();
        assert_invalid(kem, &[], "empty");
        assert_invalid(kem, &good[1..], "the first byte is missing");
        assert_invalid(kem, &good[..good.len() - 1], "the last byte is missing");
        assert_invalid(kem, &[good, &[0]].concat(), "one byte more");
    }
}

#[test]
fn points_off_the_curve_or_in_another_form_are_refused() {
    for kem in [Kem::P256, Kem::P384, Kem::P521] {
        let key = PrivateKey::generate(kem).unwrap();
        let good = key.public_key().to_vec();
        let half = good.len() / 2;

        let mut off = good.clone();
        *off.last_mut().unwrap() ^= 1;
        assert_invalid(kem, &off, "off the curve");
        let mut hybrid = good.clone();
        hybrid[0] = 6 + (good.last().unwrap() & 1);
        assert_invalid(kem, &hybrid, "hybrid form");
        let mut compressed = good[..=half].to_vec();
        compressed[0] = 2 + (good.last().unwrap() & 1);
        assert_invalid(kem, &compressed, "compressed form");
        assert_invalid(kem, &vec![4; good.len()], "no point");
        assert_invalid(kem, &[0], "the point at infinity");
    }
}

/// The low-order points of RFC 7748 §6.1, also with the top bit set, which X25519 ignores.
#[test]
fn x25519_keys_that_share_no_secret_are_refused_in_the_exchange() {
    use hex_literal::hex;
    let points = [
        hex!("0000000000000000000000000000000000000000000000000000000000000000"),
        hex!("0100000000000000000000000000000000000000000000000000000000000000"),
        hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ];
    for mut point in points {
        assert_no_exchange(Kem::X25519, &point, "low order");
        point[31] |= 0x80;
        assert_no_exchange(Kem::X25519, &point, "low order, top bit set");
    }
}

#[cfg(feature = "x-wing")]
#[test]
fn x_wing_keys_of_a_wrong_length_or_with_coefficients_out_of_range_are_refused() {
    let key = PrivateKey::generate(Kem::X_WING).unwrap();
    let good = key.public_key().to_vec();
    assert_invalid(Kem::X_WING, &good[1..], "short");
    // FIPS 203 §7.2: coefficients are below 3329.
    let mut out_of_range = good;
    out_of_range[..3].fill(0xff);
    let refused = Err(HpkeError::PublicKey(Kem::X_WING));
    assert_eq!(check_public_key(Kem::X_WING, &out_of_range), refused);
}

#[test]
fn private_keys_of_a_wrong_length_or_out_of_range_are_refused() {
    for kem in Kem::ALL {
        let len = PrivateKey::generate(*kem)
            .unwrap()
            .to_bytes()
            .unwrap()
            .len();
        let import = |bytes: &[u8]| PrivateKey::from_bytes(*kem, bytes).map(|_| ());
        let refused = Err(HpkeError::PrivateKey(*kem));
        assert_eq!(import(&[]), refused, "{kem}");
        assert_eq!(import(&vec![1; len - 1]), refused, "{kem}");
        assert_eq!(import(&vec![1; len + 1]), refused, "{kem}");
        if matches!(*kem, Kem::P256 | Kem::P384 | Kem::P521) {
            assert_eq!(import(&vec![0; len]), refused, "{kem}: zero");
            assert_eq!(import(&vec![0xff; len]), refused, "{kem}: above the order");
        }
    }
    let unknown = PrivateKey::from_bytes(Kem(0x7fff), &[1; 32]);
    assert_eq!(unknown.unwrap_err(), HpkeError::UnknownKem(Kem(0x7fff)));
    let unknown = PrivateKey::generate(Kem(0x7fff));
    assert_eq!(unknown.unwrap_err(), HpkeError::UnknownKem(Kem(0x7fff)));
}

#[test]
fn an_info_beyond_the_bound_is_refused_at_both_ends() {
    let key = PrivateKey::generate(Kem::X25519).unwrap();
    let longest = vec![7; MAX_INFO];
    let (enc, mut sender) = setup_sender(Suite::MANDATORY, key.public_key(), &longest).unwrap();
    let sealed = sender.seal(b"", b"x").unwrap();
    let mut receiver = setup_receiver(SymmetricSuite::MANDATORY, &enc, &key, &longest).unwrap();
    assert_eq!(receiver.open(b"", &sealed).unwrap(), b"x");

    let too_long = vec![7; MAX_INFO + 1];
    let error = HpkeError::InfoTooLong(MAX_INFO + 1);
    let sent = setup_sender(Suite::MANDATORY, key.public_key(), &too_long);
    assert_eq!(sent.unwrap_err(), error);
    let received = setup_receiver(SymmetricSuite::MANDATORY, &enc, &key, &too_long);
    assert_eq!(received.unwrap_err(), error);
}

#[test]
fn unknown_suites_are_refused() {
    let key = PrivateKey::generate(Kem::X25519).unwrap();
    let export_only = SymmetricSuite::new(Kdf::HKDF_SHA256, Aead(0xffff));
    let suite = Suite {
        kem: Kem::X25519,
        sym: export_only,
    };
    let error = HpkeError::UnknownSuite(suite);
    assert_eq!(
        setup_sender(suite, key.public_key(), b"").unwrap_err(),
        error
    );
    let received = setup_receiver(export_only, key.public_key(), &key, b"");
    assert_eq!(received.unwrap_err(), error);
}

#[test]
fn debug_output_holds_no_secret() {
    let key = PrivateKey::generate(Kem::X25519).unwrap();
    let (_, sender) = setup_sender(Suite::MANDATORY, key.public_key(), b"").unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey { kem: Kem(32), .. }");
    assert_eq!(format!("{sender:?}"), "SenderContext { .. }");
}
