//! Limits of time and number hold whatever DNS and servers do.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::error::{Cause, Step};
use echkit::policy::{Racing, Timeouts};
use echkit::report::Report;
use echkit::server::{Acceptor, EchKeyHandle, EchKeys};
use echkit::{Client, EchMode, Error, ErrorKind, Origin};
use echkit_proto::race::MAX_ADDRESSES;
use echkit_test::clock::PacedClock;
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, ech_key, list};
use tokio::net::TcpListener;

const BUDGET: Duration = Duration::from_millis(600);

fn client(pki: &Pki, dns: &Server, mode: EchMode, timeouts: Timeouts) -> Client {
    let options = ResolverOptions::default().with_timeout(Duration::from_secs(30));
    Client::builder()
        .tls(pki.tls())
        .ech(mode)
        .resolver(Resolver::from_uri(&dns.udp(), &options).unwrap())
        .racing(Racing::default().with_attempt_delay(Duration::from_millis(10)))
        .timeouts(timeouts)
        .build()
        .unwrap()
}

async fn zone(https: Reply, v4: Reply) -> Server {
    Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, https),
        (HIDDEN, RecordType::AAAA, Reply::NoData { soa: true }),
        (HIDDEN, RecordType::A, v4),
    ]))
    .await
}

fn none() -> Reply {
    Reply::NoData { soa: true }
}

/// So many different addresses of this machine. The message is too long for UDP.
fn many(count: u16) -> Reply {
    let addresses = (0..count).map(|number| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, 1, high, low).octets().to_vec()
    });
    Reply::Truncated(Box::new(Reply::Records(addresses.collect())))
}

/// A server on every address of this machine that takes connections and says nothing.
async fn silent() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            kept.push(tcp);
        }
    });
    port
}

/// A port at which nothing listens.
async fn closed() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn fails(client: &Client, port: u16) -> (Error, Report) {
    let url = format!("https://{HIDDEN}:{port}/");
    let error = client.get(&url).send().await.unwrap_err();
    let report = error.report().unwrap().clone();
    (error, report)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The connection took the budget and ended for that reason; nothing was begun afterwards.
fn assert_ended_with_the_budget(error: &Error, report: &Report, step: Step) {
    match error.cause() {
        Cause::Timeout {
            step: ended, after, ..
        } => assert_eq!((*ended, *after), (step, BUDGET)),
        other => panic!("{other}"),
    }
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        report.timings_ms.total >= milliseconds(BUDGET),
        "{report:?}"
    );
    for attempt in &report.attempts {
        assert!(attempt.started_ms <= milliseconds(BUDGET), "{attempt:?}");
    }
}

#[tokio::test]
async fn one_budget_holds_for_a_server_that_takes_the_connection_and_says_nothing() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let port = silent().await;
    let dns = Server::start(Script::new([(
        HIDDEN,
        RecordType::A,
        Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]),
    )]))
    .await;
    for mode in [EchMode::Off, EchMode::Prefer] {
        let client = client(&pki, &dns, mode, Timeouts::default().with_connect(BUDGET));
        let (error, report) = fails(&client, port).await;
        assert_ended_with_the_budget(&error, &report, Step::Handshake);
        // After GREASE, silence is given half of what is left.
        let attempts = if mode == EchMode::Off { 1 } else { 2 };
        assert_eq!(report.attempts.len(), attempts, "{mode}: {report:?}");
    }
}

#[tokio::test]
async fn one_budget_holds_for_a_resolver_that_drops_everything() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let dns = zone(Reply::Silence, Reply::Silence).await;
    let timeouts = Timeouts::default().with_connect(BUDGET);
    let client = client(&pki, &dns, EchMode::Prefer, timeouts);
    let (error, report) = fails(&client, 443).await;
    assert_ended_with_the_budget(&error, &report, Step::Dns);
    assert!(report.attempts.is_empty());
}

#[tokio::test]
async fn one_budget_holds_where_dns_takes_its_part_of_it() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let port = silent().await;
    let name: &'static str = format!("_{port}._https.{HIDDEN}").leak();
    let address = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    let dns = Server::start(Script::new([
        (name, RecordType::HTTPS, Reply::Late(400, Box::new(none()))),
        (HIDDEN, RecordType::A, address),
    ]))
    .await;
    let timeouts = Timeouts::default().with_connect(BUDGET);
    let client = client(&pki, &dns, EchMode::Off, timeouts);
    let (error, report) = fails(&client, port).await;
    assert_ended_with_the_budget(&error, &report, Step::Handshake);
    assert!(report.timings_ms.dns.unwrap() >= 400.0, "{report:?}");
}

#[tokio::test]
async fn thousands_of_addresses_lead_to_a_bounded_number_of_attempts() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let dns = zone(none(), many(2000)).await;
    let timeouts = Timeouts::default().with_connect(Duration::from_secs(600));
    let client = client(&pki, &dns, EchMode::Prefer, timeouts);
    let (error, report) = fails(&client, closed().await).await;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert_eq!(report.attempts.len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn thousands_of_hints_lead_to_a_bounded_number_of_attempts() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let port = closed().await;
    let hints: Vec<_> = (0..16_000u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            Ipv4Addr::new(127, 1, high, low).to_string()
        })
        .collect();
    let name: &'static str = format!("_{port}._https.{HIDDEN}").leak();
    let ech = list(&ech_key()).to_base64();
    let record = https(&format!(
        "1 {HIDDEN}. ipv4hint={} ech={ech}",
        hints.join(",")
    ));
    let records = Reply::Truncated(Box::new(Reply::Records(vec![record])));
    let dns = Server::start(Script::new([
        (name, RecordType::HTTPS, records),
        (HIDDEN, RecordType::AAAA, none()),
    ]))
    .await;
    let timeouts = Timeouts::default().with_connect(Duration::from_secs(600));
    let client = client(&pki, &dns, EchMode::Require, timeouts);
    let (error, report) = fails(&client, port).await;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert_eq!(report.attempts.len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn no_attempt_begins_after_the_budget_however_many_addresses_are_left() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let dns = zone(none(), many(2000)).await;
    let port = silent().await;
    let timeouts = Timeouts::default()
        .with_connect(BUDGET)
        .with_handshake(Duration::from_millis(100));
    let client = client(&pki, &dns, EchMode::Off, timeouts);
    let (error, report) = fails(&client, port).await;
    assert_ended_with_the_budget(&error, &report, Step::Handshake);
    let begun = report.attempts.len();
    assert!((1..=MAX_ADDRESSES).contains(&begun), "{begun}");
}

#[tokio::test]
async fn the_limit_of_the_whole_request_ends_the_connection_too() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let dns = zone(none(), many(2000)).await;
    let port = silent().await;
    let timeouts = Timeouts::default()
        .with_total(BUDGET)
        .with_handshake(Duration::from_millis(100));
    let client = client(&pki, &dns, EchMode::Off, timeouts);
    let (error, report) = fails(&client, port).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    for attempt in &report.attempts {
        assert!(attempt.started_ms <= milliseconds(BUDGET), "{attempt:?}");
    }
}

#[tokio::test]
async fn limits_past_the_end_of_the_clock_are_none() {
    let pki = Pki::new();
    let key = ech_key();
    let config = Arc::new(pki.server_with(
        &[HIDDEN, PUBLIC],
        (*echkit::server::provider()).clone(),
        rustls::ALL_VERSIONS,
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for limit in [Duration::MAX, Duration::from_millis(i64::MAX as u64)] {
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let acceptor = Acceptor::new(Arc::clone(&config), EchKeyHandle::new(keys))
            .unwrap()
            .with_timeout(limit);
        let name: &'static str = format!("_{port}._https.{HIDDEN}").leak();
        let record = https(&format!("1 {HIDDEN}. ech={}", list(&key).to_base64()));
        let dns = Server::start(Script::new([
            (name, RecordType::HTTPS, Reply::Records(vec![record])),
            (
                HIDDEN,
                RecordType::A,
                Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]),
            ),
        ]))
        .await;
        let timeouts = Timeouts::default()
            .with_connect(limit)
            .with_dns(limit)
            .with_tcp(limit)
            .with_handshake(limit)
            .with_response(limit)
            .with_total(limit);
        let connector = client(&pki, &dns, EchMode::Require, timeouts);
        let origin: Origin = format!("https://{HIDDEN}:{port}").parse().unwrap();
        let alpn = [&b"http/1.1"[..]];
        let connecting = connector.connector().connect(&origin, &alpn);
        let accepting = async {
            let (tcp, _) = listener.accept().await.unwrap();
            acceptor.accept(tcp).await.unwrap()
        };
        let (connection, accepted) = tokio::join!(connecting, accepting);
        assert_eq!(
            connection.unwrap().report().ech.status,
            echkit::report::EchStatus::Accepted
        );
        drop(accepted);
    }
}
