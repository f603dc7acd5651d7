//! What a connection costs in HPKE set-ups, counted in this process: nothing else is in its binary.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::report::{EchSource, EchStatus};
use echkit::server::{self, EchKeys, EchOutcome, EchServer, MAX_SAME_ID};
use echkit::tls::{EchOffer, TlsTarget};
use echkit::{Client, EchMode};
use echkit_proto::config::EchConfigList;
use echkit_proto::hpke::{Kem, count};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, serve_ech};

/// Held by the test that counts.
static COUNTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn key_of(kem: Kem) -> EchKey {
    let params = KeyParams::new(PUBLIC).unwrap().with_kem(kem);
    EchKey::generate(&params).unwrap()
}

/// Discovery and selection look at every key of the record and exchange none; the offer is one
/// sender set-up, and the accepted handshake one receiver set-up. A HelloRetryRequest adds none
/// (RFC 9849 §6.1.5).
#[tokio::test]
async fn an_accepted_connection_from_dns_costs_one_sender_and_one_receiver_set_up() {
    let _counting = COUNTING.lock().await;
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

/// What a client can make a server compute before anything is known of it, under the slowest KEM as
/// under the fastest: one opening for each key with the config_id, and a bounded number by trial.
#[tokio::test]
async fn a_hello_that_no_key_opens_costs_a_bounded_number_of_openings() {
    let _counting = COUNTING.lock().await;
    let pki = Pki::new();
    let key = |kem: Kem, config_id: u8| {
        let params = KeyParams::new(PUBLIC)
            .unwrap()
            .with_kem(kem)
            .with_config_id(config_id);
        EchKey::generate(&params).unwrap()
    };
    for kem in [Kem::P521, Kem::X25519] {
        let foreign = EchConfigList::from(key(kem, 7).config().clone());
        let mut target = TlsTarget::new(HIDDEN.try_into().unwrap());
        target.offer = EchOffer::real(foreign.select().chosen.unwrap());
        let mut client = pki.tls().build().unwrap().handshake(&target).unwrap();
        let mut hello = Vec::new();
        client.connection.write_tls(&mut hello).unwrap();

        let names = [HIDDEN, PUBLIC];
        let provider = (*server::provider()).clone();
        let config = Arc::new(pki.server_with(&names, provider, rustls::ALL_VERSIONS));
        let serving = |ids: &mut dyn Iterator<Item = u8>| {
            let keys = EchKeys::new(ids.map(|id| key(kem, id)).collect()).unwrap();
            EchServer::new(Arc::clone(&config), keys).unwrap()
        };
        let same = serving(&mut std::iter::repeat_n(7, MAX_SAME_ID));
        let others = serving(&mut (8..28));
        let by_trial = others.clone().with_trial_decryption(true);
        for (server, openings) in [(same, MAX_SAME_ID), (others, 0), (by_trial, 16)] {
            let before = count::RECEIVERS.load(Relaxed);
            let mut handshake = server.handshake();
            handshake.read(&hello).unwrap();
            let (_, outcome) = handshake.finish().unwrap();
            assert!(matches!(outcome, EchOutcome::Rejected { .. }));
            assert_eq!(count::RECEIVERS.load(Relaxed), before + openings);
        }
    }
}
