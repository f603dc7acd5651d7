//! ECH in HTTPS records: RFC 9848 §5, and what is said where none can be used.

use std::time::Duration;

use echkit::discover::{DiscoverError, DiscoverOptions, RecordUnused, Warning};
use echkit_proto::config::{EchConfigList, NameExposure, WhyNot};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::svcb::RecordUnusable;
use echkit_test::dns;

use super::zone::{A, ECH_LIST, HTTPS, address, good_ech, odd_ech, places, records, run, run_with};
use echkit::discover::EndpointKind::{Authority, Service};

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
    let options = DiscoverOptions::default().with_ech(false);
    let (found, _server) = run_with(zone, "https://a.test", &options).await;
    assert!(!found.svcb_reliant && !found.endpoints[0].can_offer_ech());
    assert_eq!(found.endpoints.last().unwrap().kind, Authority);
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
