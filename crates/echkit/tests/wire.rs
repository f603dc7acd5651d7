//! What a recorder keeps: the bytes as the server had them, and the secrets that open them.

#![allow(clippy::unwrap_used)]

use echkit::tls::{ClientTls, Trust};
use echkit::wire::{RecordedConnection, WireRecorder};
use echkit::{Client, EchMode};
use echkit_proto::hello::ClientHello;
use echkit_proto::key_log::LoggedOffers;
use echkit_test::hello::client_hellos;
use echkit_testbed::Testbed;

fn hellos(recorded: &RecordedConnection) -> Vec<ClientHello> {
    client_hellos(&recorded.sent())
}

/// Gets the page of a case. Returns what was recorded once the server has seen the end of each
/// connection.
async fn get(testbed: &Testbed, case: &str) -> WireRecorder {
    let recorder = WireRecorder::default();
    let client = Client::builder()
        .ech(EchMode::Prefer)
        .dns(testbed.dns_uri())
        .tls(ClientTls::builder().trust(Trust::certificates([testbed.ca_der()]).unwrap()))
        .record(recorder.clone())
        .build()
        .unwrap();
    let mut response = client.get(testbed.url(case).unwrap()).send().await.unwrap();
    response.bytes().await.unwrap();
    drop((response, client));
    while !testbed.captures().iter().all(|capture| capture.ended) {
        tokio::task::yield_now().await;
    }
    recorder
}

#[tokio::test]
async fn a_recorder_keeps_the_bytes_that_the_server_received_and_sent() {
    // How many connections and ClientHellos each takes.
    let cases = [
        ("nominal", vec![1]),
        ("stale", vec![1, 1]),
        ("hrr", vec![2]),
        ("stale-hrr", vec![2, 2]),
    ];
    let names = cases.iter().map(|(name, _)| *name);
    let testbed = Testbed::builder().only(names).start().await.unwrap();
    for (case, expected) in cases {
        let recorder = get(&testbed, case).await;
        let (ours, theirs) = (recorder.connections(), testbed.connections());
        assert_eq!(ours.len(), theirs.len(), "{case}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.sent(), theirs.received(), "{case}");
            assert!(theirs.sent().starts_with(&ours.received()), "{case}");
            assert_eq!(ours.local, Some(theirs.peer), "{case}");
            assert_eq!(theirs.label, case);
        }
        let offers = LoggedOffers::parse(&recorder.key_log());
        let mut counts = Vec::new();
        for recorded in &ours {
            let hellos = hellos(recorded);
            counts.push(hellos.len());
            let mut opener = offers.opener(&hellos[0]).unwrap().unwrap();
            let opened = opener.open(&hellos[0]).unwrap();
            let name = format!("{case}.ech.test");
            assert_eq!(opened.inner.server_name(), Some(name.as_str()));
            assert_ne!(hellos[0].server_name(), Some(name.as_str()));
            assert_eq!(
                opener.config().contents().unwrap().public_name.as_str(),
                hellos[0].server_name()
            );
        }
        assert_eq!(counts, expected, "{case}");
        testbed.clear_captures();
    }
}

#[tokio::test]
async fn a_hello_after_a_hello_retry_request_is_opened_with_the_same_secret() {
    let testbed = Testbed::builder().only(["hrr"]).start().await.unwrap();
    let recorder = get(&testbed, "hrr").await;
    let hellos = hellos(&recorder.connections()[0]);
    let offers = LoggedOffers::parse(&recorder.key_log());
    let mut opener = offers.opener(&hellos[0]).unwrap().unwrap();
    let randoms = [&hellos[0], &hellos[1]].map(|hello| opener.open(hello).unwrap().inner.random());
    assert_eq!(randoms[0], randoms[1]);
    // The secrets of TLS 1.3 stand under the random of the inner hello (RFC 9850 §2.1).
    let inner = data_encoding::HEXLOWER.encode(&randoms[0]);
    assert!(
        recorder
            .key_log()
            .contains(&format!("CLIENT_TRAFFIC_SECRET_0 {inner} "))
    );
}

#[tokio::test]
async fn the_secrets_of_resolvers_are_not_recorded() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let recorder = WireRecorder::default();
    let client = Client::builder()
        .dns(testbed.doh_uri())
        .tls(ClientTls::builder().trust(Trust::certificates([testbed.ca_der()]).unwrap()))
        .record(recorder.clone())
        .build()
        .unwrap();
    client
        .get(testbed.url("nominal").unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(recorder.connections().len(), 1);
    let log = recorder.key_log();
    let count = |label: &str| log.lines().filter(|line| line.starts_with(label)).count();
    assert_eq!(
        (
            count("CLIENT_TRAFFIC_SECRET_0 "),
            count("ECH_SECRET "),
            count("ECH_CONFIG ")
        ),
        (1, 1, 1)
    );
}
