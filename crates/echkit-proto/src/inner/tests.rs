#![allow(clippy::unwrap_used)]

use super::*;
use crate::hello::extension::{KEY_SHARE, SERVER_NAME, SUPPORTED_VERSIONS};

const MARKER: (u16, &[u8]) = (ENCRYPTED_CLIENT_HELLO, &[1]);
const TLS13_ONLY: (u16, &[u8]) = (SUPPORTED_VERSIONS, &[2, 3, 4]);

fn structure(session_id: &[u8], extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = vec![3, 3];
    out.extend_from_slice(&[session_id.len() as u8 + 1; 32]);
    out.push(session_id.len() as u8);
    out.extend_from_slice(session_id);
    out.extend_from_slice(&[0, 2, 0x13, 0x01, 1, 0]);
    let mut block = Vec::new();
    for (kind, body) in extensions {
        block.extend_from_slice(&kind.to_be_bytes());
        block.extend_from_slice(&(body.len() as u16).to_be_bytes());
        block.extend_from_slice(body);
    }
    out.extend_from_slice(&(block.len() as u16).to_be_bytes());
    out.extend(block);
    out
}

fn message(structure: Vec<u8>) -> ClientHello {
    let mut out = vec![1];
    out.extend_from_slice(&(structure.len() as u32).to_be_bytes()[1..]);
    out.extend(structure);
    ClientHello::parse(out).unwrap()
}

/// Extensions A, D, B, C, E, F of the example in RFC 9849 §5.1, and an ECH extension.
fn outer() -> ClientHello {
    message(structure(
        &[5; 32],
        &[
            (0xa0, b"a"),
            (0xd0, b"d"),
            (0xb0, b"bb"),
            (ENCRYPTED_CLIENT_HELLO, &[0, 0, 1, 0, 1, 9, 0, 0, 0, 1, 5]),
            (0xc0, b"ccc"),
            (0xe0, b"e"),
            (0xf0, b""),
        ],
    ))
}

fn list(kinds: &[u16]) -> Vec<u8> {
    let mut out = vec![kinds.len() as u8 * 2];
    out.extend(kinds.iter().flat_map(|k| k.to_be_bytes()));
    out
}

fn decode_with(extensions: &[(u16, &[u8])]) -> Result<ClientHello, InnerError> {
    decode_inner(&structure(&[], extensions), &outer())
}

#[test]
fn replaces_the_references_in_place() {
    let names = list(&[0xa0, 0xb0, 0xc0]);
    let mut encoded = structure(
        &[],
        &[MARKER, (ECH_OUTER_EXTENSIONS, &names), (SERVER_NAME, b"x")],
    );
    encoded.extend_from_slice(&[0; 31]);
    let inner = decode_inner(&encoded, &outer()).unwrap();
    let mut expected = structure(
        &[5; 32],
        &[
            MARKER,
            (0xa0, b"a"),
            (0xb0, b"bb"),
            (0xc0, b"ccc"),
            (SERVER_NAME, b"x"),
        ],
    );
    // The random is the inner hello's own.
    expected[2..34].fill(1);
    assert_eq!(inner, message(expected));
}

#[test]
fn takes_the_session_id_of_the_outer_hello() {
    let inner = decode_with(&[MARKER]).unwrap();
    assert_eq!(inner.session_id(), [5; 32]);
    let own = structure(&[6; 8], &[MARKER]);
    assert_eq!(decode_inner(&own, &outer()), Err(InnerError::SessionId));
}

#[test]
fn refuses_padding_that_is_not_zero() {
    let mut encoded = structure(&[], &[MARKER]);
    encoded.extend_from_slice(&[0, 0, 1]);
    assert_eq!(decode_inner(&encoded, &outer()), Err(InnerError::Padding));
}

#[test]
fn refuses_each_forbidden_reference() {
    let with = |kinds: &[u16]| {
        let list = list(kinds);
        decode_with(&[MARKER, (ECH_OUTER_EXTENSIONS, &list)])
    };
    assert!(with(&[0xa0, 0xf0]).is_ok());
    assert_eq!(with(&[0x99]), Err(InnerError::Reference(0x99)));
    assert_eq!(with(&[0xa0, 0xa0]), Err(InnerError::Reference(0xa0)));
    assert_eq!(with(&[0xb0, 0xa0]), Err(InnerError::Reference(0xa0)));
    for kind in [ENCRYPTED_CLIENT_HELLO, ECH_OUTER_EXTENSIONS] {
        assert_eq!(with(&[kind]), Err(InnerError::ForbiddenReference(kind)));
    }
}

#[test]
fn refuses_lists_of_a_wrong_length() {
    for body in [&[0][..], &[1, 0], &[3, 0, 0xa0, 0], &[2, 0, 0xa0, 0]] {
        let result = decode_with(&[MARKER, (ECH_OUTER_EXTENSIONS, body)]);
        assert_eq!(result, Err(InnerError::OuterExtensionsLength), "{body:?}");
    }
    let odd = vec![255; 256];
    assert_eq!(
        decode_with(&[(ECH_OUTER_EXTENSIONS, &odd)]),
        Err(InnerError::OuterExtensionsLength)
    );
}

#[test]
fn refuses_an_extension_from_inside_and_outside() {
    let list = list(&[0xa0]);
    assert_eq!(
        decode_with(&[(0xa0, b"own"), (ECH_OUTER_EXTENSIONS, &list)]),
        Err(InnerError::Hello(HelloError::DuplicateExtension(0xa0)))
    );
}

#[test]
fn refuses_cut_bytes() {
    let whole = structure(&[], &[MARKER, TLS13_ONLY]);
    // Without any extension block a hello is still a hello (TLS 1.2): one cut is well-formed.
    let bare = structure(&[], &[]).len() - 2;
    for cut in (0..whole.len()).filter(|cut| *cut != bare) {
        let result = decode_inner(&whole[..cut], &outer());
        assert!(matches!(result, Err(InnerError::Hello(_))), "cut at {cut}");
    }
}

#[test]
fn an_inner_hello_is_marked_and_offers_only_new_versions() {
    let check = |extensions: &[(u16, &[u8])]| {
        decode_checked(&structure(&[], extensions), &outer()).map(|_| ())
    };
    assert_eq!(check(&[MARKER, TLS13_ONLY]), Ok(()));
    let grease: (u16, &[u8]) = (SUPPORTED_VERSIONS, &[4, 0x0a, 0x0a, 3, 4]);
    assert_eq!(check(&[MARKER, grease]), Ok(()));
    assert_eq!(check(&[TLS13_ONLY]), Err(InnerError::NotMarked));
    let outer_type: (u16, &[u8]) = (ENCRYPTED_CLIENT_HELLO, &[0, 0, 1, 0, 1, 9, 0, 0, 0, 1, 5]);
    assert_eq!(check(&[outer_type, TLS13_ONLY]), Err(InnerError::NotMarked));
    let long: (u16, &[u8]) = (ENCRYPTED_CLIENT_HELLO, &[1, 0]);
    assert_eq!(check(&[long, TLS13_ONLY]), Err(InnerError::NotMarked));
    let both: (u16, &[u8]) = (SUPPORTED_VERSIONS, &[4, 3, 4, 3, 3]);
    assert_eq!(check(&[MARKER, both]), Err(InnerError::OldVersion));
    assert_eq!(check(&[MARKER]), Err(InnerError::OldVersion));
}

#[test]
fn undoes_what_a_rustls_client_encodes() {
    use crate::hello::tests::{offer, rustls_hello};
    use crate::key::{EchKey, KeyParams};

    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    let outer = ClientHello::parse(rustls_hello(Some(offer(&key)), "secret.example")).unwrap();
    let Ok(Some(EchExtension::Outer(ech))) = outer.ech() else {
        panic!("no offer");
    };
    let mut receiver = key.setup_receiver(ech.suite, ech.enc).unwrap();
    let encoded = receiver
        .open(&outer.outer_aad().unwrap(), ech.payload)
        .unwrap();
    let inner = decode_checked(&encoded, &outer).unwrap();
    assert_eq!(inner.server_name(), Some("secret.example"));
    assert_eq!(inner.session_id(), outer.session_id());
    assert_eq!(inner.extension(KEY_SHARE), outer.extension(KEY_SHARE));
}

/// The most expensive hellos that fit: the work stays within one walk over the outer hello.
#[test]
fn hostile_references_cost_one_walk() {
    let many: Vec<(u16, &[u8])> = (0..16_000).map(|kind| (kind + 0x100, &b""[..])).collect();
    let outer = message(structure(&[], &many));
    let ends = list(&(0..127).map(|i| 0x100 + 15_873 + i).collect::<Vec<_>>());
    let missing = list(&[0x05; 127]);
    for (names, works) in [(ends, true), (missing, false)] {
        let encoded = structure(&[], &[MARKER, (ECH_OUTER_EXTENSIONS, &names)]);
        let mut steps = 0;
        assert_eq!(decode(&encoded, &outer, &mut steps).is_ok(), works);
        assert!(steps <= outer.extensions().len(), "{steps} steps");
    }
}
