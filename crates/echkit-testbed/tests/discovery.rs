//! Our discovery reads every zone as its case says, before any server is met.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use echkit::discover::discover;
use echkit::dns::{Resolver, ResolverOptions};
use echkit::origin::Origin;
use echkit_testbed::{EchStatus, Testbed};
use serde_json::json;

#[tokio::test]
async fn every_zone_is_read_as_its_case_says() {
    let testbed = Testbed::start().await.unwrap();
    let resolver = Resolver::from_uri(&testbed.dns_uri(), &ResolverOptions::default()).unwrap();
    let mut failures = String::new();
    for case in testbed.cases() {
        let discovery = discover(&resolver, &Origin::parse(&case.url).unwrap()).await;
        let expected = &case.expect.require;
        if json!(discovery.https.as_str()) != json!(expected.https) {
            writeln!(failures, "{}: {:?}", case.name, discovery.https).unwrap();
        }
        // A client that requires ECH offers it exactly where an endpoint has a usable config.
        let offers = expected.status != EchStatus::NotOffered;
        if discovery
            .endpoints
            .iter()
            .any(|endpoint| endpoint.ech_usable)
            != offers
        {
            writeln!(failures, "{}: {:?}", case.name, discovery.endpoints).unwrap();
        }
        if let (true, Some(first)) = (offers, discovery.endpoints.first())
            && (!first.ech_usable || first.addresses.is_empty())
        {
            writeln!(failures, "{}: first is {first:?}", case.name).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
