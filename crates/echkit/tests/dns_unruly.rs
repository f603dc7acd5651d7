//! Resolvers that leave some questions without an answer: each costs its waiting once.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use echkit::clock::Clock;
use echkit::discover::{DiscoverOptions, FixedAddresses, discover, discover_with};
use echkit::dns::{QueryError, RecordType, Resolver, ResolverOptions};
use echkit::origin::Origin;
use echkit_test::clock::PacedClock;
use echkit_test::dns::{self, Reply, Script, Server, https, v4};
use tokio::net::TcpListener;

fn options(timeout: Duration) -> ResolverOptions {
    ResolverOptions::default()
        .with_timeout(timeout)
        .with_clock(Clock::by_hand())
}

#[tokio::test]
async fn a_server_that_drops_edns_is_asked_without_and_that_is_remembered() {
    let _clock = PacedClock::new();
    let answer = || Reply::SilentToEdns(Reply::Records(vec![v4(1)]).into());
    let script = Script::new([
        ("a.test", RecordType::A, answer()),
        ("b.test", RecordType::A, answer()),
    ]);
    for scheme in ["udp", "tcp"] {
        let server = Server::start(Arc::clone(&script)).await;
        script.asked.lock().unwrap().clear();
        let uri = format!("{scheme}://{}", server.address);
        // By itself a try without EDNS is answered long before this.
        let resolver = Resolver::from_uri(&uri, &options(Duration::from_secs(10))).unwrap();
        for name in ["a.test", "b.test"] {
            let name = name.parse().unwrap();
            let answer = resolver.query(&name, RecordType::A).await.unwrap();
            assert_eq!(answer.rdata, [v4(1)]);
        }
        let asked = script.asked.lock().unwrap();
        assert!(asked[0].edns());
        let b = "b.test".parse().unwrap();
        let second: Vec<_> = asked.iter().filter(|asked| asked.name == b).collect();
        assert!(!second.is_empty() && second.iter().all(|asked| !asked.edns()));
    }
}

#[tokio::test]
async fn a_server_that_answers_with_edns_is_not_asked_without_even_if_it_loses_queries() {
    let _clock = PacedClock::new();
    let answer = || Reply::Records(vec![v4(1)]);
    let script = Script::new([
        ("a.test", RecordType::A, answer()),
        (
            "b.test",
            RecordType::A,
            Reply::AfterSilence(3, answer().into()),
        ),
    ]);
    let server = Server::start(script).await;
    let options = options(Duration::from_secs(4));
    let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
    for name in ["a.test", "b.test"] {
        let name = name.parse().unwrap();
        resolver.query(&name, RecordType::A).await.unwrap();
    }
    let asked = server.script.asked.lock().unwrap();
    assert!(asked.iter().all(dns::Asked::edns));
}

/// HTTPS questions are dropped, others answered.
async fn without_https() -> Server {
    let script = Script::new([
        ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
        ("a.test", RecordType::HTTPS, Reply::Silence),
    ]);
    Server::start(script).await
}

#[tokio::test]
async fn a_dead_record_type_costs_its_time_out_once() {
    let _clock = PacedClock::new();
    let server = without_https().await;
    let clock = Clock::by_hand();
    let options = options(Duration::from_millis(600)).with_clock(clock.clone());
    let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
    let origin = Origin::parse("https://a.test").unwrap();
    let asked = || server.script.count("a.test", RecordType::HTTPS);
    let mut before = 0;
    for _ in 0..2 {
        for _ in 0..3 {
            let found = discover(&resolver, &origin).await;
            assert_eq!(found.https.as_str(), "failed");
            assert!(found.error.is_none() && !found.endpoints.is_empty());
            assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
        }
        assert_eq!(asked(), before + 4);
        before = asked();
        clock.advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn without_ech_addresses_given_by_hand_wait_for_no_https_answer() {
    let _clock = PacedClock::new();
    let server = without_https().await;
    let resolver = Resolver::from_uri(&server.udp(), &options(Duration::from_secs(60))).unwrap();
    let by_hand = |ech| {
        DiscoverOptions::default()
            .with_ech(ech)
            .with_resolve(vec![FixedAddresses::new(
                "a.test".parse().unwrap(),
                Some(443),
                vec![Ipv4Addr::LOCALHOST.into()],
            )])
    };
    let origin = Origin::parse("https://a.test").unwrap();
    let found = discover_with(&resolver, &origin, &by_hand(false)).await;
    assert!(found.error.is_none() && found.warnings.is_empty());
    assert_eq!(found.endpoints.len(), 1);
    assert_eq!((found.https.as_str(), found.query_name), ("none", None));
    assert!(server.script.asked.lock().unwrap().is_empty());
    // With ECH, and for the upgrade of `http`, the records are asked for.
    let resolver = Resolver::from_uri(&server.udp(), &options(Duration::from_millis(600))).unwrap();
    let found = discover_with(&resolver, &origin, &by_hand(true)).await;
    assert_eq!(found.https.as_str(), "failed");
    let origin = Origin::parse("http://a.test:443").unwrap();
    let found = discover_with(&resolver, &origin, &by_hand(false)).await;
    assert_eq!(found.https.as_str(), "failed");
}

#[tokio::test]
async fn questions_that_wait_for_a_connection_say_that_there_is_none() {
    let _clock = PacedClock::new();
    // It accepts, and never says a word.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let (_, tls) = dns::tls(&["dns.test"], b"dot");
    let options = options(Duration::from_millis(500)).with_tls(Arc::new(tls));
    for (scheme, addresses) in [("tls", "127.0.0.1"), ("https", "127.0.0.1,127.0.0.2")] {
        let uri = format!("{scheme}://dns.test:{port}#{addresses}");
        let resolver = Resolver::from_uri(&uri, &options).unwrap();
        let mut all = tokio::task::JoinSet::new();
        for number in 0..20 {
            let resolver = resolver.clone();
            let name = format!("{number}.test").parse().unwrap();
            all.spawn(async move { resolver.query(&name, RecordType::A).await.unwrap_err() });
        }
        for error in all.join_all().await {
            assert!(matches!(error, QueryError::Transport { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_with_ech_is_asked_for_again_after_a_time_out() {
    let _clock = PacedClock::new();
    // The first questions are lost, then the records are there: nothing but waiting was lost.
    let records = Reply::Records(vec![https("1 . alpn=h2")]);
    let script = Script::new([
        ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
        (
            "a.test",
            RecordType::HTTPS,
            Reply::AfterSilence(4, records.into()),
        ),
    ]);
    let server = Server::start(script).await;
    let clock = Clock::by_hand();
    let options = options(Duration::from_millis(600)).with_clock(clock.clone());
    let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
    let origin = Origin::parse("https://a.test").unwrap();
    let first = discover(&resolver, &origin).await;
    assert_eq!(first.https.as_str(), "failed");
    clock.advance(Duration::from_secs(10));
    let second = discover(&resolver, &origin).await;
    assert_eq!(second.https.as_str(), "found");
}
