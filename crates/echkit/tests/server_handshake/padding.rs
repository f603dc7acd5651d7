//! The padding of the server's first encrypted flight (RFC 9849 §6.1.3).

use echkit_proto::key::EchKey;
use echkit_proto::tls_record::APPLICATION_DATA;
use rustls::client::{EchMode, EchStatus};

use echkit_test::in_memory::*;

/// A certificate that is good for `extra` more names: some 30 bytes each.
fn pki(extra: usize) -> Pki {
    let more: Vec<_> = (0..extra)
        .map(|i| format!("one-more-site-{i}.example"))
        .collect();
    let names = [SECRET, PUBLIC].into_iter();
    let names: Vec<_> = names.chain(more.iter().map(String::as_str)).collect();
    Pki::of(&names)
}

/// The lengths of the encrypted records that the server sends before it hears from the client
/// again.
fn flight(pki: &Pki, step: usize, mode: Option<EchMode>, key: &EchKey) -> Vec<usize> {
    let server = server(pki.server(), vec![key.clone()]).with_flight_padding(step);
    let mut wire = Vec::new();
    connect(pki.client(mode), PUBLIC)
        .write_tls(&mut wire)
        .unwrap();
    let mut handshake = server.handshake();
    handshake.read(&wire).unwrap();
    let mut sent = handshake.take_output();
    let (mut conn, _) = handshake.finish().unwrap();
    while conn.wants_write() {
        conn.write_tls(&mut sent).unwrap();
    }
    records_in(&sent)
        .iter()
        .filter(|record| record.header.content_type == APPLICATION_DATA)
        .map(|record| record.content().len())
        .collect()
}

#[test]
fn a_padded_flight_tells_neither_the_certificates_length_nor_what_became_of_the_offer() {
    let key = ech_key(7);
    // Content, its type, and the tag of the AEAD.
    let padded = [4096 + 1 + 16];
    for extra in [0, 20, 60] {
        let pki = pki(extra);
        for mode in [offer(&key), grease(), offer(&ech_key(8))] {
            assert_eq!(flight(&pki, 4096, mode.clone(), &key), padded);
            assert_ne!(flight(&pki, 0, mode, &key), padded);
        }
        // Hellos without ECH show the name anyway.
        assert_ne!(flight(&pki, 4096, None, &key), padded);
    }
}

/// As far as records allow: the last one of a flight that fills several, or a small limit.
#[test]
fn padding_keeps_to_the_limits_of_records() {
    let (pki, key) = (pki(0), ech_key(7));
    let mut config = pki.server();
    config.max_fragment_size = Some(200);
    for config in [config, pki.server()] {
        for step in [1, 150, 16384, usize::MAX] {
            let server = server(config.clone(), vec![key.clone()]).with_flight_padding(step);
            let client = connect(pki.client(offer(&key)), SECRET);
            let joined = join(&server, client, 9999).unwrap();
            assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
            assert_same_exporter(&joined);
            // Rejected, with the longest of records.
            join(&server, connect(pki.client(grease()), PUBLIC), 9999).unwrap();
        }
    }
}
