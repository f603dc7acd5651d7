//! The testbed's proxies as other software finds them: at their ports, by their list, with what they
//! kept. What a client comes to over each of them is tested with the command.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use echkit::proxy::Proxy;
use echkit::report::EchStatus;
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, EchMode};
use echkit_testbed::{Ports, Testbed, TestbedError, case_names, proxy_list};

#[tokio::test]
async fn proxies_have_fixed_ports_behind_those_of_the_cases() {
    let listed = proxy_list();
    let names: HashSet<&str> = listed.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), listed.len());
    assert!(
        case_names().len() <= 190,
        "their ports reach those of proxies"
    );
    for first in [21_000, 23_000, 25_000, 27_000] {
        let builder = Testbed::builder().ports(Ports::From(first));
        let testbed = match builder.only(["nominal"]).start().await {
            Ok(testbed) => testbed,
            // Somebody else's; the next range may be free.
            Err(TestbedError::Bind { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        for (place, case) in testbed.proxy_cases().iter().enumerate() {
            let port = first + 200 + u16::try_from(place).unwrap();
            assert_eq!(testbed.proxy(&case.name).unwrap().address().port(), port);
            for way in &case.ways {
                let uri = way.uri.as_ref().unwrap();
                let proxy: Proxy = uri.parse().unwrap();
                assert_eq!((proxy.port(), proxy.kind().as_str()), (port, &*way.scheme));
                let known = listed[place].way(&way.scheme).unwrap();
                assert_eq!(known.exit_code, way.exit_code, "{uri}");
                assert_eq!(known.uri, None);
            }
        }
        testbed.shutdown().await;
        return;
    }
    panic!("no range of ports is free");
}

#[tokio::test]
async fn captures_tell_what_was_asked_and_what_passed_either_way() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let trust = || ClientTls::builder().trust(Trust::certificates([testbed.ca_der()]).unwrap());
    for (name, scheme) in [("open", "http"), ("tls", "https"), ("password", "socks5")] {
        let proxy = testbed.proxy(name).unwrap();
        let cases = testbed.proxy_cases();
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let uri = case.way(scheme).unwrap().uri.clone().unwrap();
        for (mode, shown) in [(EchMode::Require, false), (EchMode::Off, true)] {
            proxy.clear_captures();
            let client = Client::builder().ech(mode).dns(testbed.doh_uri());
            let client = client
                .tls(trust())
                .proxy(uri.parse().unwrap())
                .build()
                .unwrap();
            let mut response = client
                .get(testbed.url("nominal").unwrap())
                .send()
                .await
                .unwrap();
            response.bytes().await.unwrap();
            let accepted = response.report().ech.status == EchStatus::Accepted;
            assert_eq!(accepted, !shown);
            drop((client, response));
            let captures = proxy.captures();
            let port = testbed.case("nominal").unwrap().port;
            let asked = |place: &str| {
                captures
                    .iter()
                    .find(|one| one.asked.as_deref() == Some(place))
            };
            let page = [format!("[::1]:{port}"), format!("127.0.0.1:{port}")];
            let page = page.iter().find_map(|place| asked(place)).unwrap();
            let lookup = asked(&testbed.doh_address().to_string()).unwrap();
            for capture in [page, lookup] {
                assert!(capture.sent.len() > 100 && capture.received.len() > 1000);
            }
            assert_eq!(page.contains("nominal"), shown, "{uri}");
            assert!(!lookup.contains("nominal") && lookup.contains("dns.ech.test"));
            assert_eq!(proxy.shows("NOMINAL.ech.test"), shown, "{uri}");
        }
    }
    testbed.shutdown().await;
}

#[test]
fn the_page_about_proxies_lists_each_with_its_exit_codes() {
    let page = include_str!("../../../docs/proxies.md");
    for case in proxy_list() {
        let code = |scheme| match case.way(scheme) {
            Some(way) => format!(" {}", way.exit_code),
            None => String::new(),
        };
        let first = match case.way("https") {
            Some(way) => format!(" {} (https)", way.exit_code),
            None => code("http"),
        };
        let name = &case.name;
        let row = format!("| `{name}` |{first} |{} | {}", code("socks5"), case.about);
        let row = page.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{name} is not there as it is"));
        for way in &case.ways {
            let named = format!(": {} with `--proxy-resolves`", way.exit_code_with_names);
            assert_eq!(
                row.contains(&named),
                way.exit_code_with_names != way.exit_code,
                "{name}"
            );
        }
    }
}
