//! Handshakes of the client that fail: with which alert, read from the bytes that it sent, with
//! which report, and never with the hidden name.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use echkit::report::EchStatus;
use echkit::server::{self, AcceptError, Acceptor, EchKeys, EchOutcome, HandshakeError};
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_proto::key::EchKey;
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, Tamper, ech_key, list};
use echkit_test::sealed::{SUITE, SecretLog, alert_of};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const BOTH: [EchMode; 2] = [EchMode::Prefer, EchMode::Require];

/// What one failed connection was.
struct Seen {
    error: Error,
    /// The alert that the client sent last, opened.
    alert: Option<u8>,
    /// How the server saw it.
    served: Result<EchOutcome, AcceptError>,
}

impl Seen {
    fn status(&self) -> EchStatus {
        self.error.report().unwrap().ech.status
    }
}

type Served = JoinHandle<Result<EchOutcome, AcceptError>>;

/// An ECH server for one connection.
async fn serve(
    pki: &Pki,
    names: &[&str],
    hello_retry: bool,
    keys: EchKeys,
) -> (SocketAddr, Served) {
    let mut provider = (*server::provider()).clone();
    provider
        .cipher_suites
        .retain(|s| s.suite() == SUITE.suite());
    if hello_retry {
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
    }
    let config = pki.server_with(names, provider, rustls::ALL_VERSIONS);
    let acceptor = Acceptor::new(Arc::new(config), keys).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut accepted = acceptor.accept(tcp).await?;
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut accepted.stream, &mut rest).await;
        Ok(accepted.outcome)
    });
    (address, served)
}

/// The client's one connection with what it knows of, through a tampering relay.
async fn fail(
    pki: &Pki,
    (address, served): (SocketAddr, Served),
    known: &EchKey,
    mode: EchMode,
    tamper: Tamper,
) -> Seen {
    let relay = Relay::tampering(address, tamper).await;
    let log = Arc::new(SecretLog::default());
    let client = Client::builder()
        .tls(pki.tls().key_log(log.clone()))
        .ech(mode)
        .ech_config(list(known))
        .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
        .build()
        .unwrap();
    let request = client.get(&format!("https://{HIDDEN}/"));
    let error = request.send().await.unwrap_err();
    // The server has heard all that the relay has.
    let served = served.await.unwrap();
    relay.assert_hidden(HIDDEN);
    let captured = relay.captured();
    assert_eq!(captured.len(), 1, "one connection, and none after it");
    Seen {
        error,
        alert: alert_of(&log.open_client(&captured[0])),
        served,
    }
}

fn flip(record: &mut [u8], at: usize) {
    record[at] ^= 1;
}

/// The last byte of the random, behind the headers of record and handshake, and the version.
const CONFIRMATION_END: usize = 5 + 4 + 2 + 31;

/// A changed confirmation is a rejection to the client. The server, which accepted, has other keys:
/// what it says for the public_name cannot be read, which is not a rejection that counts.
#[tokio::test]
async fn a_spoilt_confirmation_ends_with_bad_record_mac() {
    let (pki, key) = (Pki::new(), ech_key());
    for mode in BOTH {
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys).await;
        let seen = fail(&pki, server, &key, mode, |_, mut record| {
            flip(&mut record, CONFIRMATION_END);
            record
        })
        .await;
        assert_eq!(seen.alert, Some(20));
        assert_eq!(seen.error.kind(), ErrorKind::Tls);
        assert_eq!(seen.status(), EchStatus::Failed);
        let Err(AcceptError::Finishing { outcome, .. }) = seen.served else {
            panic!("{:?}", seen.served);
        };
        assert!(matches!(*outcome, EchOutcome::Accepted { .. }));
    }
}

/// RFC 9849 §6.1.5: what was accepted in the HelloRetryRequest cannot be rejected afterwards.
#[tokio::test]
async fn a_confirmation_spoilt_after_the_retry_ends_with_illegal_parameter() {
    let (pki, key) = (Pki::new(), ech_key());
    for mode in BOTH {
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], true, keys).await;
        let seen = fail(&pki, server, &key, mode, |number, mut record| {
            if number == 1 {
                flip(&mut record, CONFIRMATION_END);
            }
            record
        })
        .await;
        assert_eq!(seen.alert, Some(47));
        assert_eq!(seen.status(), EchStatus::Failed);
        assert!(seen.served.is_err());
    }
}

/// The confirmation is last in our HelloRetryRequest. Spoilt, it makes the client repeat its offer,
/// which a server that has accepted it refuses.
#[tokio::test]
async fn a_spoilt_retry_confirmation_ends_with_the_servers_illegal_parameter() {
    let (pki, key) = (Pki::new(), ech_key());
    for mode in BOTH {
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], true, keys).await;
        let seen = fail(&pki, server, &key, mode, |number, mut record| {
            if number == 0 {
                let last = record.len() - 1;
                flip(&mut record, last);
            }
            record
        })
        .await;
        assert!(
            seen.error.to_string().contains("IllegalParameter"),
            "{}",
            seen.error
        );
        assert_eq!(seen.status(), EchStatus::Failed);
        assert!(matches!(
            seen.served,
            Err(AcceptError::Handshake(HandshakeError::Client(
                server::Misbehaviour::SecondChanged
            )))
        ));
    }
}

/// RFC 9849 §6.1.4: the extension of a HelloRetryRequest has eight bytes.
#[tokio::test]
async fn a_short_retry_confirmation_ends_with_decode_error() {
    let (pki, key) = (Pki::new(), ech_key());
    for mode in BOTH {
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], true, keys).await;
        let seen = fail(&pki, server, &key, mode, |_, mut record| {
            assert_eq!(record.len(), 5 + 4 + 2 + 32 + 33 + 3 + 2 + 6 + 6 + 12);
            record.pop();
            // The lengths of record, message, extensions (behind version, random, a session id
            // of 32 bytes, suite and compression), and of the extension itself.
            let extension = record.len() - 7 - 1;
            for low_byte in [4, 8, 5 + 4 + 2 + 32 + 33 + 3 + 1, extension] {
                record[low_byte] -= 1;
            }
            record
        })
        .await;
        assert_eq!(seen.alert, Some(50));
        assert_eq!(seen.status(), EchStatus::Failed);
        assert!(seen.served.is_err());
    }
}

/// An answer cut short by the end of the stream.
#[tokio::test]
async fn a_truncated_server_hello_ends_with_decode_error() {
    let (pki, key) = (Pki::new(), ech_key());
    for mode in BOTH {
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys).await;
        let seen = fail(&pki, server, &key, mode, |_, mut record| {
            record.truncate(50);
            record
        })
        .await;
        assert_eq!(seen.alert, Some(50));
        assert_eq!(seen.status(), EchStatus::Failed);
        assert!(seen.served.is_err());
    }
}

/// RFC 9849 §6.1.6: an authenticated rejection ends with ech_required, and a Finished before it.
#[tokio::test]
async fn an_authenticated_rejection_ends_with_ech_required() {
    let pki = Pki::new();
    for hello_retry in [false, true] {
        let keys = EchKeys::new(vec![ech_key()])
            .unwrap()
            .with_retry_configs(None)
            .unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], hello_retry, keys).await;
        let stale = ech_key();
        let seen = fail(&pki, server, &stale, EchMode::Require, |_, r| r).await;
        assert_eq!(seen.alert, Some(121));
        assert_eq!(seen.error.kind(), ErrorKind::EchRequired);
        assert_eq!(seen.status(), EchStatus::Rejected);
    }
}

/// One that is not authenticated for the public_name ends with bad_certificate, and its
/// retry_configs are worth nothing.
#[tokio::test]
async fn a_rejection_under_another_name_ends_with_bad_certificate() {
    let pki = Pki::new();
    for mode in BOTH {
        let keys = EchKeys::new(vec![ech_key()]).unwrap();
        let server = serve(&pki, &[HIDDEN], false, keys).await;
        let seen = fail(&pki, server, &ech_key(), mode, |_, r| r).await;
        assert_eq!(seen.alert, Some(42));
        assert_eq!(seen.error.kind(), ErrorKind::Certificate);
        assert_eq!(seen.status(), EchStatus::Failed);
        assert_eq!(seen.error.report().unwrap().ech.retry_configs, None);
    }
}
