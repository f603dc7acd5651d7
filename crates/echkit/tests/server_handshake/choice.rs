//! The configuration is chosen once the hello is known, by the name inside.

use std::sync::Arc;

use echkit::server::{EchKeys, EchOutcome, EchServer, Handshake, HandshakeError, provider};
use rustls::client::EchStatus;
use rustls::{ClientConnection, ProtocolVersion};

use echkit_test::in_memory::{
    PUBLIC, Pki, SECRET, connect, ech_key, grease, offer, retrying_client, retrying_server, server,
};

const SITE: &[u8] = b"site";

fn speaking(pki: &Pki, protocol: &[u8]) -> EchServer {
    let mut config = pki.server();
    config.alpn_protocols = vec![protocol.to_vec()];
    server(config, Vec::new())
}

/// Delivers bytes both ways until the server is done, answering hellos with `site`.
fn run(
    handshake: &mut Handshake,
    client: &mut ClientConnection,
    site: &EchServer,
    asked: &mut Vec<Option<String>>,
) {
    while !handshake.is_done() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        assert!(!bytes.is_empty());
        for byte in bytes.chunks(100) {
            handshake.read(byte).unwrap();
        }
        if let Some(hello) = handshake.hello() {
            asked.push(hello.server_name().map(str::to_owned));
            assert!(handshake.take_output().is_empty());
            handshake.answer(site).unwrap();
            assert!(handshake.hello().is_none());
        }
        let output = handshake.take_output();
        let mut output = output.as_slice();
        while !output.is_empty() {
            client.read_tls(&mut output).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

#[test]
fn the_name_inside_chooses_the_configuration_that_answers() {
    let pki = Pki::new();
    let key = ech_key(7);
    let front = server(pki.server(), vec![key.clone()]);
    for retrying in [false, true] {
        let mut config = match retrying {
            true => pki.client_with(offer(&key), retrying_client()),
            false => pki.client(offer(&key)),
        };
        config.alpn_protocols = vec![b"other".to_vec(), SITE.to_vec()];
        let site = match retrying {
            true => {
                let mut config = pki.server_with(retrying_server());
                config.alpn_protocols = vec![SITE.to_vec()];
                EchServer::new(Arc::new(config), EchKeys::default()).unwrap()
            }
            false => speaking(&pki, SITE),
        };
        let mut client = connect(config, SECRET);
        let mut handshake = front.handshake_with_choice();
        let mut asked = Vec::new();
        run(&mut handshake, &mut client, &site, &mut asked);
        assert_eq!(asked, [Some(SECRET.to_owned())]);
        assert_eq!(client.ech_status(), EchStatus::Accepted);
        let (conn, outcome) = handshake.finish().unwrap();
        assert!(matches!(outcome, EchOutcome::Accepted { .. }));
        assert_eq!(conn.alpn_protocol(), Some(SITE));
    }
}

#[test]
fn a_hello_that_was_not_opened_chooses_by_the_name_outside() {
    let pki = Pki::new();
    let front = server(pki.server(), vec![ech_key(7)]);
    let site = speaking(&pki, SITE);
    for (mode, name) in [(grease(), PUBLIC), (None, "plain.example")] {
        let offered = mode.is_some();
        let mut config = pki.client(mode);
        config.alpn_protocols = vec![SITE.to_vec()];
        let mut client = connect(config, name);
        let mut handshake = front.handshake_with_choice();
        let mut asked = Vec::new();
        run(&mut handshake, &mut client, &site, &mut asked);
        assert_eq!(asked, [Some(name.to_owned())]);
        let (conn, outcome) = handshake.finish().unwrap();
        assert_eq!(conn.alpn_protocol(), Some(SITE));
        assert_eq!(conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        match outcome {
            // The keys are those that the handshake began with.
            EchOutcome::Rejected { retry_configs, .. } => assert!(offered && retry_configs),
            EchOutcome::NotOffered => assert!(!offered),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn answering_twice_or_too_early_is_refused() {
    let pki = Pki::new();
    let front = server(pki.server_with(provider()), vec![ech_key(7)]);
    let mut handshake = front.handshake_with_choice();
    assert_eq!(handshake.answer(&front), Err(HandshakeError::Over));
    let mut client = connect(pki.client(None), PUBLIC);
    run(&mut handshake, &mut client, &front, &mut Vec::new());
    assert_eq!(handshake.answer(&front), Err(HandshakeError::Over));
    assert!(handshake.is_done());
}
