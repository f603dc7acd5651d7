//! What a connection costs in HPKE set-ups, counted in this process: alone in its binary.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::report::{EchSource, EchStatus};
use echkit::server::EchKeys;
use echkit::{Client, EchMode};
use echkit_proto::config::EchConfigList;
use echkit_proto::hpke::{Kem, count};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, serve_ech};

fn key_of(kem: Kem) -> EchKey {
    let params = KeyParams {
        kem,
        ..KeyParams::new(PUBLIC).unwrap()
    };
    EchKey::generate(&params).unwrap()
}

/// Discovery and selection look at every key of the record and exchange none; the offer is one
/// sender set-up, and the accepted handshake one receiver set-up. A HelloRetryRequest adds none
/// (RFC 9849 §6.1.5).
#[tokio::test]
async fn an_accepted_connection_from_dns_costs_one_sender_and_one_receiver_set_up() {
    let pki = Pki::new();
    let kems = [Kem::X25519, Kem::P256, Kem::P384, Kem::P521];
    let published: Vec<EchKey> = kems.into_iter().map(key_of).collect();
    let configs = published.iter().map(|key| key.config().clone()).collect();
    let list = EchConfigList::from_configs(configs).unwrap().to_base64();
    for hello_retry in [false, true] {
        let keys = EchKeys::new(published.clone()).unwrap();
        let server = serve_ech(&pki, &[HIDDEN, PUBLIC], hello_retry, keys).await;
        // The first server of a process has tested its rustls by whole handshakes.
        let before = [&count::SENDERS, &count::RECEIVERS].map(|count| count.load(Relaxed));
        let relay = Relay::to(server).await;
        let record = format!("1 . port={} ech={list}", relay.address.port());
        let dns = Server::start(Script::new([
            (
                HIDDEN,
                RecordType::HTTPS,
                Reply::Records(vec![https(&record)]),
            ),
            (
                HIDDEN,
                RecordType::A,
                Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]),
            ),
            (HIDDEN, RecordType::AAAA, Reply::NoData { soa: true }),
        ]))
        .await;
        let client = Client::builder()
            .tls(pki.tls())
            .ech(EchMode::Require)
            .resolver(Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap())
            .build()
            .unwrap();
        let mut response = client
            .get(&format!("https://{HIDDEN}/"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hello");
        let report = response.report();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.ech.source, EchSource::Dns);
        assert_eq!(report.tls.unwrap().hello_retry, hello_retry);
        assert_eq!(count::SENDERS.load(Relaxed), before[0] + 1);
        assert_eq!(count::RECEIVERS.load(Relaxed), before[1] + 1);
    }
}
