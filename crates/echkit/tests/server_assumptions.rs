//! What the server side relies on in rustls, each under its name. When an update of rustls breaks
//! one of these, look at `echkit::server` before anything else.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::io::Read;
use std::sync::Arc;

use echkit::server::{EchOutcome, EchServer};
use echkit_proto::hello::handshake_len;
use echkit_proto::tls_record::{APPLICATION_DATA, HANDSHAKE, whole_records};
use echkit_test::in_memory::*;
use rustls::client::EchStatus;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, HandshakeKind,
    ServerConnection, SupportedCipherSuite, Tls13CipherSuite,
};

/// What rustls asks of its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Start,
    Update(Vec<u8>),
    Finish(Vec<u8>),
    Encrypter,
    Encrypt(u64, ContentType, Vec<u8>),
}

thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

fn note(event: Event) {
    EVENTS.with_borrow_mut(|events| events.push(event));
}

/// A provider that notes what it is asked for, and adds `extra` bytes to the first record.
struct Noting<T: ?Sized + 'static> {
    raw: &'static T,
    extra: usize,
}

struct NotingContext(Box<dyn Context>);

impl Hash for Noting<dyn Hash> {
    fn start(&self) -> Box<dyn Context> {
        note(Event::Start);
        Box::new(NotingContext(self.raw.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.raw.hash(data)
    }

    fn output_len(&self) -> usize {
        self.raw.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.raw.algorithm()
    }
}

impl Context for NotingContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        // Forks are for binders and secrets; the transcript itself is what is noted.
        self.0.fork()
    }

    fn finish(self: Box<Self>) -> Output {
        let output = self.0.finish();
        note(Event::Finish(output.as_ref().to_vec()));
        output
    }

    fn update(&mut self, data: &[u8]) {
        note(Event::Update(data.to_vec()));
        self.0.update(data);
    }
}

impl Tls13AeadAlgorithm for Noting<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        note(Event::Encrypter);
        Box::new(NotingEncrypter(self.raw.encrypter(key, iv), self.extra))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.raw.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.raw.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.raw.extract_keys(key, iv)
    }
}

struct NotingEncrypter(Box<dyn MessageEncrypter>, usize);

impl MessageEncrypter for NotingEncrypter {
    fn encrypt(
        &mut self,
        msg: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let mut payload = msg.payload.to_vec();
        note(Event::Encrypt(seq, msg.typ, payload.clone()));
        if seq == 0 {
            payload.extend(vec![0; self.1]);
        }
        self.0.encrypt(
            OutboundPlainMessage {
                typ: msg.typ,
                version: msg.version,
                payload: OutboundChunks::Single(&payload),
            },
            seq,
        )
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.0.encrypted_payload_len(payload_len)
    }
}

fn noting(extra: usize) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| suite.tls13().is_some());
    for suite in &mut provider.cipher_suites {
        let raw = suite.tls13().unwrap();
        *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: CipherSuiteCommon {
                suite: raw.common.suite,
                hash_provider: Box::leak(Box::new(Noting {
                    raw: raw.common.hash_provider,
                    extra,
                })),
                confidentiality_limit: raw.common.confidentiality_limit,
            },
            hkdf_provider: raw.hkdf_provider,
            aead_alg: Box::leak(Box::new(Noting {
                raw: raw.aead_alg,
                extra,
            })),
            quic: None,
        })));
    }
    provider
}

/// The events of a server's first answer, and the bytes that it sent for it.
struct Answer {
    hello: Vec<u8>,
    events: Vec<Event>,
    sent: Vec<u8>,
    conn: ServerConnection,
}

fn answer(provider: CryptoProvider) -> Answer {
    let pki = Pki::new();
    let mut client = connect(pki.client_with(None, retrying_client()), PUBLIC);
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let config = Arc::new(pki.server_with(Arc::new(provider)));
    let mut conn = ServerConnection::new(config).unwrap();
    EVENTS.take();
    conn.read_tls(&mut wire.as_slice()).unwrap();
    conn.process_new_packets().unwrap();
    let events = EVENTS.take();
    let mut sent = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut sent).unwrap();
    }
    Answer {
        hello: wire[5..].to_vec(),
        events,
        sent,
        conn,
    }
}

fn updates(events: &[Event]) -> Vec<&[u8]> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Update(data) if !data.is_empty() => Some(&data[..]),
            _ => None,
        })
        .collect()
}

fn whole_message(data: &[u8]) -> bool {
    handshake_len(data) == Some(data.len())
}

#[test]
fn one_update_is_one_whole_handshake_message() {
    let answer = answer(noting(0));
    let updates = updates(&answer.events);
    assert_eq!(updates[0], answer.hello);
    assert!(updates.iter().all(|data| whole_message(data)));
    let kinds: Vec<_> = updates.iter().map(|data| data[0]).collect();
    // ClientHello, ServerHello, EncryptedExtensions, Certificate, CertificateVerify, Finished.
    assert_eq!(kinds, [1, 2, 8, 11, 15, 20]);
}

#[test]
fn empty_updates_happen() {
    let answer = answer(noting(0));
    assert!(answer.events.contains(&Event::Update(Vec::new())));
}

#[test]
fn hello_retry_request_goes_start_finish_message_hash() {
    let answer = answer(only(aws_lc_rs::kx_group::SECP384R1, &noting(0)));
    let at = answer
        .events
        .iter()
        .position(|event| matches!(event, Event::Finish(_)))
        .unwrap();
    assert_eq!(answer.events[at - 1], Event::Start);
    let Event::Finish(digest) = &answer.events[at] else {
        unreachable!();
    };
    let mut message_hash = vec![254, 0, 0, digest.len() as u8];
    message_hash.extend_from_slice(digest);
    assert_eq!(answer.events[at + 1], Event::Update(message_hash));
    let Event::Update(retry) = &answer.events[at + 2] else {
        panic!("{:?}", answer.events[at + 2]);
    };
    assert!(echkit_proto::accept::is_hello_retry_request(retry));
}

#[test]
fn server_hello_and_retry_are_sent_as_hashed_each_in_its_own_plaintext_record() {
    for provider in [noting(0), only(aws_lc_rs::kx_group::SECP384R1, &noting(0))] {
        let answer = answer(provider);
        let hashed = updates(&answer.events);
        let hashed = hashed.iter().find(|data| data[0] == 2).unwrap();
        let first = whole_records(&answer.sent).next().unwrap();
        assert_eq!(first.header.content_type, HANDSHAKE);
        assert_eq!(first.content(), *hashed);
    }
}

#[test]
fn encrypted_extensions_is_first_in_the_first_encrypted_flight() {
    let answer = answer(noting(0));
    let first = answer.events.iter().find_map(|event| match event {
        Event::Encrypt(seq, typ, payload) => Some((*seq, *typ, payload)),
        _ => None,
    });
    let (seq, typ, payload) = first.unwrap();
    assert_eq!((seq, typ), (0, ContentType::Handshake));
    let updates = updates(&answer.events);
    let extensions = updates.iter().find(|data| data[0] == 8).unwrap();
    assert!(payload.starts_with(extensions));
}

#[test]
fn the_handshake_encrypter_is_made_between_server_hello_and_encrypted_extensions() {
    let answer = answer(noting(0));
    let at = |kind: u8| {
        answer
            .events
            .iter()
            .position(|e| matches!(e, Event::Update(data) if data.first() == Some(&kind)))
            .unwrap()
    };
    let between = &answer.events[at(2)..at(8)];
    let made = between.iter().filter(|e| **e == Event::Encrypter).count();
    assert_eq!(made, 1);
}

#[test]
fn record_length_is_taken_from_the_encrypters_output() {
    let (plain, longer) = (answer(noting(0)), answer(noting(100)));
    // ServerHello and ChangeCipherSpec come first; both lengths are in their headers.
    let first_sealed = |sent: &[u8]| {
        let mut sealed =
            whole_records(sent).filter(|record| record.header.content_type == APPLICATION_DATA);
        sealed.next().unwrap().content().len()
    };
    let sealed = |answer: &Answer| {
        let len = answer.events.iter().find_map(|event| match event {
            Event::Encrypt(0, _, payload) => Some(payload.len()),
            _ => None,
        });
        first_sealed(&answer.sent) - len.unwrap()
    };
    assert_eq!(sealed(&longer), sealed(&plain) + 100);
}

#[test]
fn server_random_is_used_nowhere_else_in_tls13() {
    // The random that the client sees is not the one that rustls drew, and all secrets agree.
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    let joined = join(&server, connect(pki.client(offer(&key)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    assert_same_exporter(&joined);
}

#[test]
fn handshake_kind_tells_of_a_retry_right_after_the_first_hello() {
    let retry = answer(only(aws_lc_rs::kx_group::SECP384R1, &noting(0)));
    assert_eq!(
        retry.conn.handshake_kind(),
        Some(HandshakeKind::FullWithHelloRetryRequest)
    );
    assert_eq!(
        answer(noting(0)).conn.handshake_kind(),
        Some(HandshakeKind::Full)
    );
}

#[test]
fn read_tls_takes_an_empty_slice_for_the_end() {
    let mut conn = answer(noting(0)).conn;
    assert_eq!(conn.read_tls(&mut &[][..]).unwrap(), 0);
    conn.process_new_packets().unwrap();
    let error = conn.reader().read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// A certificate resolver that makes whole handshakes of its own, with and without ECH, on the
/// same thread and with the same provider.
#[derive(Debug)]
struct Nesting {
    certified: Arc<CertifiedKey>,
    inside: EchServer,
    pki: Arc<(Pki, echkit_proto::key::EchKey)>,
}

impl ResolvesServerCert for Nesting {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (pki, key) = &*self.pki;
        for (mode, name) in [(offer(key), SECRET), (grease(), PUBLIC), (None, PUBLIC)] {
            let config = pki.client_with(mode, (*echkit::server::provider()).clone());
            let joined = join(&self.inside, connect(config, name), 9999).unwrap();
            assert_same_exporter(&joined);
        }
        // And one that the front layer does not know of, in the scope of the outer connection.
        let config = Arc::new(pki.server());
        let mut conn = ServerConnection::new(config).unwrap();
        let provider = (*echkit::server::provider()).clone();
        let mut client = connect(pki.client_with(None, provider), PUBLIC);
        while client.is_handshaking() || conn.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            if !wire.is_empty() {
                conn.read_tls(&mut wire.as_slice()).unwrap();
                conn.process_new_packets().unwrap();
            }
            let mut wire = Vec::new();
            conn.write_tls(&mut wire).unwrap();
            if !wire.is_empty() {
                client.read_tls(&mut wire.as_slice()).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        Some(self.certified.clone())
    }
}

#[test]
fn a_handshake_nested_in_a_resolver_keeps_to_itself() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let provider = echkit::server::provider();
    let certified = CertifiedKey::from_der(
        vec![pki.site.cert.clone()],
        pki.site.key.clone_key(),
        &provider,
    )
    .unwrap();
    let inside = server(pki.server(), vec![key.clone()]);
    let shared = Arc::new((pki, key));
    let (pki, key) = &*shared;
    for provider in [provider, retrying_server()] {
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nesting {
                certified: Arc::new(certified.clone()),
                inside: inside.clone(),
                pki: shared.clone(),
            }));
        let outside = server(config, vec![key.clone()]);
        let client = connect(pki.client_with(offer(key), retrying_client()), SECRET);
        let joined = join(&outside, client, 9999).unwrap();
        assert!(matches!(joined.outcome, EchOutcome::Accepted { .. }));
        assert_same_exporter(&joined);
        let client = connect(pki.client_with(grease(), retrying_client()), PUBLIC);
        let joined = join(&outside, client, 9999).unwrap();
        assert!(matches!(joined.outcome, EchOutcome::Rejected { .. }));
        assert_same_exporter(&joined);
    }
}
