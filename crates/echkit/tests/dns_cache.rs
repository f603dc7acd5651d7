//! What a resolver keeps, for how long, and what it never keeps.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use echkit::clock::Clock;
use echkit::dns::{RecordType, Resolver, ResolverOptions, Status};
use echkit_test::dns::{Reply, Script, Server, TTL, v4};

/// Lifetime of "there is nothing", as the SOA record of the script has it.
const NEGATIVE_TTL: u64 = 60;

fn resolver(server: &Server, cache: usize) -> (Resolver, Clock) {
    let clock = Clock::by_hand();
    let options = ResolverOptions::default()
        .with_timeout(Duration::from_secs(20))
        .with_cache(cache)
        .with_clock(clock.clone());
    (Resolver::from_uri(&server.udp(), &options).unwrap(), clock)
}

async fn status(resolver: &Resolver, name: &str) -> Option<Status> {
    let answer = resolver.query(&name.parse().unwrap(), RecordType::A).await;
    answer.ok().map(|answer| answer.status)
}

#[tokio::test]
async fn answers_are_kept_for_their_lifetime_and_no_longer() {
    let script = Script::new([
        ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
        (
            "alias.test",
            RecordType::A,
            Reply::CnameTo("a.test", vec![v4(1)]),
        ),
    ]);
    let server = Server::start(script).await;
    let (resolver, clock) = resolver(&server, 1 << 20);
    for name in ["a.test", "alias.test"] {
        let domain = name.parse().unwrap();
        let first = resolver.query(&domain, RecordType::A).await.unwrap();
        clock.advance(Duration::from_secs(100));
        let second = resolver.query(&domain, RecordType::A).await.unwrap();
        assert_eq!(second.ttl, Duration::from_secs(u64::from(TTL) - 100));
        assert_eq!(
            (&first.rdata, &first.cnames),
            (&second.rdata, &second.cnames)
        );
        assert_eq!(server.script.count(name, RecordType::A), 1);
        clock.advance(Duration::from_secs(200));
        let third = resolver.query(&domain, RecordType::A).await.unwrap();
        assert_eq!(third.ttl, Duration::from_secs(TTL.into()));
        assert_eq!(server.script.count(name, RecordType::A), 2);
    }
}

#[tokio::test]
async fn absence_is_kept_for_as_long_as_the_soa_record_says() {
    let script = Script::new([
        ("empty.test", RecordType::A, Reply::NoData { soa: true }),
        ("bare.test", RecordType::A, Reply::NoData { soa: false }),
    ]);
    let server = Server::start(script).await;
    let (resolver, clock) = resolver(&server, 1 << 20);
    for (name, expected) in [
        ("empty.test", Status::NoData),
        ("gone.test", Status::NxDomain),
    ] {
        for (after, asked) in [(0, 1), (NEGATIVE_TTL - 1, 1), (1, 2)] {
            clock.advance(Duration::from_secs(after));
            assert_eq!(status(&resolver, name).await, Some(expected));
            assert_eq!(server.script.count(name, RecordType::A), asked, "{name}");
        }
    }
    // RFC 2308 §5: without an SOA record nothing says for how long.
    for asked in 1..4 {
        assert_eq!(status(&resolver, "bare.test").await, Some(Status::NoData));
        assert_eq!(server.script.count("bare.test", RecordType::A), asked);
    }
}

#[tokio::test]
async fn a_name_that_is_gone_for_one_type_is_asked_for_another() {
    let server = Server::start(Script::new([])).await;
    let (resolver, _clock) = resolver(&server, 1 << 20);
    assert_eq!(status(&resolver, "a.test").await, Some(Status::NxDomain));
    let name = "a.test".parse().unwrap();
    resolver.query(&name, RecordType::HTTPS).await.unwrap();
    assert_eq!(server.script.count("a.test", RecordType::HTTPS), 1);
}

#[tokio::test]
async fn failures_are_never_kept() {
    let good = Reply::Records(vec![v4(1)]);
    let script = Script::new([
        ("bad.test", RecordType::A, Reply::Rcode(2)),
        (
            "loop.test",
            RecordType::A,
            Reply::CnameTo("loop.test", vec![]),
        ),
        (
            "slow.test",
            RecordType::A,
            Reply::AfterSilence(1, good.into()),
        ),
    ]);
    let server = Server::start(script).await;
    let (resolver, _clock) = resolver(&server, 1 << 20);
    for name in ["bad.test", "loop.test"] {
        for asked in 1..4 {
            assert_eq!(status(&resolver, name).await, None);
            assert_eq!(server.script.count(name, RecordType::A), asked, "{name}");
        }
    }
    assert_eq!(status(&resolver, "slow.test").await, Some(Status::Found));
}

#[tokio::test]
async fn the_same_question_at_the_same_time_goes_out_once() {
    // The first query is lost, so that all callers are there before the answer is.
    let good = Reply::Records(vec![v4(1)]);
    let script = Script::new([("a.test", RecordType::A, Reply::AfterSilence(1, good.into()))]);
    let server = Server::start(script).await;
    // Without a cache too.
    let (resolver, _clock) = resolver(&server, 0);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let resolver = resolver.clone();
        running.spawn(async move { status(&resolver, "a.test").await });
    }
    while let Some(status) = running.join_next().await {
        assert_eq!(status.unwrap(), Some(Status::Found));
    }
    assert_eq!(server.script.count("a.test", RecordType::A), 2);
}

#[tokio::test]
async fn a_cache_can_be_cleared_and_switched_off() {
    let script = Script::new([("a.test", RecordType::A, Reply::Records(vec![v4(1)]))]);
    let server = Server::start(script).await;
    let (keeping, _clock) = resolver(&server, 1 << 20);
    for asked in 1..4 {
        status(&keeping, "a.test").await.unwrap();
        status(&keeping, "a.test").await.unwrap();
        assert_eq!(server.script.count("a.test", RecordType::A), asked);
        keeping.clear_cache();
    }
    let (forgetful, _clock) = resolver(&server, 0);
    for asked in 4..7 {
        status(&forgetful, "a.test").await.unwrap();
        assert_eq!(server.script.count("a.test", RecordType::A), asked);
    }
}
