//! The backend server of split mode.

use std::sync::Arc;

use echkit::server::{EchOutcome, EchServer};
use echkit_proto::hello::HelloReader;
use echkit_proto::tls_record::wrap_handshake;
use rustls::client::EchStatus;

use echkit_test::in_memory::*;

#[test]
fn a_backend_confirms_what_a_front_forwards() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for provider in [echkit::server::provider(), retrying_server()] {
        let backend = EchServer::backend(Arc::new(pki.server_with(provider))).unwrap();
        let mut receiver = None;
        let forward = |wire: Vec<u8>| forward(&key, &mut receiver, wire);
        let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
        let joined = join_through(&backend, client, 9999, forward, |b| b).unwrap();
        assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
        assert_same_exporter(&joined);
        let EchOutcome::Backend { inner_sni } = joined.outcome else {
            panic!("{:?}", joined.outcome);
        };
        assert_eq!(inner_sni.as_deref(), Some(SECRET));
    }
}

type Receiver = Option<echkit_proto::hpke::ReceiverContext>;

/// A client-facing server of the simplest kind: opens each hello and sends it on.
fn forward(key: &echkit_proto::key::EchKey, receiver: &mut Receiver, wire: Vec<u8>) -> Vec<u8> {
    use echkit_proto::hello::{ClientHello, EchExtension};
    let start = wire.iter().position(|b| *b == 22).unwrap_or(0);
    // ChangeCipherSpec comes before a second hello.
    let start = if wire[0] == 20 { 6 } else { start };
    let (_, hello) = HelloReader::default().read(&wire[start..]).unwrap();
    let hello = ClientHello::parse(hello.unwrap()).unwrap();
    let Ok(Some(EchExtension::Outer(ech))) = hello.ech() else {
        panic!("no offer");
    };
    let receiver = receiver.get_or_insert_with(|| key.setup_receiver(ech.suite, ech.enc).unwrap());
    let encoded = receiver
        .open(&hello.outer_aad().unwrap(), ech.payload)
        .unwrap();
    let inner = echkit_proto::inner::decode_checked(&encoded, &hello).unwrap();
    wrap_handshake(inner.bytes(), 16384)
}
