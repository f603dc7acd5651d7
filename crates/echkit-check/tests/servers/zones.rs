//! Zones that lead nowhere, and what ends a check before its time.

use std::net::Ipv4Addr;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::server::EchKeys;
use echkit::tls::{ClientTls, Trust};
use echkit_check::{CheckLimits, Checker, CheckerBuilder, ProbeSelection};
use echkit_proto::config::EchConfig;
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::pki::Authority;
use tokio::net::TcpListener;

use crate::site::{HOST, PUBLIC, Site, assert_findings, check, check_with, ech, key, list, record};

#[tokio::test]
async fn zones_that_lead_nowhere_are_found() {
    let ca = Authority::new();
    let published = ech(vec![key(PUBLIC, 7).config().clone()]);
    // Bound and never listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = closed.local_addr().unwrap().port();
    assert_findings(
        &check(&ca, vec![record(&published, port, "alpn=h2")]).await,
        &["ECH-ADDRESS-UNREACHABLE", "ECH-NO-ADDRESS-REACHABLE"],
    );
    let text = format!("1 absent.test. alpn=h2 ech={published}");
    let absent = (HOST, RecordType::HTTPS, Reply::Records(vec![https(&text)]));
    assert_findings(
        &check(&ca, vec![absent]).await,
        &["ECH-TARGET-WITHOUT-ADDRESS"],
    );
    const CHAIN: [&str; 11] = [
        HOST, "1.test", "2.test", "3.test", "4.test", "5.test", "6.test", "7.test", "8.test",
        "9.test", "10.test",
    ];
    let aliases = CHAIN.windows(2).map(|pair| {
        let text = format!("0 {}.", pair[1]);
        (
            pair[0],
            RecordType::HTTPS,
            Reply::Records(vec![https(&text)]),
        )
    });
    assert_findings(
        &check(&ca, aliases.collect()).await,
        &["ECH-ALIAS-TOO-LONG"],
    );
}

#[tokio::test]
async fn whether_the_resolver_says_that_records_are_validated_is_told() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let port = site.start(&ca).await.port();
    let only = |checker: CheckerBuilder| {
        let selection = ProbeSelection::default();
        checker.selection(selection.with_only("ECH-DNSSEC-MISSING").unwrap())
    };
    let (host, kind, records) = record(&list(&key).to_base64(), port, "alpn=h2");
    let signed = Reply::Authentic(Box::new(records.clone()));
    let report = check_with(&ca, vec![(host, kind, signed.clone())], only).await;
    assert_findings(&report, &[]);
    assert!(report.passed.iter().any(|line| line.contains("DNSSEC")));
    let report = check_with(&ca, vec![(host, kind, records.clone())], only).await;
    assert_findings(&report, &["ECH-DNSSEC-MISSING"]);
    // Every answer on the way to the record counts.
    for (alias, record, expected) in [
        (true, true, &[][..]),
        (true, false, &["ECH-DNSSEC-MISSING"]),
        (false, true, &["ECH-DNSSEC-MISSING"]),
    ] {
        let reply = |is_signed: bool, reply: Reply| match is_signed {
            true => Reply::Authentic(Box::new(reply)),
            false => reply,
        };
        let to = Reply::Records(vec![https("0 end.test.")]);
        let loopback = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
        let zone = vec![
            (HOST, kind, reply(alias, to)),
            ("end.test", kind, reply(record, records.clone())),
            ("end.test", RecordType::A, loopback),
        ];
        assert_findings(&check_with(&ca, zone, only).await, expected);
    }
}

#[tokio::test]
async fn a_public_name_elsewhere_and_an_alias_are_told() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let port = site.start(&ca).await.port();
    let published = list(&key).to_base64();
    let a = |address: [u8; 4]| Reply::Records(vec![address.to_vec()]);
    let zone = vec![
        record(&published, port, "alpn=h2"),
        (HOST, RecordType::A, a([127, 0, 0, 1])),
        (PUBLIC, RecordType::A, a([192, 0, 2, 1])),
    ];
    assert_findings(&check(&ca, zone).await, &["ECH-PUBLIC-NAME-ELSEWHERE"]);
    let (_, kind, records) = record(&published, port, "alpn=h2");
    let to = Reply::Records(vec![https("0 end.test.")]);
    let zone = vec![
        (HOST, kind, to),
        ("end.test", kind, records),
        ("end.test", RecordType::A, a([127, 0, 0, 1])),
    ];
    assert_findings(&check(&ca, zone).await, &["ECH-ALIAS-MODE"]);
}

#[tokio::test]
async fn an_oversized_config_is_found() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let address = site.start(&ca).await;
    let mut contents = key.contents().clone();
    contents
        .extensions
        .push(echkit_proto::config::ConfigExtension {
            number: 0x0fff,
            data: vec![0; 9000],
        });
    let oversized = EchConfig::try_from(contents).unwrap();
    let published = ech(vec![key.config().clone(), oversized]);
    let record = record(&published, address.port(), "alpn=h2");
    assert_findings(
        &check(&ca, vec![record]).await,
        &["ECH-CONFIG-OVERSIZED", "ECH-LIST-LARGE"],
    );
}

#[tokio::test]
async fn a_server_that_never_answers_ends_within_the_time_of_a_host() {
    let ca = Authority::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let published = ech(vec![key(PUBLIC, 7).config().clone()]);
    let zone = vec![
        record(&published, port, "alpn=h2"),
        (
            HOST,
            RecordType::A,
            Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]),
        ),
    ];
    let dns = Server::start(Script::new(zone)).await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let limits = CheckLimits::default()
        .with_connection(hour)
        .with_host(std::time::Duration::from_secs(2));
    let checker = Checker::builder()
        .tls(ClientTls::builder().trust(Trust::certificates([ca.root()]).unwrap()))
        .resolver(resolver)
        .limits(limits)
        .build()
        .unwrap();
    let report = checker
        .check(&format!("https://{HOST}").parse().unwrap())
        .await;
    let error = report.error.unwrap();
    assert_eq!(error.kind, echkit::ErrorKind::Timeout);
    assert!(error.message.starts_with("https://site.test: "), "{error}");
    // What was found before is there.
    let ids: Vec<_> = report.findings.iter().map(|f| f.id.as_str()).collect();
    let expected = [
        "ECH-PUBLIC-NAME-UNRESOLVED",
        "ECH-DNS-IN-THE-CLEAR",
        "ECH-DNSSEC-MISSING",
    ];
    assert_eq!(ids, expected);
}
