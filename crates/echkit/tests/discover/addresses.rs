//! Addresses: of names, of hints, and given by hand.

use std::net::IpAddr;

use echkit::discover::{DiscoverOptions, FixedAddresses};
use echkit::origin::{Host, Origin};
use echkit::policy::AddressFamily;
use echkit_test::dns::Reply;

use super::zone::{A, AAAA, HTTPS, address, good_ech, places, records, run, run_with};
use echkit::discover::EndpointKind::{Authority, Fixed, Service};

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
    let options = DiscoverOptions::default().with_family(AddressFamily::V4);
    let (found, server) = run_with(hinted(None), "https://a.test", &options).await;
    assert_eq!(
        found.endpoints[0].addresses,
        ["192.0.2.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(server.script.count("a.test", AAAA), 0);
}

#[tokio::test]
async fn fixed_addresses_do_not_silence_records() {
    let zone = || {
        vec![(
            "a.test",
            HTTPS,
            records(&[&format!("1 . ech={}", good_ech())]),
        )]
    };
    let fixed: IpAddr = "127.0.0.9".parse().unwrap();
    let host = Origin::parse("https://a.test").unwrap().host;
    let entry = |port| FixedAddresses::new(host.name().unwrap().clone(), port, vec![fixed]);
    for port in [None, Some(443)] {
        let options = DiscoverOptions::default().with_resolve(vec![entry(port)]);
        let (found, server) = run_with(zone(), "https://a.test", &options).await;
        assert_eq!(places(&found), [(Service, "a.test".into(), 443, true)]);
        assert_eq!(found.endpoints[0].addresses, [fixed]);
        assert_eq!(server.script.count("a.test", A), 0);
    }
    let other = DiscoverOptions::default().with_resolve(vec![entry(Some(444))]);
    let (found, _server) = run_with(zone(), "https://a.test", &other).await;
    assert!(found.endpoints.is_empty());

    let options = DiscoverOptions::default().with_connect_to((Host::Ip(fixed), 4433));
    let without_ech = options.clone().with_ech(false);
    for (url, options) in [
        ("https://a.test", &without_ech),
        ("http://a.test", &options),
    ] {
        let (found, server) = run_with(zone(), url, options).await;
        assert_eq!(places(&found)[0].1, "127.0.0.9");
        assert!(found.query_name.is_none() && server.script.asked.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_fixed_place_has_the_ech_of_the_records_and_nothing_else_of_them() {
    let fixed: IpAddr = "127.0.0.9".parse().unwrap();
    let options = DiscoverOptions::default().with_connect_to((Host::Ip(fixed), 4433));
    let zone = || {
        let ech = good_ech();
        let with = format!("2 b.test. port=444 ipv4hint=127.0.0.7 ech={ech}");
        vec![("a.test", HTTPS, records(&["1 c.test.", &with]))]
    };
    let (found, server) = run_with(zone(), "https://a.test", &options).await;
    assert_eq!(places(&found), [(Fixed, "127.0.0.9".into(), 4433, true)]);
    assert_eq!(server.script.asked.lock().unwrap().len(), 1);
    let (found, _server) = run_with(vec![], "https://a.test", &options).await;
    assert_eq!(places(&found), [(Fixed, "127.0.0.9".into(), 4433, false)]);
}

#[tokio::test]
async fn fixed_addresses_of_every_host_hold_where_a_host_has_none_of_its_own() {
    let [any, own]: [IpAddr; 2] = ["127.0.0.8", "127.0.0.9"].map(|text| text.parse().unwrap());
    let host = Origin::parse("https://a.test").unwrap().host;
    let host = host.name().unwrap().clone();
    let options = DiscoverOptions::default().with_resolve([
        FixedAddresses::of_every_host(Some(443), [any]),
        FixedAddresses::new(host, Some(443), [own]),
    ]);
    let zone = || vec![("b.test", HTTPS, records(&["1 c.test.", "2 . port=444"]))];
    let (found, _server) = run_with(zone(), "https://a.test", &options).await;
    assert_eq!(found.endpoints[0].addresses, [own]);
    // The target of a record is a host as well, and another port is none of theirs.
    let (found, server) = run_with(zone(), "https://b.test", &options).await;
    assert_eq!(places(&found)[0].1, "c.test");
    assert_eq!(found.endpoints[0].addresses, [any]);
    assert_eq!(server.script.count("c.test", A), 0);
    assert_eq!(server.script.count("b.test", A), 1);
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
