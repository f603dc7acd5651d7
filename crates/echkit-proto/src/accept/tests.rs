#![allow(clippy::unwrap_used)]

use aws_lc_rs::hkdf::{Algorithm, HKDF_SHA256, HKDF_SHA384, KeyType, Salt};
use hex_literal::hex;

use super::*;

struct Len;

impl KeyType for Len {
    fn len(&self) -> usize {
        CONFIRMATION_LEN
    }
}

fn hkdf(algorithm: Algorithm) -> impl FnOnce(&[u8], &[&[u8]], &mut [u8]) -> Option<()> {
    move |secret, info, out| {
        let prk = Salt::none(algorithm).extract(secret);
        prk.expand(info, Len).and_then(|okm| okm.fill(out)).ok()
    }
}

/// The expected values come from the formula of RFC 9849 §7.2 written with Python's `hmac`.
#[test]
fn confirmations_match_known_answers() {
    let random: [u8; 32] = std::array::from_fn(|i| i as u8);
    let plain = b"ech accept confirmation";
    let retry = b"hrr ech accept confirmation";
    for (algorithm, len, label, expected) in [
        (HKDF_SHA256, 32, &plain[..], hex!("f1f6f4b813d09a45")),
        (HKDF_SHA256, 32, &retry[..], hex!("69f0b4570780ace5")),
        (HKDF_SHA384, 48, &plain[..], hex!("c4bb5546299b6146")),
        (HKDF_SHA384, 48, &retry[..], hex!("7724022ac8090a4c")),
    ] {
        let hash = vec![0xaa; len];
        let value = confirmation(hkdf(algorithm), &random, label, &hash);
        assert_eq!(value, Some(expected));
    }
}

fn server_hello(random: &[u8; 32], extensions: &[u8]) -> Vec<u8> {
    let mut message = vec![2, 0, 0, 0, 3, 3];
    message.extend_from_slice(random);
    message.extend_from_slice(&[2, 0xaa, 0xbb, 0x13, 0x01, 0]);
    message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    message.extend_from_slice(extensions);
    let len = message.len() as u8 - 4;
    message[3] = len;
    message
}

#[test]
fn server_hello_changes_only_the_end_of_its_random() {
    let message = server_hello(&[9; 32], &[0, 0x2b, 0, 2, 3, 4]);
    let unconfirmed = Unconfirmed::new(&message).unwrap();
    assert_eq!(unconfirmed.bytes()[30..38], [0; 8]);
    assert_eq!(unconfirmed.label, b"ech accept confirmation");
    let done = unconfirmed
        .confirm(hkdf(HKDF_SHA256), &[1; 32], &[2; 32])
        .unwrap();
    assert_eq!(done[..30], message[..30]);
    assert_eq!(done[38..], message[38..]);
    assert_ne!(done[30..38], [0; 8]);
}

#[test]
fn hello_retry_request_gains_an_extension() {
    let message = server_hello(&HRR_RANDOM, &[0, 0x2b, 0, 2, 3, 4]);
    assert!(is_hello_retry_request(&message));
    let unconfirmed = Unconfirmed::new(&message).unwrap();
    assert_eq!(unconfirmed.label, b"hrr ech accept confirmation");
    let expected = server_hello(&HRR_RANDOM, &hex!("002b00020304 fe0d0008 0000000000000000"));
    assert_eq!(unconfirmed.bytes(), expected);
    // A message that has the extension already is not ours to change.
    assert_eq!(Unconfirmed::new(&expected), None);
}

#[test]
fn other_messages_are_left_alone() {
    assert_eq!(Unconfirmed::new(&[]), None);
    assert_eq!(Unconfirmed::new(&[8, 0, 0, 2, 0, 0]), None);
    let message = server_hello(&HRR_RANDOM, &[0, 0x2b, 0, 2, 3, 4]);
    for cut in 0..message.len() {
        if is_hello_retry_request(&message[..cut]) {
            assert_eq!(Unconfirmed::new(&message[..cut]), None, "cut at {cut}");
        }
    }
}
