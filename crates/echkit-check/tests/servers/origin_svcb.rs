//! `/.well-known/origin-svcb`, right, wrong and absent.

use std::sync::Arc;

use echkit::server::EchKeys;
use echkit_proto::key::EchKey;
use echkit_test::pki::Authority;

use crate::site::{
    Answer, HOST, PUBLIC, Page, Site, assert_findings, check, ech, findings_of, key, list, record,
};

/// A site whose document is this text.
fn document(text: impl Into<String>) -> Answer {
    let text = text.into();
    Arc::new(move |authority, path| match (authority, path) {
        (_, "/") => Page::new(200),
        (HOST, "/.well-known/origin-svcb") => Page {
            body: text.clone(),
            ..Page::new(200).with("content-type", "application/json")
        },
        _ => Page::new(404),
    })
}

fn endpoint(key: &EchKey, more: &str) -> String {
    let ech = list(key).to_base64();
    format!(r#"{{"params": {{"ech": "{ech}", "alpn": ["h2"]{more}}}}}"#)
}

fn text(regeninterval: u64, endpoints: &str) -> String {
    format!(r#"{{"regeninterval": {regeninterval}, "endpoints": [{endpoints}], "more": null}}"#)
}

#[tokio::test]
async fn a_document_that_says_what_dns_says_is_no_finding() {
    findings_of(
        |site, key| site.answer = document(text(3600, &endpoint(key, ""))),
        &[],
    )
    .await;
    // That of an alias is published in one of several ways.
    findings_of(
        |site, _| site.answer = document(text(3600, r#"{"alias": "cdn.test"}"#)),
        &[],
    )
    .await;
}

#[tokio::test]
async fn a_start_page_for_every_path_is_not_taken_for_a_document() {
    let answer: Answer = Arc::new(|_, _| Page {
        body: "<!doctype html>".to_owned(),
        ..Page::new(200).with("content-type", "text/html")
    });
    findings_of(|site, _| site.answer = answer, &[]).await;
}

#[tokio::test]
async fn a_document_that_is_malformed_is_found() {
    for text in [
        "",
        "{",
        r#"{"regeninterval": 3600, "endpoints": []}"#,
        r#"{"regeninterval": 3600, "endpoints": [{"params": {"ech": "AAAA"}}]}"#,
    ] {
        let answer = document(text);
        findings_of(
            |site, _| site.answer = answer,
            &["ECH-ORIGIN-SVCB-MALFORMED"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_document_that_differs_from_dns_is_found() {
    for more in [
        r#", "ipv4hint": ["192.0.2.1"]"#,
        r#", "key65000": "x""#,
        r#", "no-default-alpn": """#,
    ] {
        findings_of(
            |site, key| site.answer = document(text(3600, &endpoint(key, more))),
            &["ECH-ORIGIN-SVCB-DIFFERS"],
        )
        .await;
    }
    // A second endpoint, which DNS has not.
    findings_of(
        |site, key| {
            let one = endpoint(key, "");
            site.answer = document(text(3600, &format!("{one}, {one}")));
        },
        &["ECH-ORIGIN-SVCB-DIFFERS"],
    )
    .await;
    // The next key, which the server holds already, and one that it does not hold.
    let next = key(PUBLIC, 8);
    findings_of(
        |site, own| {
            site.keys = EchKeys::new(vec![own.clone(), next.clone()]).unwrap();
            site.answer = document(text(3600, &endpoint(&next, "")));
        },
        &["ECH-ORIGIN-SVCB-DIFFERS"],
    )
    .await;
    findings_of(
        |site, _| site.answer = document(text(3600, &endpoint(&key(PUBLIC, 9), ""))),
        &["ECH-ORIGIN-SVCB-DIFFERS", "ECH-ORIGIN-SVCB-FAILS"],
    )
    .await;
}

#[tokio::test]
async fn a_ttl_above_the_interval_of_the_keys_is_found() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let ttl = u64::from(echkit_test::dns::TTL);
    site.answer = document(text(ttl - 1, &endpoint(&key, "")));
    let address = site.start(&ca).await;
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, address.port(), "alpn=h2");
    let report = check(&ca, vec![record]).await;
    assert_findings(&report, &["ECH-TTL-ABOVE-REGENINTERVAL"]);
}
