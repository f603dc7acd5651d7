//! Resolvers, against a server that misbehaves in every way that a script can tell.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use echkit::dns::{Answer, QueryError, RecordType, Resolver, ResolverOptions, Status};
use echkit_test::clock::{PacedClock, StoppedClock};
use echkit_test::dns::{Reply, Script, Server, TTL, v4, v6};

/// Long enough for a busy machine; only tests that want silence wait for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn resolver(uri: &str, timeout: Duration) -> Resolver {
    Resolver::from_uri(uri, &ResolverOptions::default().with_timeout(timeout)).unwrap()
}

async fn ask(server: &Server, name: &str, kind: RecordType) -> Result<Answer, QueryError> {
    resolver(&server.udp(), PATIENCE)
        .query(&name.parse().unwrap(), kind)
        .await
}

#[tokio::test]
async fn yes_no_and_never_heard_of_it() {
    let script = Script::new([
        ("a.test", RecordType::A, Reply::Records(vec![v4(1), v4(2)])),
        ("bare.test", RecordType::A, Reply::NoData { soa: false }),
    ]);
    let server = Server::start(script).await;
    let found = ask(&server, "a.test", RecordType::A).await.unwrap();
    assert_eq!(found.status, Status::Found);
    assert_eq!(found.rdata, [v4(1), v4(2)]);
    assert_eq!(found.ttl, Duration::from_secs(TTL.into()));
    assert!(!found.protected);
    let none = ask(&server, "a.test", RecordType::AAAA).await.unwrap();
    assert_eq!(
        (none.status, none.ttl),
        (Status::NoData, Duration::from_secs(60))
    );
    let bare = ask(&server, "bare.test", RecordType::A).await.unwrap();
    assert_eq!((bare.status, bare.ttl), (Status::NoData, Duration::ZERO));
    let gone = ask(&server, "gone.test", RecordType::A).await.unwrap();
    assert_eq!(
        (gone.status, gone.ttl),
        (Status::NxDomain, Duration::from_secs(60))
    );
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let whole = Reply::Records((0..200).map(v4).collect());
    let script = Script::new([("big.test", RecordType::A, Reply::Truncated(whole.into()))]);
    let server = Server::start(script).await;
    let answer = ask(&server, "big.test", RecordType::A).await.unwrap();
    assert_eq!(answer.rdata.len(), 200);
    let asked = server.script.asked.lock().unwrap();
    assert_eq!(
        asked.iter().map(|asked| asked.tcp).collect::<Vec<_>>(),
        [false, true]
    );
}

#[tokio::test]
async fn a_truncated_answer_over_tcp_is_malformed() {
    let script = Script::new([("big.test", RecordType::A, Reply::AlwaysTruncated)]);
    let server = Server::start(script).await;
    let error = ask(&server, "big.test", RecordType::A).await.unwrap_err();
    assert!(matches!(error, QueryError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn tcp_is_used_from_the_start_when_asked_for() {
    let script = Script::new([("a.test", RecordType::A, Reply::Records(vec![v4(1)]))]);
    let server = Server::start(script).await;
    let resolver = resolver(&format!("tcp://{}", server.address), PATIENCE);
    let answer = resolver
        .query(&"a.test".parse().unwrap(), RecordType::A)
        .await
        .unwrap();
    assert_eq!(answer.rdata, [v4(1)]);
    assert!(
        server
            .script
            .asked
            .lock()
            .unwrap()
            .iter()
            .all(|asked| asked.tcp)
    );
}

#[tokio::test]
async fn forged_answers_and_garbage_are_passed_over() {
    let good = Reply::Records(vec![v4(1)]);
    let script = Script::new([("a.test", RecordType::A, Reply::AfterNoise(good.into()))]);
    let server = Server::start(script).await;
    assert_eq!(
        ask(&server, "a.test", RecordType::A).await.unwrap().rdata,
        [v4(1)]
    );
}

#[tokio::test]
async fn a_lost_query_is_sent_again() {
    let _clock = PacedClock::new();
    let good = Reply::Records(vec![v4(1)]);
    let script = Script::new([("a.test", RecordType::A, Reply::AfterSilence(2, good.into()))]);
    let server = Server::start(script).await;
    let resolver = resolver(&server.udp(), Duration::from_secs(6));
    let answer = resolver
        .query(&"a.test".parse().unwrap(), RecordType::A)
        .await
        .unwrap();
    assert_eq!(answer.rdata, [v4(1)]);
    assert_eq!(server.script.count("a.test", RecordType::A), 3);
}

#[tokio::test]
async fn silence_ends_in_a_timeout_after_bounded_tries() {
    let _clock = PacedClock::new();
    let server = Server::start(Script::new([("a.test", RecordType::A, Reply::Silence)])).await;
    let resolver = resolver(&server.udp(), Duration::from_millis(900));
    let error = resolver
        .query(&"a.test".parse().unwrap(), RecordType::A)
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::Timeout { .. }), "{error}");
    assert_eq!(server.script.count("a.test", RecordType::A), 4);
}

#[tokio::test]
async fn refusals_are_no_answers() {
    let script = Script::new([
        ("servfail.test", RecordType::HTTPS, Reply::Rcode(2)),
        ("refused.test", RecordType::HTTPS, Reply::Rcode(5)),
        ("referral.test", RecordType::HTTPS, Reply::Referral),
    ]);
    let server = Server::start(script).await;
    for (name, rcode) in [("servfail.test", 2), ("refused.test", 5)] {
        let error = ask(&server, name, RecordType::HTTPS).await.unwrap_err();
        assert!(
            matches!(error, QueryError::Refused { rcode: r, .. } if r == rcode),
            "{error}"
        );
        assert_eq!(server.script.count(name, RecordType::HTTPS), 1);
    }
    let error = ask(&server, "referral.test", RecordType::HTTPS)
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_cut_answer_is_malformed_and_not_silence() {
    let _clock = PacedClock::new();
    let server = Server::start(Script::new([("a.test", RecordType::A, Reply::CutShort)])).await;
    for scheme in ["udp", "tcp"] {
        let resolver = resolver(
            &format!("{scheme}://{}", server.address),
            Duration::from_millis(900),
        );
        let error = resolver
            .query(&"a.test".parse().unwrap(), RecordType::A)
            .await
            .unwrap_err();
        assert!(
            matches!(error, QueryError::Malformed { .. }),
            "{scheme}: {error}"
        );
    }
}

#[tokio::test]
async fn a_server_without_edns_is_asked_without() {
    let good = Reply::Records(vec![v4(1)]);
    let script = Script::new([("a.test", RecordType::A, Reply::WithoutEdns(good.into()))]);
    let server = Server::start(script).await;
    assert_eq!(
        ask(&server, "a.test", RecordType::A).await.unwrap().rdata,
        [v4(1)]
    );
}

#[tokio::test]
async fn a_closed_port_fails_at_once() {
    // No time-out ends it: no time passes.
    let _clock = StoppedClock::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("udp://{}", socket.local_addr().unwrap());
    drop(socket);
    let error = resolver(&uri, Duration::from_secs(60))
        .query(&"a.test".parse().unwrap(), RecordType::A)
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::Transport { .. }), "{error}");
}

#[tokio::test]
async fn cnames_are_followed_in_the_answer_and_by_asking_again() {
    let script = Script::new([
        (
            "in.test",
            RecordType::A,
            Reply::CnameTo("end.test", vec![v4(1)]),
        ),
        ("out.test", RecordType::A, Reply::Cname("mid.test")),
        ("mid.test", RecordType::A, Reply::Cname("end.test")),
        ("end.test", RecordType::A, Reply::Records(vec![v4(2)])),
        ("dead.test", RecordType::A, Reply::Cname("nowhere.test")),
    ]);
    let server = Server::start(script).await;
    let inside = ask(&server, "in.test", RecordType::A).await.unwrap();
    assert_eq!(
        (inside.owner.to_string(), &inside.rdata),
        ("end.test".into(), &vec![v4(1)])
    );
    assert_eq!(server.script.count("end.test", RecordType::A), 0);
    let outside = ask(&server, "out.test", RecordType::A).await.unwrap();
    assert_eq!(outside.rdata, [v4(2)]);
    let names: Vec<_> = outside.cnames.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["mid.test", "end.test"]);
    let dead = ask(&server, "dead.test", RecordType::A).await.unwrap();
    assert_eq!(dead.status, Status::NxDomain);
}

#[tokio::test]
async fn cname_loops_end() {
    let script = Script::new([
        ("a.test", RecordType::A, Reply::Cname("b.test")),
        ("b.test", RecordType::A, Reply::Cname("a.test")),
        ("self.test", RecordType::A, Reply::Cname("self.test")),
    ]);
    let server = Server::start(script).await;
    for name in ["a.test", "self.test"] {
        let error = ask(&server, name, RecordType::A).await.unwrap_err();
        assert!(matches!(error, QueryError::CnameChain(_)), "{error}");
    }
}

#[tokio::test]
async fn localhost_is_asked_of_nobody() {
    let server = Server::start(Script::new([])).await;
    let answer = ask(&server, "x.localhost", RecordType::AAAA).await.unwrap();
    assert_eq!(
        answer.rdata,
        [std::net::Ipv6Addr::LOCALHOST.octets().to_vec()]
    );
    assert_eq!(
        ask(&server, "localhost", RecordType::HTTPS)
            .await
            .unwrap()
            .status,
        Status::NoData
    );
    assert!(server.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_thousand_questions_at_once_all_end() {
    let _clock = PacedClock::new();
    let script = Script::new([("a.test", RecordType::AAAA, Reply::Records(vec![v6(1)]))]);
    let server = Server::start(script).await;
    let resolver = resolver(&server.udp(), Duration::from_secs(60));
    let mut running = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let resolver = resolver.clone();
        let name = match number {
            0 => "a.test".parse().unwrap(),
            _ => format!("{number}.test").parse().unwrap(),
        };
        running.spawn(async move { resolver.query(&name, RecordType::AAAA).await });
    }
    let mut found = 0;
    while let Some(answer) = running.join_next().await {
        match answer.unwrap().unwrap().status {
            Status::Found => found += 1,
            other => assert_eq!(other, Status::NxDomain),
        }
    }
    assert_eq!(found, 1);
    assert_eq!(server.script.asked.lock().unwrap().len(), 1000);
}

#[test]
fn resolver_uris_are_read_strictly() {
    let uri = |uri: &str| Resolver::from_uri(uri, &ResolverOptions::default());
    for good in [
        "system",
        "udp://192.0.2.1",
        "udp://[2001:db8::1]:5353",
        "tcp://192.0.2.1:53",
    ] {
        assert_eq!(uri(good).unwrap().uri(), good);
    }
    for short in [
        "192.0.2.1",
        "127.0.0.1:20000",
        "2001:db8::1",
        "[2001:db8::1]",
        "[2001:db8::1]:5353",
    ] {
        assert_eq!(uri(short).unwrap().uri(), format!("udp://{short}"));
    }
    for bad in [
        "",
        "dns.example",
        "192.0.2.1:x",
        "udp://dns.example",
        "udp://",
        "ftp://192.0.2.1",
        "udp://1.2.3.4:x",
    ] {
        assert!(uri(bad).is_err(), "{bad}");
    }
    let error = uri("https://dns.example/dns-query").unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}
