//! Records opened where they lie: what the data is, and that rustls keeps every rule about the rest.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;

use echkit_proto::tls_record::{APPLICATION_DATA, whole_records};
use echkit_test::in_memory::{Pki, SECRET, connect, kinds};
use echkit_tls::record_opener::{RecordOpener, client_provider};
use echkit_tls::server;
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{
    ClientConnection, Connection, ConnectionTrafficSecrets, ContentType, Error, InvalidMessage,
    PeerMisbehaved, ProtocolVersion, ServerConnection, SupportedCipherSuite,
};

/// A connection whose records are opened in their buffer, as far as they are data.
struct Receiver {
    connection: Connection,
    opener: Option<RecordOpener>,
    data: Vec<u8>,
    /// How many records rustls did not see.
    opened: usize,
}

impl Receiver {
    fn new(connection: impl Into<Connection>) -> Self {
        Self {
            connection: connection.into(),
            opener: None,
            data: Vec::new(),
            opened: 0,
        }
    }

    fn take(&mut self, wire: &[u8]) -> Result<(), Error> {
        for record in whole_records(wire) {
            let mut record = record.bytes.to_vec();
            if !self.connection.is_handshaking()
                && let Some(opener) = &self.opener
                && let Some(range) = opener.open(&mut record)
            {
                self.opened += 1;
                self.data.extend_from_slice(&record[range]);
                continue;
            }
            let (outcome, opener) = RecordOpener::observe(|| {
                let mut rest = &record[..];
                while !rest.is_empty() && self.connection.read_tls(&mut rest).unwrap() > 0 {
                    self.connection.process_new_packets()?;
                }
                Ok::<_, Error>(())
            });
            self.opener = opener.or(self.opener.take());
            let _ = std::io::copy(&mut self.connection.reader(), &mut self.data);
            outcome?;
        }
        Ok(())
    }

    fn sent(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut wire).unwrap();
        }
        wire
    }
}

/// Both ends of a connection under one suite, after the handshake.
fn pair(suite: SupportedCipherSuite) -> (Receiver, Receiver) {
    let only = |provider: &CryptoProvider| {
        let mut provider = provider.clone();
        provider
            .cipher_suites
            .retain(|s| s.suite() == suite.suite());
        provider
    };
    let pki = Pki::new();
    let mut config = pki.client_with(None, client_provider());
    config.enable_secret_extraction = true;
    let mut serving = pki.server_with(Arc::new(only(&server::provider())));
    serving.enable_secret_extraction = true;
    let mut client = Receiver::new(connect(config, SECRET));
    let mut server = Receiver::new(ServerConnection::new(Arc::new(serving)).unwrap());
    while client.connection.is_handshaking() || server.connection.is_handshaking() {
        server.take(&client.sent()).unwrap();
        client.take(&server.sent()).unwrap();
    }
    (client, server)
}

/// Who sends and who receives.
fn ends<'a>(
    client: &'a mut Receiver,
    server: &'a mut Receiver,
    down: bool,
) -> (&'a mut Receiver, &'a mut Receiver) {
    match down {
        true => (server, client),
        false => (client, server),
    }
}

fn suites() -> Vec<SupportedCipherSuite> {
    let suites: Vec<_> = client_provider().cipher_suites;
    // The certificate is one of ECDSA.
    suites
        .into_iter()
        .filter(|suite| !format!("{:?}", suite.suite()).contains("_RSA_"))
        .collect()
}

/// The suite whose keys can be made from what rustls extracts.
fn chacha() -> SupportedCipherSuite {
    let name = rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let suites = client_provider().cipher_suites;
    suites
        .into_iter()
        .find(|suite| suite.suite() == name)
        .unwrap()
}

/// Writes records as a peer that keeps no rules.
struct Forger {
    key: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    fn of(server: Receiver) -> Self {
        let Connection::Server(connection) = server.connection else {
            panic!("not a server");
        };
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another suite");
        };
        let suite = chacha();
        Self {
            key: suite.tls13().unwrap().aead_alg.encrypter(key, iv),
            sequence,
        }
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(payload),
        };
        let sealed = self.key.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }
}

/// A client that has opened a record in place, and a forger of the server's next ones.
fn receiving() -> (Receiver, Forger) {
    let (mut client, mut server) = pair(chacha());
    client.take(&server.sent()).unwrap();
    let mut forger = Forger::of(server);
    for _ in 0..2 {
        client
            .take(&forger.record(ContentType::ApplicationData, b"data"))
            .unwrap();
    }
    assert_eq!((&client.data[..], client.opened), (&b"datadata"[..], 1));
    (client, forger)
}

#[test]
fn data_of_every_suite_is_opened_in_place_both_ways() {
    let suites = suites();
    assert!(suites.len() >= 6, "{suites:?}");
    for suite in suites {
        let (mut client, mut server) = pair(suite);
        for down in [true, false] {
            let (from, to) = ends(&mut client, &mut server, down);
            let mut expected = Vec::new();
            for len in [1, 2, 100, 4096, 16_383, 16_384, 40_000] {
                let data: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
                from.connection.writer().write_all(&data).unwrap();
                to.take(&from.sent()).unwrap();
                expected.extend(data);
            }
            assert!(to.data == expected, "{suite:?}");
            // All but the first of nine records.
            assert_eq!(to.opened, 8, "{suite:?}");
            from.connection.send_close_notify();
            to.take(&from.sent()).unwrap();
            let state = to.connection.process_new_packets().unwrap();
            assert!(state.peer_has_closed(), "{suite:?}");
        }
    }
}

#[test]
fn the_keys_of_key_updates_are_followed_more_often_than_rustls_allows_without_data() {
    let (mut client, mut server) = pair(chacha());
    for round in 0_u8..100 {
        for down in [true, false] {
            let (from, to) = ends(&mut client, &mut server, down);
            from.connection.refresh_traffic_keys().unwrap();
            for _ in 0..3 {
                from.connection.writer().write_all(&[round; 20]).unwrap();
            }
            to.take(&from.sent()).unwrap();
            assert_eq!(to.data, [round; 60]);
            to.data.clear();
        }
    }
    assert!(client.opened >= 100 && server.opened >= 100);
}

#[test]
fn key_updates_without_data_are_still_limited() {
    let (mut client, mut server) = pair(chacha());
    let outcome = (0..100).try_for_each(|_| {
        server.connection.refresh_traffic_keys().unwrap();
        client.take(&server.sent())
    });
    let refused = PeerMisbehaved::TooManyKeyUpdateRequests;
    assert_eq!(outcome, Err(Error::PeerMisbehaved(refused)));
}

#[test]
fn a_damaged_record_ends_the_connection_with_the_alert_of_rustls() {
    for damage in [5, 10, 20] {
        let (mut client, mut forger) = receiving();
        let mut record = forger.record(ContentType::ApplicationData, b"damaged");
        record[damage] ^= 1;
        assert_eq!(client.take(&record), Err(Error::DecryptError));
        assert_eq!(client.data, b"datadata");
        // The alert, and nothing is taken any more.
        assert_eq!(kinds(&client.sent()), [APPLICATION_DATA]);
        let good = forger.record(ContentType::ApplicationData, b"later");
        assert_eq!(client.take(&good), Err(Error::DecryptError));
        assert_eq!(client.data, b"datadata");
    }
}

#[test]
fn after_a_forged_record_not_even_the_true_one_is_taken() {
    let (mut client, mut forger) = receiving();
    let good = forger.record(ContentType::ApplicationData, b"later");
    let mut forged = good.clone();
    forged[10] ^= 1;
    assert_eq!(client.take(&forged), Err(Error::DecryptError));
    assert_eq!(client.take(&good), Err(Error::DecryptError));
    assert_eq!(client.data, b"datadata");
}

#[test]
fn a_record_that_comes_twice_or_out_of_order_is_refused() {
    let (mut client, mut forger) = receiving();
    let record = forger.record(ContentType::ApplicationData, b"once");
    client.take(&record).unwrap();
    assert_eq!(client.take(&record), Err(Error::DecryptError));

    let (mut client, mut forger) = receiving();
    let _lost = forger.record(ContentType::ApplicationData, b"lost");
    let next = forger.record(ContentType::ApplicationData, b"next");
    assert_eq!(client.take(&next), Err(Error::DecryptError));
}

#[test]
fn empty_records_in_a_row_are_still_limited() {
    let (mut client, mut forger) = receiving();
    for _ in 0..20 {
        client
            .take(&forger.record(ContentType::ApplicationData, b""))
            .unwrap();
    }
    for _ in 0..3 {
        client
            .take(&forger.record(ContentType::ApplicationData, b"x"))
            .unwrap();
    }
    let outcome =
        (0..100).try_for_each(|_| client.take(&forger.record(ContentType::ApplicationData, b"")));
    let refused = PeerMisbehaved::TooManyEmptyFragments;
    assert_eq!(outcome, Err(Error::PeerMisbehaved(refused)));
    assert_eq!(client.data, b"datadataxxx");
}

#[test]
fn data_within_a_handshake_message_is_still_refused() {
    let (mut client, mut forger) = receiving();
    // The head of a NewSessionTicket (RFC 8446 §4.6.1).
    client
        .take(&forger.record(ContentType::Handshake, &[4, 0, 0, 50, 0]))
        .unwrap();
    let refused = PeerMisbehaved::MessageInterleavedWithHandshakeMessage;
    assert_eq!(
        client.take(&forger.record(ContentType::ApplicationData, b"within")),
        Err(Error::PeerMisbehaved(refused))
    );
    assert_eq!(client.data, b"datadata");
}

#[test]
fn what_is_no_encrypted_record_is_left_to_rustls() {
    // An alert in the clear, another version, a length that is none.
    for record in [
        &[21, 3, 3, 0, 2, 1, 0][..],
        &[23, 3, 1, 0, 5, 1, 2, 3, 4, 5],
        &[23, 3, 3, 0, 1, 0],
    ] {
        let (mut client, _) = receiving();
        let mut bytes = record.to_vec();
        let opener = client.opener.clone().unwrap();
        assert!(opener.open(&mut bytes).is_none());
        assert!(client.take(record).is_err());
    }
    let (mut client, _) = receiving();
    let refused = client.take(&[99, 3, 3, 0, 1, 0]);
    assert_eq!(
        refused,
        Err(Error::InvalidMessage(InvalidMessage::InvalidContentType))
    );
}

#[test]
fn without_an_observer_there_is_no_opener() {
    let pki = Pki::new();
    let mut client: ClientConnection = connect(pki.client_with(None, client_provider()), SECRET);
    let serving = pki.server_with(server::provider());
    let mut server = ServerConnection::new(Arc::new(serving)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let ((), opener) = RecordOpener::observe(|| ());
    assert!(opener.is_none());
}
