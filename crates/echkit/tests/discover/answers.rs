//! What an answer, none, or a bad one leads to.

use std::net::IpAddr;

use echkit::discover::{DiscoverError, HttpsAnswer, Warning};
use echkit::dns::RecordType;
use echkit_test::dns::{Reply, https, v6};

use super::zone::{A, AAAA, HTTPS, address, good_ech, places, records, run};
use echkit::discover::EndpointKind::Authority;

#[tokio::test]
async fn without_records_the_authority_endpoint_remains() {
    let zone = vec![
        ("a.test", A, address(1)),
        ("a.test", AAAA, Reply::Records(vec![v6(1)])),
    ];
    let (found, server) = run(zone, "https://a.test:8443").await;
    assert!(matches!(found.https, HttpsAnswer::None));
    assert_eq!(
        found.query_name,
        Some("_8443._https.a.test".parse().unwrap())
    );
    assert_eq!(places(&found), [(Authority, "a.test".into(), 8443, false)]);
    // IPv6 first, whichever answer came first.
    let addresses: Vec<IpAddr> = vec!["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    assert_eq!(found.endpoints[0].addresses, addresses);
    assert!(found.error.is_none() && found.warnings.is_empty());
    assert_eq!(server.script.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn one_malformed_record_rejects_them_all() {
    let good = https(&format!("1 . ech={}", good_ech()));
    let head = &b"\0\x01\0"[..];
    let bad: &[&[u8]] = &[
        b"",
        b"\0",
        b"\0\x01",
        b"\0\x01\xc0\x0c",
        b"\0\x01\x03ab",
        &[head, b"\0\x03\0\x02\x01\xbb\0\x01\0\x03\x02h2"].concat(),
        &[head, b"\0\x03\0\x02\x01\xbb\0\x03\0\x02\x01\xbb"].concat(),
        &[head, b"\0\x03\0\x09\x01\xbb"].concat(),
        &[head, b"\0\x03\0\x01\x01"].concat(),
        &[head, b"\0\x04\0\0"].concat(),
        &[head, b"\0\x06\0\x04abcd"].concat(),
        &[head, b"\0\x01\0\0"].concat(),
        &[head, b"\0\x01\0\x01\0"].concat(),
        &[head, b"\0\x02\0\0"].concat(),
        &[head, b"\0\0\0\x02\0\x03"].concat(),
        &[head, b"\0\0\0\x02\0\0"].concat(),
        &[head, b"\0\x05\0\x04\0\x09\xfe\x0d"].concat(),
        &[head, b"\0\x01\0\x03\x02h2\0"].concat(),
    ];
    for rdata in bad {
        let zone = vec![
            ("a.test", A, address(1)),
            (
                "a.test",
                HTTPS,
                Reply::Records(vec![good.clone(), rdata.to_vec()]),
            ),
        ];
        let (found, _server) = run(zone, "https://a.test").await;
        assert_eq!(found.https.as_str(), "malformed", "{rdata:?}");
        assert!(!found.svcb_reliant && found.records.is_empty());
        assert_eq!(places(&found), [(Authority, "a.test".into(), 443, false)]);
        assert!(matches!(found.warnings[..], [Warning::Malformed { .. }]));
    }
}

#[tokio::test]
async fn over_plain_dns_a_failed_lookup_is_said_and_not_taken_for_none() {
    let zone = vec![
        ("a.test", A, address(1)),
        ("a.test", HTTPS, Reply::Rcode(2)),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert_eq!(found.https.as_str(), "failed");
    assert!(found.error.is_none() && !found.protected);
    assert_eq!(places(&found), [(Authority, "a.test".into(), 443, false)]);
    assert!(matches!(found.warnings[..], [Warning::Failed { .. }]));
}

#[tokio::test]
async fn hosts_that_do_not_exist_and_hosts_without_address_differ() {
    let (found, _server) = run(vec![], "https://gone.test").await;
    assert!(
        matches!(found.error, Some(DiscoverError::NoSuchHost(_))),
        "{:?}",
        found.error
    );
    let zone = vec![("a.test", RecordType::SOA, Reply::Silence)];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(
        matches!(found.error, Some(DiscoverError::NoAddresses { .. })),
        "{:?}",
        found.error
    );
    let zone = vec![
        ("a.test", A, Reply::Rcode(2)),
        ("a.test", AAAA, Reply::Rcode(2)),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(
        matches!(found.error, Some(DiscoverError::AddressLookup { .. })),
        "{:?}",
        found.error
    );
}

#[tokio::test]
async fn http_is_upgraded_by_an_alias_or_a_compatible_record_alone() {
    let zone = |text: &str| {
        vec![
            ("a.test", A, address(1)),
            ("a.test", HTTPS, records(&[text])),
        ]
    };
    for (text, upgrade, port) in [
        ("1 . alpn=h2", true, 443),
        ("0 b.test.", true, 443),
        ("1 . alpn=h3 no-default-alpn", false, 80),
        ("1 . mandatory=key700 key700=x", false, 80),
    ] {
        let (found, _server) = run(zone(text), "http://a.test").await;
        assert_eq!(found.https_upgrade, upgrade, "{text}");
        assert_eq!(found.endpoints.last().unwrap().port, port, "{text}");
    }
    let (found, _server) = run(zone("1 ."), "https://a.test").await;
    assert!(!found.https_upgrade, "already https");
}
