//! Discovery against scripted zones: each rule of RFC 9460 §3 and RFC 9848 §5 by name.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use data_encoding::BASE64;
use echkit::discover::{
    AliasProblem, DiscoverError, DiscoverOptions, Discovery, DnsReport, Endpoint, EndpointKind,
    Families, FixedAddresses, HttpsAnswer, RecordUnused, Warning, discover_with,
};
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::origin::{Host, Origin};
use echkit_proto::config::{EchConfigList, NameExposure, WhyNot};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::svcb::RecordUnusable;
use echkit_test::dns::{self, Reply, Script, Server, https, v4, v6};

const HTTPS: RecordType = RecordType::HTTPS;
const A: RecordType = RecordType::A;
const AAAA: RecordType = RecordType::AAAA;

type Zone = Vec<(&'static str, RecordType, Reply)>;

fn records(texts: &[&str]) -> Reply {
    Reply::Records(texts.iter().map(|text| https(text)).collect())
}

fn address(last: u8) -> Reply {
    Reply::Records(vec![v4(last)])
}

/// A list that can be used.
fn good_ech() -> String {
    BASE64.encode(&ECH_LIST)
}

/// A list of one config with an unknown version.
fn odd_ech() -> String {
    BASE64.encode(b"\0\x06\xab\xcd\0\x02xx")
}

static ECH_LIST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let params = KeyParams {
        config_id: Some(7),
        ..KeyParams::new("public.test").unwrap()
    };
    let key = EchKey::generate(&params).unwrap();
    EchConfigList::from(key.config().clone()).encode()
});

async fn run(zone: Zone, url: &str) -> (Discovery, Server) {
    run_with(zone, url, &DiscoverOptions::default()).await
}

async fn run_with(zone: Zone, url: &str, options: &DiscoverOptions) -> (Discovery, Server) {
    let server = Server::start(Script::new(zone)).await;
    let timeout = Duration::from_secs(20);
    let resolver_options = ResolverOptions {
        timeout,
        ..ResolverOptions::default()
    };
    let resolver = Resolver::from_uri(&server.udp(), &resolver_options).unwrap();
    let origin = Origin::parse(url).unwrap();
    (discover_with(&resolver, &origin, options).await, server)
}

/// Kind, target, port and whether ECH can be used, in order.
fn places(discovery: &Discovery) -> Vec<(EndpointKind, String, u16, bool)> {
    let place = |e: &Endpoint| (e.kind, e.target.to_string(), e.port, e.can_offer_ech());
    discovery.endpoints.iter().map(place).collect()
}

use EndpointKind::{AliasEnd, Authority, Fixed, Service};

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
async fn records_with_ech_alone_make_the_client_svcb_reliant() {
    let ech = good_ech();
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&[
                &format!("1 . ech={ech}"),
                &format!("2 b.test. ech={ech} port=8443"),
            ]),
        ),
        ("b.test", A, address(2)),
    ];
    let (found, server) = run(zone, "https://a.test").await;
    assert!(found.svcb_reliant);
    assert_eq!(
        places(&found),
        [
            (Service, "a.test".into(), 443, true),
            (Service, "b.test".into(), 8443, true)
        ]
    );
    assert_eq!(
        found.endpoints[0]
            .ech
            .as_ref()
            .map(|ech| ech.list().encode()),
        Some(ECH_LIST.clone())
    );
    // The authority's addresses are asked for once.
    assert_eq!(server.script.count("a.test", A), 1);
    assert_eq!(
        found.ttl,
        Some(Duration::from_secs(60)),
        "the missing AAAA has the least"
    );
    assert_eq!(found.https_ttl, Some(Duration::from_secs(dns::TTL.into())));
}

#[tokio::test]
async fn endpoints_with_ech_come_before_better_priorities_without() {
    let ech = good_ech();
    let zone = vec![
        ("a.test", A, address(1)),
        ("b.test", A, address(2)),
        (
            "a.test",
            HTTPS,
            records(&["1 . alpn=h2", &format!("2 b.test. ech={ech}")]),
        ),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(!found.svcb_reliant);
    // The authority would repeat the second, and is left out.
    assert_eq!(
        places(&found),
        [
            (Service, "b.test".into(), 443, true),
            (Service, "a.test".into(), 443, false)
        ]
    );
    assert!(
        matches!(found.warnings[..], [Warning::PartialEch(_)]),
        "{:?}",
        found.warnings
    );
}

#[tokio::test]
async fn unusable_configs_are_named_and_still_bind_the_client() {
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&[&format!("1 . ech={}", odd_ech())]),
        ),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(found.svcb_reliant);
    assert_eq!(places(&found), [(Service, "a.test".into(), 443, false)]);
    assert!(found.endpoints[0].ech.is_some());
    let why = found.records[0].configs()[0].why_not.as_ref();
    assert_eq!(why, Some(&WhyNot::UnknownVersion(0xabcd)));
    assert!(
        found.warnings[0].to_string().contains("0xabcd"),
        "{:?}",
        found.warnings
    );
}

#[tokio::test]
async fn mandatory_ech_without_usable_config_makes_a_record_incompatible() {
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&[&format!("1 . mandatory=ech ech={}", odd_ech())]),
        ),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(!found.svcb_reliant);
    assert_eq!(places(&found), [(Authority, "a.test".into(), 443, false)]);
    let why = found.records[0].why_not.as_ref().unwrap();
    assert!(matches!(
        why,
        RecordUnused::Unusable(RecordUnusable::MandatoryEchUnusable)
    ));
    assert!(why.to_string().contains("mandatory"));
    assert!(matches!(
        found.warnings[..],
        [Warning::NoCompatibleRecord(_)]
    ));
}

#[tokio::test]
async fn a_client_without_ech_is_never_svcb_reliant() {
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&[&format!("1 . ech={}", good_ech())]),
        ),
    ];
    let options = DiscoverOptions {
        ech: false,
        ..DiscoverOptions::default()
    };
    let (found, _server) = run_with(zone, "https://a.test", &options).await;
    assert!(!found.svcb_reliant && !found.endpoints[0].can_offer_ech());
    assert_eq!(found.endpoints.last().unwrap().kind, Authority);
}

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
async fn hints_serve_only_where_answers_do_not() {
    let ech = good_ech();
    let record = format!("1 b.test. ech={ech} ipv4hint=192.0.2.7 ipv6hint=2001:db8::7");
    let hinted = |reply: Option<Reply>| {
        let mut zone = vec![
            ("a.test", A, address(1)),
            ("a.test", HTTPS, records(&[&record])),
        ];
        zone.extend(reply.map(|reply| ("b.test", A, reply)));
        zone
    };
    let (found, _server) = run(hinted(Some(address(2))), "https://a.test").await;
    assert_eq!(
        found.endpoints[0].addresses,
        ["192.0.2.2".parse::<IpAddr>().unwrap()]
    );
    assert!(!found.endpoints[0].from_hints);
    for reply in [None, Some(Reply::Rcode(2))] {
        let (found, _server) = run(hinted(reply), "https://a.test").await;
        let hints: Vec<IpAddr> = vec!["2001:db8::7".parse().unwrap(), "192.0.2.7".parse().unwrap()];
        assert_eq!(found.endpoints[0].addresses, hints);
        assert!(found.endpoints[0].from_hints);
    }
    let options = DiscoverOptions {
        families: Families::V4,
        ..DiscoverOptions::default()
    };
    let (found, server) = run_with(hinted(None), "https://a.test", &options).await;
    assert_eq!(
        found.endpoints[0].addresses,
        ["192.0.2.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(server.script.count("a.test", AAAA), 0);
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

#[tokio::test]
async fn fixed_addresses_do_not_silence_records_and_a_fixed_endpoint_does() {
    let zone = || {
        vec![(
            "a.test",
            HTTPS,
            records(&[&format!("1 . ech={}", good_ech())]),
        )]
    };
    let fixed: IpAddr = "127.0.0.9".parse().unwrap();
    let host = Origin::parse("https://a.test").unwrap().host;
    let entry = |port| FixedAddresses {
        host: host.name().unwrap().clone(),
        port,
        addresses: vec![fixed],
    };
    for port in [None, Some(443)] {
        let options = DiscoverOptions {
            resolve: vec![entry(port)],
            ..DiscoverOptions::default()
        };
        let (found, server) = run_with(zone(), "https://a.test", &options).await;
        assert_eq!(places(&found), [(Service, "a.test".into(), 443, true)]);
        assert_eq!(found.endpoints[0].addresses, [fixed]);
        assert_eq!(server.script.count("a.test", A), 0);
    }
    let other = DiscoverOptions {
        resolve: vec![entry(Some(444))],
        ..DiscoverOptions::default()
    };
    let (found, _server) = run_with(zone(), "https://a.test", &other).await;
    assert!(found.endpoints.is_empty());

    let options = DiscoverOptions {
        connect_to: Some((Host::Ip(fixed), 4433)),
        ..DiscoverOptions::default()
    };
    let (found, server) = run_with(zone(), "https://a.test", &options).await;
    assert_eq!(places(&found), [(Fixed, "127.0.0.9".into(), 4433, false)]);
    assert!(found.query_name.is_none() && server.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn ech_under_protocols_that_are_not_spoken_is_an_error_that_names_them() {
    let zone = |more: &str| {
        let hidden = format!("1 . alpn=h3 no-default-alpn ech={}", good_ech());
        vec![
            ("a.test", A, address(1)),
            ("a.test", HTTPS, records(&[&hidden, more])),
        ]
    };
    let more = format!("2 . alpn=foo no-default-alpn ech={}", odd_ech());
    for url in ["https://a.test", "http://a.test"] {
        let (found, _server) = run(zone(&more), url).await;
        assert!(found.endpoints.is_empty() && found.svcb_reliant);
        let error = found.error.as_ref().unwrap();
        assert!(matches!(error, DiscoverError::NoCommonProtocol { .. }));
        let text = error.to_string();
        assert!(
            text.contains("a.test") && text.contains("h3, foo"),
            "{text}"
        );
    }
    // One record without ech, and the publisher allows to be reached without.
    let (found, _server) = run(zone("2 . alpn=foo no-default-alpn"), "https://a.test").await;
    assert!(found.error.is_none() && !found.svcb_reliant);
    assert_eq!(places(&found), [(Authority, "a.test".into(), 443, false)]);
}

#[tokio::test]
async fn a_public_name_that_tells_the_host_is_warned_of() {
    for (public, exposure) in [
        ("a.test", Some(NameExposure::Equal)),
        ("cover.a.test", Some(NameExposure::Contains)),
        ("public.test", None),
    ] {
        let key = EchKey::generate(&KeyParams::new(public).unwrap()).unwrap();
        let list = EchConfigList::from(key.config().clone()).to_base64();
        let zone = vec![
            ("a.test", A, address(1)),
            ("a.test", HTTPS, records(&[&format!("1 . ech={list}")])),
        ];
        let (found, _server) = run(zone, "https://a.test").await;
        assert_eq!(places(&found), [(Service, "a.test".into(), 443, true)]);
        let told = found.warnings.iter().find_map(|warning| match warning {
            Warning::ExposingPublicName { exposure, .. } => Some(*exposure),
            _ => None,
        });
        assert_eq!(told, exposure, "{public}");
    }
}

#[tokio::test]
async fn so_many_addresses_and_hints_are_taken_and_no_more() {
    let many = |count: u16| {
        let rdata = (0..count).map(|number| {
            let [high, low] = number.to_be_bytes();
            vec![10, 0, high, low]
        });
        Reply::Records(rdata.collect())
    };
    let (found, _server) = run(vec![("a.test", A, many(70))], "https://a.test").await;
    assert_eq!(found.endpoints[0].addresses.len(), 64);
    let hints: Vec<_> = (0..70).map(|number| format!("10.1.0.{number}")).collect();
    let record = format!("1 b.test. ipv4hint={}", hints.join(","));
    let zone = vec![
        ("a.test", A, address(1)),
        ("a.test", HTTPS, records(&[&record])),
    ];
    let (found, _server) = run(zone, "https://a.test").await;
    assert!(found.endpoints[0].from_hints);
    assert_eq!(found.endpoints[0].addresses.len(), 64);
}

#[tokio::test]
async fn an_address_literal_is_asked_of_nobody() {
    let (found, server) = run(vec![], "https://192.0.2.1:8443").await;
    assert_eq!(
        places(&found),
        [(Authority, "192.0.2.1".into(), 8443, false)]
    );
    assert!(found.query_name.is_none() && server.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_internationalised_name_is_asked_for_in_ascii_and_without_its_dot() {
    let ascii = "xn--bcher-kva.test";
    for url in ["https://Bücher.test./", "https://XN--bcher-KVA.test/"] {
        let zone = vec![(ascii, A, address(1)), (ascii, HTTPS, records(&["1 ."]))];
        let (found, server) = run(zone, url).await;
        assert_eq!(found.query_name.as_ref().unwrap().to_string(), ascii);
        assert_eq!(found.https.as_str(), "found");
        assert_eq!(found.endpoints[0].target.to_string(), ascii);
        for asked in server.script.asked.lock().unwrap().iter() {
            assert_eq!(asked.name.to_string(), ascii);
        }
    }
}

#[tokio::test]
async fn the_report_has_the_agreed_shape() {
    let ech = good_ech();
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&[&format!("1 . alpn=h2 port=18443 ech={ech}")]),
        ),
    ];
    let (found, server) = run(zone, "https://a.test").await;
    let json = serde_json::to_value(DnsReport::from(&found)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "resolver": server.udp(), "protected": false, "query_name": "a.test",
            "aliases": [], "https": "found", "svcb_reliant": true,
            "records": [{
                "priority": 1, "target": ".", "port": 18443, "alpn": ["h2"],
                "no_default_alpn": false, "ipv4hint": [], "ipv6hint": [], "ech": ech,
                "usable": true, "configs": [{ "config_id": 7, "why_not": null }],
                "why_not": null,
            }],
            "https_upgrade": false, "warnings": [],
        })
    );
}

#[tokio::test]
async fn discovery_may_run_on_any_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let resolver = Resolver::system();
    let origin = Origin::parse("https://127.0.0.1").unwrap();
    let options = DiscoverOptions::default();
    let found = is_send(discover_with(&resolver, &origin, &options)).await;
    assert_eq!(found.endpoints.len(), 1);
}
