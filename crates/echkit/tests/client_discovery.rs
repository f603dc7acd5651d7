//! From DNS to a page: how the client interprets records, and what it sends until then.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::report::{AttemptResult, EchSource, EchStatus, Report};
use echkit::server::EchKeys;
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, ech_key, list, serve, serve_ech};

const BOTH: [EchMode; 2] = [EchMode::Prefer, EchMode::Require];

/// The zone of the hidden name: its address is 127.0.0.1.
async fn zone(records: Reply) -> Server {
    let address = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, records),
        (HIDDEN, RecordType::A, address),
        (HIDDEN, RecordType::AAAA, Reply::NoData { soa: true }),
    ]))
    .await
}

fn records(texts: &[String]) -> Reply {
    Reply::Records(texts.iter().map(|text| https(text)).collect())
}

async fn fetch_url(pki: &Pki, dns: &Server, mode: EchMode, url: &str) -> Result<Report, Error> {
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let client = Client::builder()
        .tls(pki.tls())
        .ech(mode)
        .resolver(resolver)
        .build()
        .unwrap();
    let mut response = client.get(url).send().await?;
    assert_eq!(response.bytes().await?, "hello");
    assert_eq!(response.url().scheme(), "https");
    Ok(response.report())
}

async fn fetch(pki: &Pki, dns: &Server, mode: EchMode) -> Result<Report, Error> {
    fetch_url(pki, dns, mode, &format!("https://{HIDDEN}/")).await
}

/// An ECH server with a fresh key, behind a relay, and the parameters of its record.
async fn ech_site(pki: &Pki, names: &[&str]) -> (Relay, String) {
    let key = ech_key();
    let keys = EchKeys::new(vec![key.clone()]).unwrap();
    let relay = Relay::to(serve_ech(pki, names, false, keys).await).await;
    let ech = list(&key).to_base64();
    let record = format!("port={} ech={ech}", relay.address.port());
    (relay, record)
}

fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_config_from_dns_is_used_and_the_name_hidden() {
    let pki = Pki::new();
    for mode in BOTH {
        for scheme in ["https", "http"] {
            let (relay, site) = ech_site(&pki, &[HIDDEN, PUBLIC]).await;
            let dns = zone(records(&[format!("1 . {site}")])).await;
            let report = fetch_url(&pki, &dns, mode, &format!("{scheme}://{HIDDEN}/"))
                .await
                .unwrap();
            assert_eq!(report.origin, format!("https://{HIDDEN}"));
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.ech.source, EchSource::Dns);
            let said = report.dns.unwrap();
            assert_eq!(said.https, "found");
            assert!(!said.protected);
            assert!(said.svcb_reliant);
            assert_eq!(report.attempts.len(), 1);
            relay.assert_hidden(HIDDEN);
        }
    }
}

#[tokio::test]
async fn require_names_what_is_wrong_with_the_records_and_sends_nothing() {
    let pki = Pki::new();
    let relay = Relay::to(serve(pki.server(&[HIDDEN, PUBLIC])).await).await;
    let port = relay.address.port();
    // A config of an unknown version.
    let odd = data_encoding::BASE64.encode(b"\0\x06\xab\xcd\0\x02xx");
    for (reply, said) in [
        (records(&[format!("1 . port={port} ech={odd}")]), "0xabcd"),
        (records(&[format!("1 . port={port}")]), "has no ech"),
        (Reply::NoData { soa: true }, "no HTTPS record"),
        (Reply::Rcode(2), "could not be looked up"),
        // A parameter twice.
        (
            Reply::Records(vec![
                b"\0\x01\0\0\x03\0\x02\x01\xbb\0\x03\0\x02\x01\xbb".to_vec(),
            ]),
            "malformed",
        ),
    ] {
        let dns = zone(reply).await;
        let error = fetch(&pki, &dns, EchMode::Require).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EchRequired, "{error}");
        assert!(error.to_string().contains(said), "{error} ({said})");
        let report = error.report().unwrap();
        assert_eq!(report.ech.status, EchStatus::NotOffered);
        assert!(report.attempts.is_empty());
    }
    assert!(relay.captured().is_empty());
}

#[tokio::test]
async fn a_host_hidden_under_protocols_that_are_not_spoken_is_not_fetched_in_the_clear() {
    let pki = Pki::new();
    let (relay, site) = ech_site(&pki, &[HIDDEN, PUBLIC]).await;
    for scheme in ["https", "http"] {
        for (mode, kind) in [
            (EchMode::Prefer, ErrorKind::Name),
            (EchMode::Require, ErrorKind::EchRequired),
        ] {
            let dns = zone(records(&[format!("1 . alpn=h3 no-default-alpn {site}")])).await;
            let url = format!("{scheme}://{HIDDEN}/");
            let error = fetch_url(&pki, &dns, mode, &url).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error.to_string().contains("protocols is supported: h3"),
                "{error}"
            );
        }
    }
    assert!(relay.captured().is_empty());
}

/// A key whose configs have the hidden name outside.
fn exposing_key() -> EchKey {
    EchKey::generate(&KeyParams::new(HIDDEN).unwrap()).unwrap()
}

#[tokio::test]
async fn a_public_name_that_is_the_hidden_name_is_refused_in_require_and_warned_of_in_prefer() {
    let pki = Pki::new();
    let key = exposing_key();
    let keys = EchKeys::new(vec![key.clone()]).unwrap();
    let relay = Relay::to(serve_ech(&pki, &[HIDDEN, PUBLIC], false, keys).await).await;
    let ech = list(&key).to_base64();
    let record = format!("1 . port={} ech={ech}", relay.address.port());
    let dns = zone(records(&[record])).await;
    let error = fetch(&pki, &dns, EchMode::Require).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired, "{error}");
    assert!(
        error.to_string().contains("the name that ECH must hide"),
        "{error}"
    );
    assert!(error.report().unwrap().attempts.is_empty());
    assert!(relay.captured().is_empty());

    // By hand as from DNS.
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let client = Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .ech_config(list(&key))
        .resolver(resolver)
        .build()
        .unwrap();
    let url = format!("https://{HIDDEN}/");
    let error = client.get(&url).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired, "{error}");
    assert!(
        error.to_string().contains("the name that ECH must hide"),
        "{error}"
    );
    assert!(relay.captured().is_empty());

    let report = fetch(&pki, &dns, EchMode::Prefer).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Accepted);
    let warned = |warning: &String| warning.contains("the name that ECH must hide");
    assert!(report.ech.warnings.iter().any(warned), "{:?}", report.ech);
}

#[tokio::test]
async fn so_is_that_of_a_retry_config() {
    let pki = Pki::new();
    // The record has a key that the server does not hold.
    let stale = list(&ech_key()).to_base64();
    for mode in BOTH {
        let keys = EchKeys::new(vec![exposing_key()]).unwrap();
        let relay = Relay::to(serve_ech(&pki, &[HIDDEN, PUBLIC], false, keys).await).await;
        let record = format!("1 . port={} ech={stale}", relay.address.port());
        let dns = zone(records(&[record])).await;
        match fetch(&pki, &dns, mode).await {
            Ok(report) => {
                assert_eq!(mode, EchMode::Prefer);
                assert_eq!(report.ech.status, EchStatus::Accepted);
                assert_eq!(report.ech.source, EchSource::Retry);
                let warned = |warning: &String| warning.contains("the name that ECH must hide");
                assert!(report.ech.warnings.iter().any(warned), "{:?}", report.ech);
            }
            Err(error) => {
                assert_eq!(mode, EchMode::Require, "{error}");
                assert_eq!(error.kind(), ErrorKind::EchRequired, "{error}");
                assert!(
                    error.to_string().contains("the name that ECH must hide"),
                    "{error}"
                );
                relay.assert_hidden(HIDDEN);
            }
        }
    }
}

#[tokio::test]
async fn a_record_whose_configs_are_unusable_gets_grease_in_prefer() {
    let pki = Pki::new();
    let relay = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let odd = data_encoding::BASE64.encode(b"\0\x06\xab\xcd\0\x02xx");
    let record = format!("1 . port={} ech={odd}", relay.address.port());
    let dns = zone(records(&[record])).await;
    let report = fetch(&pki, &dns, EchMode::Prefer).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Grease);
    assert!(!report.ech.warnings.is_empty());
}

#[tokio::test]
async fn endpoints_with_ech_come_first_and_stand_in_for_each_other() {
    let pki = Pki::new();
    let (relay, site) = ech_site(&pki, &[HIDDEN, PUBLIC]).await;
    let without = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let (_, dead) = ech_site(&pki, &[HIDDEN, PUBLIC]).await;
    let ech = dead.split_once("ech=").unwrap().1;
    let dns = zone(records(&[
        format!("1 . port={}", without.address.port()),
        format!("2 . port={} ech={ech}", closed_port()),
        format!("3 . {site}"),
    ]))
    .await;
    for mode in BOTH {
        let report = fetch(&pki, &dns, mode).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.attempts.len(), 2);
        assert_eq!(report.attempts[0].result, AttemptResult::Failed);
    }
    relay.assert_hidden(HIDDEN);
    assert!(without.captured().is_empty());
}

#[tokio::test]
async fn an_endpoint_with_ech_that_answers_badly_is_no_reason_to_drop_ech() {
    let pki = Pki::new();
    // No server at this endpoint can prove the public_name, nor that ECH is off.
    let bad = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let without = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let ech = list(&ech_key()).to_base64();
    let dns = zone(records(&[
        format!("1 . port={} ech={ech}", bad.address.port()),
        format!("2 . port={}", without.address.port()),
    ]))
    .await;
    for mode in BOTH {
        let error = fetch(&pki, &dns, mode).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Certificate);
        assert_eq!(error.report().unwrap().ech.status, EchStatus::Failed);
    }
    bad.assert_hidden(HIDDEN);
    assert!(without.captured().is_empty());
}

#[tokio::test]
async fn when_no_endpoint_with_ech_can_be_reached_prefer_goes_on_with_a_warning() {
    let pki = Pki::new();
    let without = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let ech = list(&ech_key()).to_base64();
    let dns = zone(records(&[
        format!("1 . port={} ech={ech}", closed_port()),
        format!("2 . port={}", without.address.port()),
    ]))
    .await;
    let report = fetch(&pki, &dns, EchMode::Prefer).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Grease);
    let warned = |w: &String| w.contains("no endpoint with ECH was reachable");
    assert!(report.ech.warnings.iter().any(warned));
    let error = fetch(&pki, &dns, EchMode::Require).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!(without.captured().len(), 1);
}

#[tokio::test]
async fn names_that_do_not_exist_are_errors_of_their_own_kind() {
    let pki = Pki::new();
    let dns = Server::start(Script::new([])).await;
    for mode in BOTH {
        let error = fetch(&pki, &dns, mode).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Name, "{error}");
    }
}

#[tokio::test]
async fn fixed_addresses_leave_the_records_in_force() {
    let pki = Pki::new();
    let (relay, site) = ech_site(&pki, &[HIDDEN, PUBLIC]).await;
    // The zone's own address is wrong.
    let dns = Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, records(&[format!("1 . {site}")])),
        (
            HIDDEN,
            RecordType::A,
            Reply::Records(vec![vec![127, 0, 0, 99]]),
        ),
    ]))
    .await;
    let SocketAddr::V4(address) = relay.address else {
        panic!()
    };
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let client = Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .resolver(resolver)
        .resolve(HIDDEN, address.port(), [(*address.ip()).into()])
        .build()
        .unwrap();
    let url = format!("https://{HIDDEN}/");
    let response = client.get(&url).send().await.unwrap();
    assert_eq!(response.report().ech.status, EchStatus::Accepted);
    relay.assert_hidden(HIDDEN);
}
