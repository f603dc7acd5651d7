//! Our discovery reads every zone as its case says, before any server is met.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use echkit::clock::Clock;
use echkit::discover::discover;
use echkit::dns::{Resolver, ResolverOptions};
use echkit::origin::Origin;
use echkit_testbed::{ExpectedStatus, Testbed};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

/// What a resolver of the testbed needs.
fn options(testbed: &Testbed) -> ResolverOptions {
    let mut roots = RootCertStore::empty();
    roots.add(testbed.ca_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ResolverOptions::default()
        .with_tls(Arc::new(tls))
        .with_timeout(Duration::from_secs(30))
}

#[tokio::test]
async fn every_zone_is_read_as_its_case_says() {
    let testbed = Testbed::start().await.unwrap();
    for (uri, protected) in [
        (testbed.dns_uri(), false),
        (testbed.dns_tcp_uri(), false),
        (testbed.dot_uri(), true),
        (testbed.doh_uri(), true),
        (testbed.doq_uri(), true),
        (testbed.doh3_uri(), true),
    ] {
        read_every_zone(&testbed, &uri, protected).await;
    }
}

async fn read_every_zone(testbed: &Testbed, uri: &str, protected: bool) {
    let resolver = Resolver::from_uri(uri, &options(testbed)).unwrap();
    let mut failures = String::new();
    for case in testbed.cases() {
        let discovery = discover(&resolver, &Origin::parse(&case.url).unwrap()).await;
        assert_eq!(discovery.protected, protected);
        let expected = &case.expect.require;
        if json!(discovery.https.as_str()) != json!(expected.https) {
            writeln!(failures, "{}: {:?}", case.name, discovery.https).unwrap();
        }
        // Over a protected resolver nothing may be connected to after a failure (RFC 9460 §3.1).
        if protected && discovery.https.as_str() == "failed" {
            assert!(discovery.error.is_some() && discovery.endpoints.is_empty());
            continue;
        }
        // A client that requires ECH offers it exactly where an endpoint has a usable config.
        let offers = expected.status != ExpectedStatus::NotOffered;
        if discovery
            .endpoints
            .iter()
            .any(|endpoint| endpoint.can_offer_ech())
            != offers
        {
            writeln!(failures, "{}: {:?}", case.name, discovery.endpoints).unwrap();
        }
        if let (true, Some(first)) = (offers, discovery.endpoints.first())
            && (!first.can_offer_ech() || first.addresses.is_empty())
        {
            writeln!(failures, "{}: first is {first:?}", case.name).unwrap();
        }
    }
    assert!(failures.is_empty(), "{uri}:\n{failures}");
}

#[tokio::test]
async fn what_was_found_holds_for_its_lifetime_without_the_server() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let clock = Clock::by_hand();
    let options = options(&testbed).with_clock(clock.clone());
    let resolver = Resolver::from_uri(&testbed.dot_uri(), &options).unwrap();
    let origin = Origin::parse(testbed.url("nominal").unwrap()).unwrap();
    let first = discover(&resolver, &origin).await;
    testbed.shutdown().await;
    let again = discover(&resolver, &origin).await;
    assert_eq!(again.endpoints, first.endpoints);
    assert!(again.protected && again.error.is_none(), "{again:?}");
    clock.advance(first.ttl.unwrap());
    let gone = discover(&resolver, &origin).await;
    assert_eq!(gone.https.as_str(), "failed");
}
