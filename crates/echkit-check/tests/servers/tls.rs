//! Servers whose TLS or ECH is not as it should be.

use std::net::Ipv4Addr;

use echkit::dns::RecordType;
use echkit::server::EchKeys;
use echkit_proto::hello::{ClientHello, EchExtension};
use echkit_proto::key::EchKey;
use echkit_test::dns::Reply;
use echkit_test::pki::Authority;

use crate::site::{
    HOST, Lets, PUBLIC, Site, assert_findings, check, ech, findings_of, key, list, record,
};

/// A TLS 1.3 version number in `supported_versions`.
const TLS13: u16 = 0x0304;
/// X25519MLKEM768, whose key shares make hellos large.
const POST_QUANTUM: u16 = 0x11ec;
/// The group of the probe for HelloRetryRequest.
const NO_GROUP: u16 = 0xfe00;

/// The config_id of a real offer. GREASE, whose id is random, shows the host.
fn config_id(hello: &ClientHello) -> Option<u8> {
    match hello.ech().unwrap()? {
        EchExtension::Outer(outer) if hello.server_name() == Some(PUBLIC) => Some(outer.config_id),
        _ => None,
    }
}

fn has_ech(hello: &ClientHello) -> bool {
    hello.ech().unwrap().is_some()
}

#[tokio::test]
async fn a_good_site_has_no_findings() {
    findings_of(|_, _| {}, &[]).await;
}

#[tokio::test]
async fn a_middlebox_that_drops_some_hellos_is_found() {
    let cases: [(Lets, &str); 5] = [
        (
            |hello| !(has_ech(hello) && hello.server_name() == Some(HOST)),
            "ECH-GREASE-INTOLERANT",
        ),
        (has_ech, "ECH-PLAIN-CUT-OFF"),
        (
            |hello| {
                hello
                    .supported_versions()
                    .is_some_and(|v| v.contains(&TLS13))
            },
            "ECH-TLS12-CUT-OFF",
        ),
        (
            |hello| {
                !hello
                    .key_share_groups()
                    .is_some_and(|g| g.contains(&NO_GROUP))
            },
            "ECH-HRR-BROKEN",
        ),
        (
            |hello| hello.server_name() != Some(PUBLIC),
            "ECH-HANDSHAKE-FAILS",
        ),
    ];
    for (lets, expected) in cases {
        findings_of(|site, _| site.lets = lets, &[expected]).await;
    }
    // One that reads a single packet, in the way of those to the public_name.
    let lets: Lets = |hello| {
        let groups = hello.key_share_groups().unwrap_or_default();
        hello.server_name() != Some(PUBLIC) || !groups.contains(&POST_QUANTUM)
    };
    findings_of(|site, _| site.lets = lets, &["ECH-LARGE-HELLO"]).await;
    // The made-up key is the only one with another id.
    let lets: Lets = |hello| config_id(hello) != Some(255);
    findings_of(|site, _| site.lets = lets, &["ECH-REJECTION-FAILS"]).await;
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_found() {
    let host: &'static [(&str, &[&str])] = &[(HOST, &["other.test"]), (PUBLIC, &[PUBLIC])];
    let public: &'static [(&str, &[&str])] = &[(HOST, &[HOST]), (PUBLIC, &["other.test"])];
    for (certificates, expected) in [
        (host, "ECH-HOST-CERTIFICATE"),
        (public, "ECH-PUBLIC-NAME-CERTIFICATE"),
    ] {
        findings_of(
            |site, _| site.certificates = certificates.to_vec(),
            &[expected],
        )
        .await;
    }
}

#[tokio::test]
async fn retry_configs_that_do_not_help_are_found() {
    let retry = |keys: EchKeys, list| keys.with_retry_configs(list).unwrap();
    let only = |key: &EchKey| EchKeys::new(vec![key.clone()]).unwrap();
    findings_of(
        |site, key| site.keys = retry(only(key), None),
        &["ECH-RETRY-MISSING"],
    )
    .await;
    // A key that the server does not hold: it answers with the same again.
    findings_of(
        |site, own| site.keys = retry(only(own), Some(list(&key(PUBLIC, 8)))),
        &["ECH-RETRY-LOOP"],
    )
    .await;
    // It would show the host.
    findings_of(
        |site, own| site.keys = retry(only(own), Some(list(&key(HOST, 8)))),
        &["ECH-RETRY-UNUSABLE"],
    )
    .await;
    // A type, a length, and a list without a config, which RFC 9849 §4 does not allow.
    let forged = vec![0xfe, 0x0d, 0, 2, 0, 0];
    findings_of(
        |site, own| site.keys = only(own).with_forged_retry_extension(forged),
        &["ECH-RETRY-MALFORMED"],
    )
    .await;
    // The newer key works, and is not published.
    findings_of(
        |site, own| {
            let keys = EchKeys::new(vec![key(PUBLIC, 8)]).unwrap();
            site.keys = keys.with_retired(vec![own.clone()]).unwrap();
        },
        &["ECH-RETRY-DIFFERS"],
    )
    .await;
    // The same behind a middlebox that drops hellos under the newer key.
    findings_of(
        |site, own| {
            let keys = EchKeys::new(vec![key(PUBLIC, 8)]).unwrap();
            site.keys = keys.with_retired(vec![own.clone()]).unwrap();
            site.lets = |hello| config_id(hello) != Some(8);
        },
        &["ECH-RETRY-FAILS"],
    )
    .await;
}

#[tokio::test]
async fn protocols_of_the_record_are_compared_with_those_of_the_server() {
    findings_of(
        |site, _| site.alpn = &["http/1.1"],
        &["ECH-ALPN-NOT-SPOKEN"],
    )
    .await;
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let address = Site::new(EchKeys::new(vec![key.clone()]).unwrap())
        .start(&ca)
        .await;
    let published = ech(vec![key.config().clone()]);
    for (alpn, expected) in [
        ("alpn=h2,h3", "ECH-H3-NOT-CHECKED"),
        ("alpn=http/1.1", "ECH-ALPN-UNLISTED"),
    ] {
        let record = record(&published, address.port(), alpn);
        assert_findings(&check(&ca, vec![record]).await, &[expected]);
    }
}

#[tokio::test]
async fn public_names_that_tell_the_host_or_do_not_exist_are_found() {
    const CASES: [(&str, &[&str], &str); 3] = [
        (HOST, &[HOST], "ECH-PUBLIC-NAME-IS-HOST"),
        (
            "cover.site.test",
            &["cover.site.test"],
            "ECH-PUBLIC-NAME-CONTAINS-HOST",
        ),
        (
            "nowhere.test",
            &["nowhere.test"],
            "ECH-PUBLIC-NAME-UNRESOLVED",
        ),
    ];
    for (public_name, names, expected) in CASES {
        let ca = Authority::new();
        let key = key(public_name, 7);
        let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
        site.certificates = vec![(HOST, &[HOST]), (public_name, names)];
        let address = site.start(&ca).await;
        let published = ech(vec![key.config().clone()]);
        let mut zone = vec![record(&published, address.port(), "alpn=h2")];
        if public_name == "cover.site.test" {
            let loopback = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
            zone.push((HOST, RecordType::A, loopback.clone()));
            zone.push((public_name, RecordType::A, loopback));
        }
        assert_findings(&check(&ca, zone).await, &[expected]);
    }
}
