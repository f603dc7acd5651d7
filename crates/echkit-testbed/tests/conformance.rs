//! Our client against every case: what it reports, what the server says, what the wire shows.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use echkit::dns::{Resolver, ResolverOptions};
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, EchMode};
use echkit_testbed::{Capture, Case, Expected, ExpectedHttps, Page, Testbed};
use serde_json::{Value, json};

/// What came of one fetch.
struct Fetched {
    exit_code: u8,
    report: Value,
    http_status: Option<u16>,
    page: Option<Page>,
}

fn tls(testbed: &Testbed) -> echkit::tls::ClientTlsBuilder {
    ClientTls::builder().trust(Trust::certificates([testbed.ca_der()]).unwrap())
}

fn client(testbed: &Testbed, mode: EchMode, resolver: &str) -> Client {
    let mut options = ResolverOptions::default();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(testbed.ca_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    options.tls = Some(std::sync::Arc::new(config));
    let resolver = Resolver::from_uri(resolver, &options).unwrap();
    Client::builder()
        .ech(mode)
        .resolver(resolver)
        .tls(tls(testbed))
        // Each fetch is to show a handshake.
        .keep_alive(None)
        // And to begin with what the record says.
        .no_cache()
        .build()
        .unwrap()
}

async fn fetch(client: &Client, case: &Case) -> Fetched {
    let url = format!("{}?format=json", case.url);
    match client.get(&url).send().await {
        Ok(mut response) => {
            let body = response.bytes().await.unwrap();
            Fetched {
                exit_code: 0,
                report: serde_json::to_value(response.report()).unwrap(),
                http_status: Some(response.status().as_u16()),
                page: Some(serde_json::from_slice(&body).unwrap()),
            }
        }
        Err(error) => Fetched {
            exit_code: echkit_cli::exit_code(error.kind()),
            report: serde_json::to_value(error.report()).unwrap(),
            http_status: None,
            page: None,
        },
    }
}

/// Each way in which a fetch is not as the case says.
fn differences(case: &Case, expected: &Expected, got: &Fetched) -> Vec<String> {
    let Fetched { report, page, .. } = got;
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: Value, got: Value| {
        if expected != got {
            differences.push(format!("{what}: expected {expected}, got {got}"));
        }
    };
    compare("exit code", json!(expected.exit_code), json!(got.exit_code));
    compare(
        "http status",
        json!(expected.http_status),
        json!(got.http_status),
    );
    compare(
        "dns.https",
        json!(expected.https),
        report["dns"]["https"].clone(),
    );
    compare(
        "ech.status",
        json!(expected.status),
        report["ech"]["status"].clone(),
    );
    compare(
        "ech.source",
        json!(expected.source),
        report["ech"]["source"].clone(),
    );
    compare(
        "ech.retries",
        json!(expected.retries),
        report["ech"]["retries"].clone(),
    );
    compare(
        "there is an error",
        json!(expected.exit_code != 0),
        json!(!report["error"].is_null()),
    );
    if let Some(page) = page {
        compare(
            "server's word",
            json!(expected.server),
            json!(page.ech.status),
        );
        compare(
            "HelloRetryRequest",
            json!(expected.hello_retry),
            report["tls"]["hello_retry"].clone(),
        );
        compare(
            "server's HelloRetryRequest",
            json!(expected.hello_retry),
            json!(page.tls.hello_retry),
        );
        // Both ends must tell the same story of what was shown.
        compare(
            "outer SNI",
            json!(page.ech.outer_sni),
            report["ech"]["outer_sni"].clone(),
        );
        if expected.status == echkit_testbed::ExpectedStatus::Accepted {
            compare(
                "outer SNI",
                json!(case.public_name),
                report["ech"]["outer_sni"].clone(),
            );
            compare(
                "inner SNI",
                json!(case.host),
                report["ech"]["inner_sni"].clone(),
            );
            compare(
                "server's inner SNI",
                json!(case.host),
                json!(page.ech.inner_sni),
            );
            compare(
                "config_id",
                json!(page.ech.config_id),
                report["ech"]["config_id"].clone(),
            );
            compare(
                "suite",
                json!(page.ech.suite),
                report["ech"]["suite"].clone(),
            );
        }
        compare("ALPN", json!(page.tls.alpn), report["tls"]["alpn"].clone());
    }
    differences
}

/// What the wire shows that it must not, or does not show that it must.
fn wire(
    case: &Case,
    expected: &Expected,
    captures: &[Capture],
    tickets: &[Vec<u8>],
) -> Vec<String> {
    let mut wrong = Vec::new();
    if expected.silent != captures.is_empty() {
        wrong.push(format!(
            "{} connections, silent: {}",
            captures.len(),
            expected.silent
        ));
    }
    let shown = captures.iter().any(|capture| capture.contains(&case.host));
    match (expected.hidden, shown) {
        (true, true) => wrong.push("the hidden name went over the wire".to_owned()),
        // Else the search itself would be blind.
        (false, false) => wrong.push("the name should have been readable and was not".to_owned()),
        _ => {}
    }
    if captures.iter().any(|capture| capture.truncated) {
        wrong.push("the capture is not whole".to_owned());
    }
    let leaked = |ticket: &&Vec<u8>| {
        captures.iter().any(|c| {
            c.bytes
                .windows(ticket.len())
                .any(|w| w == ticket.as_slice())
        })
    };
    if expected.hidden && tickets.iter().any(|ticket| leaked(&ticket)) {
        wrong.push("a session ticket went over the wire in the clear".to_owned());
    }
    wrong
}

async fn run(testbed: &Testbed, mode: EchMode, resolver: &str, skip: &[&str]) {
    let mut failures = String::new();
    let mut checked = 0;
    for case in testbed
        .cases()
        .iter()
        .filter(|case| !skip.contains(&case.name.as_str()))
    {
        let expected = match mode {
            EchMode::Require => &case.expect.require,
            _ => &case.expect.prefer,
        };
        testbed.clear_captures();
        let client = client(testbed, mode, resolver);
        // The second fetch is on a new connection, and may resume the first one's session.
        for turn in ["first", "second"] {
            let got = fetch(&client, case).await;
            // A client that has met the server sends the key share that it asked for, unless the
            // site was hidden: the outer hello would show what it asked for (RFC 9849 §10.5).
            let hidden = expected.status == echkit_testbed::ExpectedStatus::Accepted;
            let hello_retry = expected.hello_retry && (turn == "first" || hidden);
            let expected = &expected.with_hello_retry(hello_retry);
            for difference in differences(case, expected, &got) {
                writeln!(failures, "{} ({turn}): {difference}", case.name).unwrap();
                if !got.report["error"].is_null() {
                    writeln!(failures, "    {}", got.report["error"]).unwrap();
                }
            }
        }
        drop(client);
        testbed.quiet().await;
        for wrong in wire(case, expected, &testbed.captures(), &testbed.tickets()) {
            writeln!(failures, "{}: {wrong}", case.name).unwrap();
        }
        checked += 1;
    }
    assert!(failures.is_empty(), "{mode} over {resolver}:\n{failures}");
    assert_eq!(checked + skip.len(), testbed.cases().len());
}

#[tokio::test]
async fn every_case_ends_as_it_says_where_ech_is_preferred() {
    let testbed = Testbed::start().await.unwrap();
    run(&testbed, EchMode::Prefer, &testbed.dns_uri(), &[]).await;
}

#[tokio::test]
async fn every_case_ends_as_it_says_where_ech_is_required() {
    let testbed = Testbed::start().await.unwrap();
    run(&testbed, EchMode::Require, &testbed.dns_uri(), &[]).await;
}

#[tokio::test]
async fn the_resolver_over_https_leads_to_the_same_ends() {
    let testbed = Testbed::start().await.unwrap();
    // RFC 9460 §3.1: over a protected resolver a failed query is a hard failure, see below.
    run(&testbed, EchMode::Prefer, &testbed.doh_uri(), &["servfail"]).await;
}

#[tokio::test]
async fn over_https_a_resolver_that_fails_is_no_reason_to_connect() {
    let testbed = Testbed::builder().only(["servfail"]).start().await.unwrap();
    for mode in [EchMode::Prefer, EchMode::Require] {
        let got = fetch(
            &client(&testbed, mode, &testbed.doh_uri()),
            &testbed.cases()[0],
        )
        .await;
        assert_ne!(got.exit_code, 0);
        assert_eq!(got.report["dns"]["https"], json!(ExpectedHttps::Failed));
    }
    assert!(testbed.captures().is_empty());
}

/// The search for names and tickets must be able to find them.
#[tokio::test]
async fn without_ech_the_wire_shows_the_name() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let case = &testbed.cases()[0];
    let client = client(&testbed, EchMode::Off, &testbed.dns_uri());
    let got = fetch(&client, case).await;
    assert_eq!(got.report["ech"]["status"], "not_offered");
    assert_eq!(
        got.page.unwrap().ech.status,
        echkit_testbed::ServerWord::NotOffered
    );
    drop(client);
    testbed.quiet().await;
    assert!(
        testbed
            .captures()
            .iter()
            .all(|capture| capture.contains(&case.host))
    );
}

/// With rustls 0.23.46 alone, the second outer hello after a HelloRetryRequest would carry the
/// session ticket when ECH is rejected.
#[tokio::test]
async fn no_ticket_shows_when_a_resumption_is_retried_and_then_rejected() {
    for mode in [EchMode::Prefer, EchMode::Require] {
        let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
        let case = &testbed.cases()[0];
        let client = client(&testbed, mode, &testbed.dns_uri());
        fetch(&client, case).await.page.unwrap();
        let resumed = fetch(&client, case).await;
        assert!(
            resumed.page.unwrap().tls.resumed,
            "there are tickets to leak"
        );
        assert!(!testbed.tickets().is_empty());

        testbed.rotate("nominal").unwrap();
        testbed.demand_hello_retry("nominal").unwrap();
        let got = fetch(&client, case).await;
        assert_eq!(
            got.report["ech"]["status"], "accepted",
            "{}",
            got.report["error"]
        );
        assert_eq!(got.report["ech"]["source"], "retry");
        assert_eq!(
            got.page.unwrap().ech.status,
            echkit_testbed::ServerWord::Accepted
        );
        drop(client);
        testbed.quiet().await;
        let wrong = wire(
            case,
            &case.expect.require,
            &testbed.captures(),
            &testbed.tickets(),
        );
        assert!(wrong.is_empty(), "{mode}: {wrong:?}");
    }
}

/// The search for tickets must be able to find them.
#[tokio::test]
async fn without_ech_the_wire_shows_the_ticket() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let case = &testbed.cases()[0];
    let client = client(&testbed, EchMode::Off, &testbed.dns_uri());
    fetch(&client, case).await;
    assert!(fetch(&client, case).await.page.unwrap().tls.resumed);
    drop(client);
    testbed.quiet().await;
    let wrong = wire(
        case,
        &case.expect.require,
        &testbed.captures(),
        &testbed.tickets(),
    );
    assert_eq!(wrong.len(), 2, "the name and a ticket: {wrong:?}");
}
