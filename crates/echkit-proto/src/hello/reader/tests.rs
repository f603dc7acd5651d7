#![allow(clippy::unwrap_used)]

use super::*;
use crate::tls_record::wrap_handshake;

fn hello(len: usize) -> Vec<u8> {
    let mut message = vec![1];
    message.extend_from_slice(&(len as u32).to_be_bytes()[1..]);
    message.extend((0..len).map(|i| i as u8));
    message
}

#[test]
fn puts_fragments_together_however_they_are_cut() {
    let message = hello(500);
    for fragment in [1, 2, 3, 32, 503, 504, 16384] {
        let mut wire = wrap_handshake(&message, fragment);
        let end = wire.len();
        wire.extend_from_slice(&[23, 3, 3, 0, 1, 0]);
        for step in [1, 7, 100, wire.len()] {
            let mut reader = HelloReader::default();
            let mut at = 0;
            let found = loop {
                let next = wire.len().min(at + step);
                let (taken, found) = reader.read(&wire[at..next]).unwrap();
                at += taken;
                if let Some(found) = found {
                    break found;
                }
            };
            assert_eq!((found, at), (message.clone(), end), "{fragment} / {step}");
            assert!(reader.is_idle());
        }
    }
}

#[test]
fn refuses_what_cannot_become_a_hello() {
    let read = |bytes: &[u8]| HelloReader::new(1000).read(bytes).unwrap_err();
    assert_eq!(read(&[21, 3, 3, 0, 2]), HelloReadError::NotHandshake(21));
    assert_eq!(read(b"GET / HTTP/1.1"), HelloReadError::NotHandshake(b'G'));
    assert_eq!(read(&[22, 3, 3, 0, 0]), HelloReadError::Empty);
    assert_eq!(read(&[22, 3, 3, 0x40, 1]), HelloReadError::Overflow(16385));
    assert_eq!(read(&[22, 3, 1, 0, 4, 2]), HelloReadError::NotClientHello);
    assert_eq!(
        read(&wrap_handshake(&hello(997), 99)),
        HelloReadError::TooLong(1001)
    );
    let mut two = hello(9);
    two.extend(hello(9));
    assert_eq!(read(&wrap_handshake(&two, 100)), HelloReadError::Trailing);
    let mut mixed = wrap_handshake(&hello(9), 5)[..10].to_vec();
    mixed.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
    assert_eq!(read(&mixed), HelloReadError::NotHandshake(20));
}
