//! Hostile servers and zones: each check ends, reads a bounded amount, and says what it saw.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use echkit::dns::RecordType;
use echkit::server::EchKeys;
use echkit_check::{CheckLimits, CheckerBuilder, HostReport};
use echkit_test::dns::{Reply, https};
use echkit_test::pki::Authority;
use rustls::server::{ClientHello as Asked, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;

use crate::site::{HOST, PUBLIC, Raw, Site, assert_findings, check_with, ech, key, record};

/// Far more than sockets buffer, far less than what a server could send.
const READ_AT_MOST: usize = 64 * 1024 * 1024;

/// Limits that no step of a good server reaches, on any machine.
fn patient(checker: CheckerBuilder) -> CheckerBuilder {
    let hour = Duration::from_secs(3600);
    checker.limits(CheckLimits::default().with_connection(hour).with_host(hour))
}

/// Limits that an endless server reaches.
fn hasty(checker: CheckerBuilder) -> CheckerBuilder {
    let limits = CheckLimits::default().with_connection(Duration::from_secs(1));
    checker.limits(limits.with_host(Duration::from_secs(4)))
}

/// What is left of a check of a server that sends `raw` once TLS stands.
async fn after(
    raw: Raw,
    alpn: &'static [&'static str],
    limits: fn(CheckerBuilder) -> CheckerBuilder,
) -> HostReport {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let sent = raw.sent.clone();
    (site.alpn, site.raw) = (alpn, Some(raw));
    let port = site.start(&ca).await.port();
    let published = ech(vec![key.config().clone()]);
    let listed = format!("alpn={} no-default-alpn", alpn[0]);
    let record = record(&published, port, &listed);
    let report = check_with(&ca, vec![record], limits).await;
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent < READ_AT_MOST, "{sent} bytes");
    report
}

fn is_left_out(report: &HostReport, probe: &str) -> bool {
    report.skipped.iter().any(|skipped| skipped.probe == probe)
}

#[tokio::test]
async fn endless_headers_end_and_are_told() {
    let head = Raw::new("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n");
    let report = after(head, &["http/1.1"], patient).await;
    assert_findings(&report, &[]);
    assert!(is_left_out(&report, "page"), "{:?}", report.skipped);
    // One header that does not end.
    let head = Raw::new("HTTP/1.1 200 OK\r\nx-long: ", "more and ");
    let report = after(head, &["http/1.1"], patient).await;
    assert!(is_left_out(&report, "page"), "{:?}", report.skipped);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = (payload.len() as u32).to_be_bytes();
    let head = [a, b, c, kind, flags, 0, 0, 0, stream];
    [&head, payload].concat()
}

#[tokio::test]
async fn endless_continuation_frames_end_and_are_told() {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    // `:status: 200`, and headers `a: b` that are not indexed (RFC 7541 §6.2.2).
    let begun = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, 0, 1, &[0x88])];
    let more = frame(CONTINUATION, 0, 1, &[0, 1, b'a', 1, b'b'].repeat(200));
    let raw = Raw::new(begun.concat(), more);
    let report = after(raw, &["h2"], patient).await;
    assert_findings(&report, &[]);
    assert!(is_left_out(&report, "page"), "{:?}", report.skipped);
}

#[tokio::test]
async fn endless_bodies_are_read_to_a_bound() {
    let body = Raw::new(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
         strict-transport-security: max-age=300\r\n\r\n{\"",
        "a".repeat(4096),
    );
    let report = after(body, &["http/1.1"], patient).await;
    assert_findings(&report, &["ECH-ORIGIN-SVCB-MALFORMED"]);
    assert!(report.findings[0].seen.contains("64 KiB"), "{report:?}");
}

#[tokio::test]
async fn answers_byte_by_byte_end_at_the_limit() {
    let mut slow = Raw::new("HTTP/1.1 200 OK\r\nx-slow: ", "x");
    slow.pause = Some(Duration::from_millis(50));
    let report = after(slow, &["http/1.1"], hasty).await;
    // Which step reaches the limit depends on the machine.
    let told = !report.skipped.is_empty() && report.error.is_some() || is_left_out(&report, "page");
    assert!(told || !report.findings.is_empty(), "{report:?}");
}

/// The same without TLS: a listener that sends this to every connection.
async fn plain_server(raw: Raw) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(raw.clone().send(tcp));
        }
    });
    address
}

#[tokio::test]
async fn endless_headers_without_tls_end_and_are_told() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let port = site.start(&ca).await.port();
    let raw = Raw::new("HTTP/1.1 301 Moved\r\n", "x-more: and more\r\n");
    let (plain, sent) = (plain_server(raw.clone()).await.port(), raw.sent);
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, port, "alpn=h2");
    let report = check_with(&ca, vec![record], |checker| {
        patient(checker).http_port(plain)
    })
    .await;
    assert_findings(&report, &[]);
    assert!(is_left_out(&report, "http"), "{:?}", report.skipped);
    assert!(sent.load(Ordering::SeqCst) < READ_AT_MOST);
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_found() {
    let ca = Authority::new();
    let published = ech(vec![key(PUBLIC, 7).config().clone()]);
    // A ServerHello that says it has 16 MiB, and one record after another of it.
    let begun = [&[22, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff][..]].concat();
    let more = [&[22, 3, 3, 0x10, 0][..], &[0; 0x1000]].concat();
    // change_cipher_spec, again and again.
    let idle = [20, 3, 3, 0, 1, 1].to_vec();
    for raw in [Raw::new(begun, more), Raw::new(Vec::new(), idle)] {
        let sent = raw.sent.clone();
        let port = plain_server(raw).await.port();
        let record = record(&published, port, "alpn=h2");
        let report = check_with(&ca, vec![record], patient).await;
        assert_findings(&report, &["ECH-HANDSHAKE-FAILS", "ECH-PLAIN-CUT-OFF"]);
        assert!(sent.load(Ordering::SeqCst) < READ_AT_MOST);
    }
}

/// One certificate, and the same behind it a thousand times.
#[derive(Debug)]
struct Endless(Arc<CertifiedKey>);

impl ResolvesServerCert for Endless {
    fn resolve(&self, _: Asked<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn an_endless_certificate_chain_is_found() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let issued = ca.issue(&[HOST, PUBLIC]);
    site.tls = Box::new(move |config| {
        let chain = vec![issued.cert.clone(); 1000];
        let key = issued.key.clone_key();
        let certified = CertifiedKey::from_der(chain, key, config.crypto_provider()).unwrap();
        config.cert_resolver = Arc::new(Endless(Arc::new(certified)));
    });
    let port = site.start(&ca).await.port();
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, port, "alpn=h2");
    let report = check_with(&ca, vec![record], patient).await;
    let ids: Vec<_> = report.findings.iter().map(|f| f.id.as_str()).collect();
    assert!(ids.contains(&"ECH-HANDSHAKE-FAILS"), "{report:?}");
}

#[tokio::test]
async fn huge_record_sets_end_and_are_told() {
    let ca = Authority::new();
    let published = ech(vec![key(PUBLIC, 7).config().clone()]);
    // Five hundred records, each of another place where nothing listens.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let many = (1..=500)
        .map(|priority| https(&format!("{priority} . alpn=h2 port={port} ech={published}")));
    let many = Reply::Truncated(Box::new(Reply::Records(many.collect())));
    let zone = vec![(HOST, RecordType::HTTPS, many)];
    let report = check_with(&ca, zone, patient).await;
    assert_findings(
        &report,
        &["ECH-ADDRESS-UNREACHABLE", "ECH-NO-ADDRESS-REACHABLE"],
    );
    // One record of nearly the largest size, in a parameter that nobody knows.
    let parameter = "x".repeat(60_000);
    let record = https(&format!(
        "1 . alpn=h2 port={port} ech={published} key65000={parameter}"
    ));
    let huge = Reply::Truncated(Box::new(Reply::Records(vec![record])));
    let zone = vec![(HOST, RecordType::HTTPS, huge)];
    let report = check_with(&ca, zone, patient).await;
    assert_findings(
        &report,
        &["ECH-ADDRESS-UNREACHABLE", "ECH-NO-ADDRESS-REACHABLE"],
    );
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_an_error_and_no_finding() {
    let ca = Authority::new();
    let zone = vec![(HOST, RecordType::HTTPS, Reply::Silence)];
    let report = check_with(&ca, zone, hasty).await;
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.error.is_some());
}
