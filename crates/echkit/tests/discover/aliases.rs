//! Aliases and names at their end (RFC 9460 §2.4.2, §3).

use std::net::IpAddr;

use echkit::discover::{AliasProblem, DiscoverError, DnsReport, HttpsAnswer};
use echkit_test::dns::Reply;

use super::zone::{A, HTTPS, Zone, address, good_ech, places, records, run};
use echkit::discover::EndpointKind::{AliasEnd, Authority, Service};

#[tokio::test]
async fn aliases_are_followed_and_their_end_comes_before_the_authority() {
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&["0 b.test.", "1 x.test. alpn=h2"]),
        ),
        ("b.test", HTTPS, records(&["0 c.test."])),
        ("c.test", A, address(3)),
    ];
    let (found, server) = run(zone, "https://a.test:443").await;
    let aliases: Vec<_> = found.aliases.iter().map(ToString::to_string).collect();
    assert_eq!(aliases, ["b.test", "c.test"]);
    assert!(matches!(found.https, HttpsAnswer::Found));
    assert_eq!(
        places(&found),
        [
            (AliasEnd, "c.test".into(), 443, false),
            (Authority, "a.test".into(), 443, false)
        ]
    );
    assert_eq!(
        server.script.count("x.test", A),
        0,
        "beside an alias, a service is ignored"
    );
}

#[tokio::test]
async fn a_service_at_the_end_of_aliases_and_cnames_is_found_under_its_own_name() {
    let ech = good_ech();
    let zone = vec![
        ("a.test", A, address(1)),
        ("a.test", HTTPS, records(&["0 b.test."])),
        ("b.test", HTTPS, Reply::Cname("c.test")),
        ("c.test", HTTPS, records(&[&format!("1 . ech={ech}")])),
        ("c.test", A, address(3)),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(found.svcb_reliant);
    assert_eq!(places(&found), [(Service, "c.test".into(), 443, true)]);
    assert_eq!(
        found.endpoints[0].addresses,
        ["192.0.2.3".parse::<IpAddr>().unwrap()]
    );
}

#[tokio::test]
async fn alias_loops_and_long_chains_fall_back_to_the_authority() {
    let names: [&'static str; 12] = [
        "n0.test", "n1.test", "n2.test", "n3.test", "n4.test", "n5.test", "n6.test", "n7.test",
        "n8.test", "n9.test", "n10.test", "n11.test",
    ];
    let mut long: Zone = vec![("n0.test", A, address(1)), ("n11.test", A, address(2))];
    for pair in names.windows(2) {
        long.push((pair[0], HTTPS, records(&[&format!("0 {}.", pair[1])])));
    }
    let (found, server) = run(long, "https://n0.test").await;
    assert_eq!(found.alias_problem, Some(AliasProblem::TooLong(8)));
    assert_eq!(places(&found), [(Authority, "n0.test".into(), 443, false)]);
    assert_eq!(server.script.count("n8.test", HTTPS), 1);
    assert_eq!(server.script.count("n9.test", HTTPS), 0);

    let round: Zone = vec![
        ("a.test", A, address(1)),
        ("a.test", HTTPS, records(&["0 b.test."])),
        ("b.test", HTTPS, records(&["0 a.test."])),
    ];
    let (found, server) = run(round, "https://a.test").await;
    assert!(matches!(found.alias_problem, Some(AliasProblem::Loop(_))));
    assert_eq!(places(&found), [(Authority, "a.test".into(), 443, false)]);
    assert_eq!(server.script.count("a.test", HTTPS), 1);
}

#[tokio::test]
async fn an_alias_to_the_root_is_reported_and_advisory() {
    let zone = vec![
        ("a.test", A, address(1)),
        ("a.test", HTTPS, records(&["0 ."])),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(matches!(
        found.alias_problem,
        Some(AliasProblem::Unavailable(_))
    ));
    assert_eq!(places(&found), [(Authority, "a.test".into(), 443, false)]);
    assert!(!DnsReport::from(&found).records[0].usable);
}

#[tokio::test]
async fn a_dot_at_a_prefixed_name_means_that_name_and_the_error_says_so() {
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "_8443._https.a.test",
            HTTPS,
            records(&[&format!("1 . ech={}", good_ech())]),
        ),
    ];
    let (found, _server) = run(zone, "https://a.test:8443").await;
    assert!(found.endpoints.is_empty());
    let error = found.error.as_ref().unwrap();
    assert!(matches!(
        error,
        DiscoverError::NoAddresses { hint: Some(_), .. }
    ));
    let text = error.to_string();
    assert!(
        text.contains("_8443._https.a.test") && text.contains("should name a.test"),
        "{text}"
    );
    assert!(!DnsReport::from(&found).records[0].usable);
}
