//! The acceptor on streams: time, size, keys that change, alerts on the wire.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use echkit::server::{AcceptError, Acceptor, EchKeys, EchOutcome, HandshakeError, SetupError};
use echkit_test::in_memory::edit::{first_flight, with_ech_body};
use echkit_test::in_memory::*;
use echkit_test::sealed::{SUITE, SecretLog, alert_of};
use rustls::client::EchStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

#[test]
fn a_config_with_another_provider_is_refused() {
    let pki = Pki::new();
    let foreign = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = Arc::new(pki.server_with(foreign));
    let error = Acceptor::new(config, EchKeys::default()).unwrap_err();
    assert_eq!(error, SetupError::Provider);
}

#[tokio::test]
async fn data_flows_both_ways_after_acceptance() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key.clone()]));
    let (near, far) = duplex(700);
    let serve = tokio::spawn(async move {
        let mut accepted = acceptor.accept(far).await.unwrap();
        let mut asked = [0; 4];
        accepted.stream.read_exact(&mut asked).await.unwrap();
        accepted.stream.write_all(b"pong").await.unwrap();
        accepted.stream.shutdown().await.unwrap();
        (accepted.outcome, asked)
    });
    let connector = TlsConnector::from(Arc::new(pki.client(offer(&key))));
    let mut client = connector
        .connect(SECRET.try_into().unwrap(), near)
        .await
        .unwrap();
    assert_eq!(client.get_ref().1.ech_status(), EchStatus::Accepted);
    client.write_all(b"ping").await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    let (outcome, asked) = serve.await.unwrap();
    assert_eq!((&asked, &got[..]), (b"ping", &b"pong"[..]));
    assert!(matches!(outcome, EchOutcome::Accepted { .. }));
}

#[tokio::test]
async fn a_limit_past_the_end_of_the_clock_is_none() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key.clone()]));
    let acceptor = acceptor.with_timeout(Duration::MAX);
    let (near, far) = duplex(10_000);
    let serve = tokio::spawn(async move { acceptor.accept(far).await.map(drop) });
    let connector = TlsConnector::from(Arc::new(pki.client(offer(&key))));
    let name = SECRET.try_into().unwrap();
    let client = connector.connect(name, near).await.unwrap();
    serve.await.unwrap().unwrap();
    drop(client);
}

#[tokio::test]
async fn rejected_clients_end_with_ech_required() {
    let (pki, stale) = (Pki::new(), ech_key(1));
    let acceptor = Acceptor::from(server(pki.server(), vec![ech_key(2)]));
    let (near, far) = duplex(10_000);
    let serve = tokio::spawn(async move { acceptor.accept(far).await.unwrap_err() });
    let connector = TlsConnector::from(Arc::new(pki.client(offer(&stale))));
    connector
        .connect(SECRET.try_into().unwrap(), near)
        .await
        .unwrap_err();
    let AcceptError::Finishing { outcome, source } = serve.await.unwrap() else {
        panic!("the client must not finish");
    };
    assert!(matches!(
        *outcome,
        EchOutcome::Rejected {
            retry_configs: true,
            ..
        }
    ));
    assert!(
        source.to_string().contains("EncryptedClientHelloRequired"),
        "{source}"
    );
}

/// What a client reads after it has sent `wire` and closed its side, and how the server saw it.
async fn after_all_of(acceptor: &Acceptor, wire: &[u8]) -> (Vec<u8>, AcceptError) {
    let (mut near, far) = duplex(100_000);
    near.write_all(wire).await.unwrap();
    near.shutdown().await.unwrap();
    let error = acceptor.accept(far).await.unwrap_err();
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    (got, error)
}

#[tokio::test]
async fn the_alert_is_on_the_wire_before_the_end() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key]));
    for (wire, alert) in [(&[22, 3, 1, 0, 0], 10), (&[22, 3, 1, 0x40, 1], 22)] {
        let (got, error) = after_all_of(&acceptor, wire).await;
        assert!(matches!(
            error,
            AcceptError::Handshake(HandshakeError::Records(_))
        ));
        assert_eq!(got, [21, 3, 3, 0, 2, 2, alert]);
    }
}

#[tokio::test]
async fn a_truncated_record_is_answered_with_decode_error() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key.clone()]));
    for mode in [offer(&key), grease(), None] {
        let wire = first_flight(pki.client(mode));
        for len in [1, 3, 100, wire.len() - 1] {
            let (got, error) = after_all_of(&acceptor, &wire[..len]).await;
            assert!(matches!(
                error,
                AcceptError::Handshake(HandshakeError::Truncated)
            ));
            assert_eq!(got, [21, 3, 3, 0, 2, 2, 50], "cut at {len}");
        }
    }
    // The client sent nothing that could be answered.
    let (got, error) = after_all_of(&acceptor, &[]).await;
    assert!(matches!(error, AcceptError::Io(_)), "{error}");
    assert!(got.is_empty());
}

/// On TCP, a close that leaves bytes unread is a reset: the client would have it in place of the
/// end that follows the alert, or before the alert.
#[tokio::test]
async fn the_alert_arrives_although_more_was_sent_than_read() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key.clone()]));
    let inner = with_ech_body(&first_flight(pki.client(offer(&key))), &[1]);
    for (head, alert) in [(&inner[..], 47), (&[22, 3, 1, 0, 0], 10)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        // All of it lies in the server's socket before the server reads once.
        client.write_all(head).await.unwrap();
        client.write_all(&[23; 40_000]).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        let serve = tokio::spawn(async move { acceptor.accept(tcp).await.unwrap_err() });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [21, 3, 3, 0, 2, 2, alert]);
        drop(client);
        assert!(matches!(serve.await.unwrap(), AcceptError::Handshake(_)));
    }
}

/// The alert of a handshake that fails after the ServerHello arrives likewise.
#[tokio::test]
async fn the_alert_after_the_server_hello_arrives_too() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let mut provider = (*echkit::server::provider()).clone();
    provider
        .cipher_suites
        .retain(|s| s.suite() == SUITE.suite());
    let mut config = pki.server_with(Arc::new(provider));
    let log = Arc::new(SecretLog::default());
    config.key_log = log.clone();
    let acceptor = Acceptor::from(server(config, vec![key.clone()]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(&first_flight(pki.client(offer(&key))))
        .await
        .unwrap();
    // Records of random bytes, and more of them than are read at once.
    client
        .write_all(&[&[23, 3, 3, 0, 20][..], &[0; 20]].concat().repeat(2000))
        .await
        .unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let serve = tokio::spawn(async move { acceptor.accept(tcp).await.unwrap_err() });
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    // bad_record_mac
    assert_eq!(alert_of(&log.open_server(&got)), Some(20));
    drop(client);
    serve.await.unwrap();
}

/// A client that keeps sending, or stays silent, is not read for ever.
#[tokio::test]
async fn a_refused_client_is_not_listened_to_for_ever() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key]));
    for floods in [true, false] {
        let (mut near, far) = duplex(1000);
        near.write_all(&[22, 3, 1, 0, 0]).await.unwrap();
        let acceptor = acceptor.clone();
        let serve = tokio::spawn(async move { acceptor.accept(far).await.unwrap_err() });
        let mut sent = 0;
        while floods && near.write_all(&[0; 1000]).await.is_ok() {
            sent += 1000;
            assert!(sent < 10_000_000, "still listened to");
        }
        assert!(matches!(serve.await.unwrap(), AcceptError::Handshake(_)));
        drop(near);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_dawdle_are_dropped() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let acceptor = Acceptor::from(server(pki.server(), vec![key.clone()]))
        .with_timeout(Duration::from_millis(50));
    let mut wire = Vec::new();
    connect(pki.client(offer(&key)), SECRET)
        .write_tls(&mut wire)
        .unwrap();
    // Silent after nothing, after half a hello, and after the whole of it.
    for len in [0, wire.len() / 2, wire.len()] {
        let (mut near, far) = duplex(10_000);
        near.write_all(&wire[..len]).await.unwrap();
        let error = acceptor.accept(far).await.unwrap_err();
        assert!(matches!(error, AcceptError::Timeout(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_under_load_without_one_failed_connection() {
    let pki = Arc::new(Pki::new());
    let keys: Vec<_> = (0..20).map(ech_key).collect();
    let acceptor = Acceptor::from(server(pki.server(), vec![keys[0].clone()]));
    // The handshakes of a round may still run when the keys change once, not when they change
    // twice: by then a key is gone.
    let mut before = tokio::task::JoinSet::new();
    for (round, key) in keys.iter().enumerate() {
        // The one before stays good for those who still have it.
        let retired = keys[..round].last().cloned().into_iter().collect();
        let set = EchKeys::new(vec![key.clone()]).unwrap();
        acceptor.keys().store(set.with_retired(retired).unwrap());
        let mut now = tokio::task::JoinSet::new();
        let old = &keys[round.saturating_sub(1)];
        for used in [key, old, key, old, key, key] {
            let (acceptor, config) = (acceptor.clone(), Arc::new(pki.client(offer(used))));
            let current = std::ptr::eq(used, key);
            let group = if current { &mut now } else { &mut before };
            group.spawn(async move {
                let (near, far) = duplex(4000);
                let client = TlsConnector::from(config);
                let (accepted, connected) = tokio::join!(
                    acceptor.accept(far),
                    client.connect(SECRET.try_into().unwrap(), near)
                );
                connected.unwrap();
                let outcome = accepted.unwrap().outcome;
                assert!(
                    matches!(outcome, EchOutcome::Accepted { .. }),
                    "{outcome:?}"
                );
            });
        }
        // Let some of them get under way before the keys change.
        while let Some(done) = before.join_next().await {
            done.unwrap();
        }
        before = now;
    }
    while let Some(done) = before.join_next().await {
        done.unwrap();
    }
}
