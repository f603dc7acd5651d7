//! A server that rejects ECH and resumes a session shows no certificate. RFC 9849 §6.1.2 forbids it
//! that; a client that takes it for authenticated lets anyone who knows a ticket's secret switch
//! ECH off.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use echkit::cache::ConfigCache;
use echkit::report::EchStatus;
use echkit::server::{self, Acceptor, EchKeys};
use echkit::{Client, EchMode, ErrorKind};
use echkit_proto::hello::ClientHello;
use echkit_proto::tls_record::{RECORD_HEADER_LEN, RecordHeader};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, answer, ech_key, list};
use echkit_test::sealed::SUITE;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::crypto::cipher::{AeadKey, Iv, OutboundPlainMessage};
use rustls::crypto::tls13::{HkdfExpander, OkmBlock};
use rustls::server::ProducesTickets;
use rustls::{ContentType, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Tickets under a transparent cover: what a thief of the ticket keys has.
#[derive(Debug, Default)]
struct StolenTickets(Mutex<Vec<Vec<u8>>>);

impl ProducesTickets for StolenTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        7200
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().push(plain.to_vec());
        Some(plain.to_vec())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Some(cipher.to_vec())
    }
}

impl StolenTickets {
    /// The secret of the only session: behind the name, the version and the suite.
    fn secret(&self) -> Vec<u8> {
        let tickets = self.0.lock().unwrap();
        let [ticket] = &tickets[..] else {
            panic!("{} tickets", tickets.len());
        };
        // Behind the length that padding needs.
        let ticket = &ticket[4..];
        assert_eq!(ticket[0], 1, "a name is in it");
        let secret = 2 + usize::from(ticket[1]) + 4;
        let len = usize::from(ticket[secret]);
        ticket[secret + 1..secret + 1 + len].to_vec()
    }
}

/// Serves one visit honestly, and every other as the thief.
async fn serve(pki: &Pki, keys: EchKeys, retry_configs: Option<Vec<u8>>) -> SocketAddr {
    let tickets = Arc::new(StolenTickets::default());
    let mut provider = (*server::provider()).clone();
    provider
        .cipher_suites
        .retain(|s| s.suite() == SUITE.suite());
    let mut config = pki.server_with(&[HIDDEN, PUBLIC], provider, &[&rustls::version::TLS13]);
    config.ticketer = tickets.clone();
    config.send_tls13_tickets = 1;
    let acceptor = Acceptor::new(Arc::new(config), keys).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        answer(acceptor.accept(tcp).await.unwrap().stream).await;
        while let Ok((tcp, _)) = listener.accept().await {
            resume(tcp, &tickets.secret(), retry_configs.as_deref()).await;
        }
    });
    address
}

fn expand(secret: &dyn HkdfExpander, label: &str, context: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 32];
    expand_into(secret, label, context, &mut out);
    out
}

fn expand_into(secret: &dyn HkdfExpander, label: &str, context: &[u8], out: &mut [u8]) {
    let len = (out.len() as u16).to_be_bytes();
    let label = [b"tls13 ", label.as_bytes()].concat();
    let info: [&[u8]; 5] = [
        &len,
        &[label.len() as u8],
        &label,
        &[context.len() as u8],
        context,
    ];
    secret.expand_slice(&info, out).unwrap();
}

fn handshake_message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [
        &kind.to_be_bytes()[..],
        &(body.len() as u16).to_be_bytes(),
        body,
    ]
    .concat()
}

/// Answers the outer hello: no ECH confirmation, the session's secret in place of a certificate.
async fn resume(mut tcp: TcpStream, psk: &[u8], retry_configs: Option<&[u8]>) {
    let mut header = [0; RECORD_HEADER_LEN];
    tcp.read_exact(&mut header).await.unwrap();
    let header = RecordHeader::read(&header).unwrap();
    let mut body = vec![0; header.len.into()];
    tcp.read_exact(&mut body).await.unwrap();
    let hello = ClientHello::parse(body).unwrap();

    let shares = hello.extension(51).unwrap();
    let at = shares
        .windows(4)
        .position(|w| w == [0, 0x1d, 0, 32])
        .unwrap();
    let exchange = X25519.start_and_complete(&shares[at + 4..at + 36]).unwrap();
    let share = [&[0, 0x1d, 0, 32], &exchange.pub_key[..]].concat();
    let extensions = [
        extension(43, &[3, 4]),
        extension(51, &share),
        extension(41, &[0, 0]),
    ]
    .concat();
    let server_hello = handshake_message(
        2,
        &[
            &[3, 3][..],
            &[0x5a; 32],
            &[hello.session_id().len() as u8],
            hello.session_id(),
            &u16::from(SUITE.suite()).to_be_bytes(),
            &[0],
            &(extensions.len() as u16).to_be_bytes(),
            &extensions,
        ]
        .concat(),
    );

    let suite = SUITE.tls13().unwrap();
    let hkdf = suite.hkdf_provider;
    let hash = |parts: &[&[u8]]| {
        let mut context = suite.common.hash_provider.start();
        parts.iter().for_each(|part| context.update(part));
        context.finish()
    };
    let early = hkdf.extract_from_secret(None, psk);
    let derived = expand(&*early, "derived", hash(&[]).as_ref());
    let secret = hkdf.extract_from_secret(Some(&derived), exchange.secret.secret_bytes());
    let so_far = hash(&[hello.bytes(), &server_hello]);
    let traffic = expand(&*secret, "s hs traffic", so_far.as_ref());
    let traffic = hkdf.expander_for_okm(&OkmBlock::new(&traffic));
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    expand_into(&*traffic, "key", &[], &mut key);
    expand_into(&*traffic, "iv", &[], &mut iv);

    let offered = retry_configs.map(|list| extension(0xfe0d, list));
    let offered = offered.unwrap_or_default();
    let encrypted_extensions = handshake_message(
        8,
        &[&(offered.len() as u16).to_be_bytes()[..], &offered].concat(),
    );
    let verified = hash(&[hello.bytes(), &server_hello, &encrypted_extensions]);
    let finished_key = expand(&*traffic, "finished", &[]);
    let verify_data = hkdf.hmac_sign(&OkmBlock::new(&finished_key), verified.as_ref());
    let finished = handshake_message(20, verify_data.as_ref());

    let mut encrypter = suite.aead_alg.encrypter(AeadKey::from(key), Iv::new(iv));
    let plain = [encrypted_extensions, finished].concat();
    let sealed = encrypter
        .encrypt(
            OutboundPlainMessage {
                typ: ContentType::Handshake,
                version: ProtocolVersion::TLSv1_2,
                payload: plain[..].into(),
            },
            0,
        )
        .unwrap()
        .encode();
    let len = (server_hello.len() as u16).to_be_bytes();
    let flight = [&[22, 3, 3], &len[..], &server_hello, &sealed].concat();
    tcp.write_all(&flight).await.unwrap();
    let mut rest = Vec::new();
    let _ = tcp.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn a_rejection_that_resumes_a_session_is_a_failure_and_never_switches_ech_off() {
    let pki = Pki::new();
    for mode in [EchMode::Prefer, EchMode::Require] {
        for with_retry_configs in [false, true] {
            let key = ech_key();
            let theirs = with_retry_configs.then(|| list(&ech_key()).encode());
            let keys = EchKeys::new(vec![key.clone()]).unwrap();
            let relay = Relay::to(serve(&pki, keys, theirs).await).await;
            let cache = ConfigCache::in_memory();
            let client = Client::builder()
                .tls(pki.tls())
                .ech(mode)
                .cache(cache.clone())
                .ech_config(list(&key))
                .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
                .build()
                .unwrap();
            let url = format!("https://{HIDDEN}/");
            let mut response = client.get(&url).send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap(), "hello");
            assert_eq!(response.report().ech.status, EchStatus::Accepted);

            let error = client.get(&url).send().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
            assert!(error.to_string().contains("§6.1.2"), "{error}");
            let report = error.report().unwrap();
            assert_eq!(report.ech.status, EchStatus::Failed);
            assert_eq!(report.ech.retries, 0);
            assert_eq!(report.ech.retry_configs, None);
            assert_eq!(report.attempts.len(), 1, "no other connection");
            assert!(cache.entries().is_empty());
            assert_eq!(relay.captured().len(), 2);
            relay.assert_hidden(HIDDEN);
        }
    }
}
