#![allow(clippy::unwrap_used)]

use super::*;

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
    assert_eq!(read(&[21, 3, 3, 0, 2]), RecordError::NotHandshake(21));
    assert_eq!(read(b"GET / HTTP/1.1"), RecordError::NotHandshake(b'G'));
    assert_eq!(read(&[22, 3, 3, 0, 0]), RecordError::Empty);
    assert_eq!(read(&[22, 3, 3, 0x40, 1]), RecordError::Overflow(16385));
    assert_eq!(read(&[22, 3, 1, 0, 4, 2]), RecordError::NotClientHello);
    assert_eq!(
        read(&wrap_handshake(&hello(997), 99)),
        RecordError::TooLong(1001)
    );
    let mut two = hello(9);
    two.extend(hello(9));
    assert_eq!(read(&wrap_handshake(&two, 100)), RecordError::Trailing);
    let mut mixed = wrap_handshake(&hello(9), 5)[..10].to_vec();
    mixed.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
    assert_eq!(read(&mixed), RecordError::NotHandshake(20));
}

#[test]
fn observer_finds_both_hellos_and_lets_the_rest_pass() {
    let mut wire = wrap_handshake(&hello(300), 64);
    wire.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
    wire.extend_from_slice(&[23, 3, 3, 0, 3, 1, 2, 3]);
    wire.extend(wrap_handshake(&hello(310), 500));
    wire.extend_from_slice(&[23, 3, 3, 0, 3, 1, 2, 3]);
    for step in [1, 13, 1000] {
        let mut observer = HelloObserver::default();
        let found: Vec<_> = wire.chunks(step).flat_map(|c| observer.feed(c)).collect();
        assert_eq!(found, [hello(300), hello(310)]);
        assert!(!observer.is_inside_hello());
    }
}

#[test]
fn observer_knows_when_it_stands_inside_a_hello() {
    let wire = wrap_handshake(&hello(40), 16);
    let mut observer = HelloObserver::default();
    assert!(observer.feed(&wire[..20]).is_empty());
    assert!(observer.is_inside_hello());
    assert_eq!(observer.feed(&wire[20..]), [hello(40)]);
    assert!(!observer.is_inside_hello());
}

#[test]
fn observer_stops_at_other_handshake_messages() {
    let mut wire = wrap_handshake(&hello(40), 100);
    wire.extend_from_slice(&[22, 3, 3, 0, 4, 16, 0, 0, 0]);
    wire.extend(wrap_handshake(&hello(41), 100));
    assert_eq!(HelloObserver::default().feed(&wire), [hello(40)]);
}
