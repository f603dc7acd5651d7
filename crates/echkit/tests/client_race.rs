//! Attempts that run side by side: who wins, who is closed, and what never starts.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::policy::{Racing, Timeouts};
use echkit::report::{AttemptResult, EchSource, EchStatus, Report};
use echkit::server::{EchKeyHandle, EchKeys};
use echkit::{Client, EchMode, Error};
use echkit_test::clock::PacedClock;
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{
    HIDDEN, PUBLIC, Pki, Relay, ech_key, list, serve, serve_ech, serve_ech_by_turns, silent,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(3600);

fn loopback_v4() -> Reply {
    Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()])
}

fn loopback_v6() -> Reply {
    Reply::Records(vec![Ipv6Addr::LOCALHOST.octets().to_vec()])
}

fn none() -> Reply {
    Reply::NoData { soa: true }
}

fn records(texts: &[String]) -> Reply {
    Reply::Records(texts.iter().map(|text| https(text)).collect())
}

async fn zone(records: Reply, v6: Reply, v4: Reply) -> Server {
    Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, records),
        (HIDDEN, RecordType::AAAA, v6),
        (HIDDEN, RecordType::A, v4),
    ]))
    .await
}

fn racing(delay: Duration) -> Racing {
    Racing::default().with_attempt_delay(delay)
}

/// No limit but those of a test that went wrong.
fn patient() -> Timeouts {
    let minute = Duration::from_secs(60);
    Timeouts::default()
        .with_connect(minute)
        .with_dns(minute)
        .with_tcp(minute)
        .with_handshake(minute)
        .with_response(minute)
}

fn client(pki: &Pki, dns: &Server, racing: Racing, timeouts: Timeouts) -> Client {
    let options = ResolverOptions::default().with_timeout(Duration::from_secs(30));
    Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Prefer)
        .resolver(Resolver::from_uri(&dns.udp(), &options).unwrap())
        .racing(racing)
        .timeouts(timeouts)
        .keep_alive(None)
        .build()
        .unwrap()
}

async fn fetch(client: &Client) -> Result<Report, Error> {
    let mut response = client.get(&format!("https://{HIDDEN}/")).send().await?;
    assert_eq!(response.bytes().await?, "hello");
    Ok(response.report())
}

/// An ECH server, and the parameters of its record.
async fn ech_site(pki: &Pki) -> (Relay, String) {
    let key = ech_key();
    let keys = EchKeys::new(vec![key.clone()]).unwrap();
    let relay = Relay::to(serve_ech(pki, &[HIDDEN, PUBLIC], false, keys).await).await;
    let ech = list(&key).to_base64();
    let record = format!("port={} ech={ech}", relay.address.port());
    (relay, record)
}

fn ech_of(site: &str) -> &str {
    site.split_once("ech=").unwrap().1
}

/// A port at which connections are neither made nor refused: its listener's queue is full.
async fn blackhole() -> (
    SocketAddr,
    (TcpListener, Vec<TcpStream>, JoinSet<TcpStream>),
) {
    // Linux lets one more connection into the queue than was asked for.
    const BACKLOG: u32 = 1;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    let address = listener.local_addr().unwrap();
    // The others go on knocking.
    let mut connecting = JoinSet::new();
    for _ in 0..8 {
        connecting.spawn(async move { TcpStream::connect(address).await.unwrap() });
    }
    let mut queued = Vec::new();
    for _ in 0..=BACKLOG {
        queued.push(connecting.join_next().await.unwrap().unwrap());
    }
    (address, (listener, queued, connecting))
}

#[tokio::test]
async fn the_first_handshake_wins_and_the_others_are_closed() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (good, site) = ech_site(&pki).await;
    let slow = Relay::to(silent().await).await;
    let dns = zone(
        records(&[
            format!("1 . port={} ech={}", slow.address.port(), ech_of(&site)),
            format!("2 . {site}"),
        ]),
        none(),
        loopback_v4(),
    )
    .await;
    let delay = Duration::from_millis(100);
    let client = client(&pki, &dns, racing(delay), patient());
    for resumed in [false, true] {
        let report = fetch(&client).await.unwrap();
        let [lost, won] = &report.attempts[..] else {
            panic!("{:?}", report.attempts);
        };
        assert_eq!(lost.address, slow.address.to_string());
        assert_eq!(lost.result, AttemptResult::Cancelled);
        assert_eq!(won.address, good.address.to_string());
        assert_eq!(won.result, AttemptResult::Won);
        assert!(won.started_ms >= lost.started_ms + 100.0);
        // Its end is that of the winner, and the tickets of one race serve the next.
        assert!(lost.ended_ms.unwrap() >= won.ended_ms.unwrap());
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.tls.unwrap().resumed, resumed);
    }
    for relay in [&good, &slow] {
        relay.assert_hidden(HIDDEN);
    }
    slow.all_closed().await;
}

#[tokio::test]
async fn the_next_address_follows_a_refusal_at_once_ipv6_first() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (_, site) = ech_site(&pki).await;
    let dns = zone(
        records(&[format!("1 . {site}")]),
        loopback_v6(),
        loopback_v4(),
    )
    .await;
    // The delay would be an hour.
    let client = client(&pki, &dns, racing(LONG), patient());
    let report = fetch(&client).await.unwrap();
    let [refused, won] = &report.attempts[..] else {
        panic!("{:?}", report.attempts);
    };
    assert!(refused.address.starts_with("[::1]:"), "{refused:?}");
    assert_eq!(refused.result, AttemptResult::Failed);
    assert!(won.address.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn answers_that_never_come_are_not_waited_for_once_there_is_an_address() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (_, site) = ech_site(&pki).await;
    let dns = zone(
        records(&[format!("1 . {site}")]),
        Reply::Silence,
        loopback_v4(),
    )
    .await;
    let client = client(&pki, &dns, racing(LONG), patient());
    let begun = Instant::now();
    let report = fetch(&client).await.unwrap();
    // The question would wait for half a minute.
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(report.attempts[0].started_ms >= 50.0, "resolution delay");
    assert_eq!(report.dns.unwrap().https, "found");
}

#[tokio::test]
async fn hints_are_used_before_the_answers() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (_, site) = ech_site(&pki).await;
    let dns = zone(
        records(&[format!("1 . ipv4hint=127.0.0.1 {site}")]),
        none(),
        Reply::Silence,
    )
    .await;
    let client = client(&pki, &dns, racing(LONG), patient());
    let begun = Instant::now();
    let report = fetch(&client).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(report.ech.status, EchStatus::Accepted);
}

#[tokio::test]
async fn nothing_is_sent_before_the_https_answer() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (good, site) = ech_site(&pki).await;
    // Where a client would go that does not wait.
    let (plain, _) = ech_site(&pki).await;
    let dns = zone(
        Reply::Late(700, Box::new(records(&[format!("1 . {site}")]))),
        none(),
        loopback_v4(),
    )
    .await;
    let client = client(&pki, &dns, racing(Duration::from_millis(10)), patient());
    let report = fetch(&client).await.unwrap();
    assert_eq!(report.attempts.len(), 1);
    assert!(report.attempts[0].started_ms >= 700.0);
    assert_eq!(report.ech.status, EchStatus::Accepted);
    good.assert_hidden(HIDDEN);
    assert!(plain.captured().is_empty());
}

#[tokio::test]
async fn without_ech_waits_for_the_last_attempt_with_it() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (_, site) = ech_site(&pki).await;
    let without = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let (unreachable, _queue) = blackhole().await;
    let dns = zone(
        records(&[
            format!("1 . port={}", without.address.port()),
            format!("2 . port={} ech={}", unreachable.port(), ech_of(&site)),
        ]),
        none(),
        loopback_v4(),
    )
    .await;
    let timeouts = patient().with_tcp(Duration::from_millis(800));
    let client = client(&pki, &dns, racing(Duration::from_millis(10)), timeouts);
    let report = fetch(&client).await.unwrap();
    let [with, then] = &report.attempts[..] else {
        panic!("{:?}", report.attempts);
    };
    assert_eq!(with.address, unreachable.to_string());
    assert_eq!(with.result, AttemptResult::Failed);
    assert!(then.started_ms >= with.ended_ms.unwrap());
    assert!(with.ended_ms.unwrap() >= with.started_ms + 800.0);
    assert_eq!(report.ech.status, EchStatus::Grease);
    let warnings = report.ech.warnings.join("\n");
    assert!(
        warnings.contains("no endpoint with ECH was reachable"),
        "{warnings}"
    );
}

#[tokio::test]
async fn an_endpoint_with_ech_that_says_nothing_keeps_those_without_away() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (_, site) = ech_site(&pki).await;
    let without = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let silent = Relay::to(silent().await).await;
    let dns = zone(
        records(&[
            format!("1 . port={}", without.address.port()),
            format!("2 . port={} ech={}", silent.address.port(), ech_of(&site)),
        ]),
        none(),
        loopback_v4(),
    )
    .await;
    let timeouts = patient().with_handshake(Duration::from_millis(500));
    let client = client(&pki, &dns, racing(Duration::from_millis(10)), timeouts);
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(error.kind(), echkit::ErrorKind::Timeout, "{error}");
    let report = error.report().unwrap();
    assert_eq!(report.ech.status, EchStatus::Failed);
    assert_eq!(report.attempts.len(), 1);
    assert!(without.captured().is_empty());
    silent.assert_hidden(HIDDEN);
}

#[tokio::test]
async fn a_retry_stays_with_the_endpoint_that_asked_for_it() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let slow = silent().await;
    let keys = EchKeyHandle::new(EchKeys::new(vec![ech_key()]).unwrap());
    let server = serve_ech_by_turns(&pki, &[HIDDEN, PUBLIC], &[false], keys).await;
    let relay = Relay::to(server).await;
    let stale = list(&ech_key()).to_base64();
    let dns = zone(
        records(&[
            format!("1 . port={} ech={stale}", slow.port()),
            format!("2 . port={} ech={stale}", relay.address.port()),
        ]),
        none(),
        loopback_v4(),
    )
    .await;
    let client = client(&pki, &dns, racing(Duration::from_millis(50)), patient());
    let report = fetch(&client).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Accepted);
    assert_eq!(report.ech.source, EchSource::Retry);
    assert_eq!(report.ech.retries, 1);
    let ended = |result| {
        let of = report.attempts.iter().filter(move |a| a.result == result);
        of.map(|attempt| attempt.address.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ended(AttemptResult::Cancelled), [slow.to_string()]);
    assert_eq!(ended(AttemptResult::Failed), [relay.address.to_string()]);
    assert_eq!(ended(AttemptResult::Won), [relay.address.to_string()]);
    relay.assert_hidden(HIDDEN);
}

#[tokio::test]
async fn the_limit_for_dns_ends_the_wait_and_only_without_any_address_the_connection() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let timeouts = patient().with_dns(Duration::from_millis(600));
    let dns = zone(none(), Reply::Silence, Reply::Silence).await;
    let error = fetch(&client(&pki, &dns, racing(LONG), timeouts))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), echkit::ErrorKind::Timeout, "{error}");
    assert!(error.report().unwrap().attempts.is_empty());

    // The endpoint with ECH is one whose addresses nobody tells.
    let (_, site) = ech_site(&pki).await;
    let without = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let port = without.address.port();
    let dns = Server::start(Script::new([
        (
            HIDDEN,
            RecordType::HTTPS,
            records(&[format!("1 silent.test. {site}"), format!("2 . port={port}")]),
        ),
        (HIDDEN, RecordType::AAAA, none()),
        (HIDDEN, RecordType::A, loopback_v4()),
        ("silent.test", RecordType::AAAA, Reply::Silence),
        ("silent.test", RecordType::A, Reply::Silence),
    ]))
    .await;
    let report = fetch(&client(&pki, &dns, racing(LONG), timeouts))
        .await
        .unwrap();
    let [attempt] = &report.attempts[..] else {
        panic!("{:?}", report.attempts);
    };
    assert!(attempt.started_ms >= 600.0, "{attempt:?}");
    assert_eq!(report.ech.status, EchStatus::Grease);
}

#[tokio::test]
async fn no_more_attempts_run_than_allowed() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let (_, site) = ech_site(&pki).await;
    let mut list = Vec::new();
    for priority in 1..=6 {
        let port = silent().await.port();
        list.push(format!("{priority} . port={port} ech={}", ech_of(&site)));
    }
    let dns = zone(records(&list), none(), loopback_v4()).await;
    let racing = racing(Duration::from_millis(10)).with_max_attempts(2);
    let timeouts = patient().with_handshake(Duration::from_millis(300));
    let error = fetch(&client(&pki, &dns, racing, timeouts))
        .await
        .unwrap_err();
    let attempts = &error.report().unwrap().attempts;
    assert_eq!(attempts.len(), 6);
    for (index, attempt) in attempts.iter().enumerate() {
        let beside = attempts[..index]
            .iter()
            .filter(|other| other.ended_ms.unwrap() > attempt.started_ms);
        assert!(beside.count() < 2, "{attempts:?}");
    }
}
