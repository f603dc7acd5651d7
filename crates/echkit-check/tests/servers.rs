//! Deployments that the testbed does not have: servers that are configured wrongly or stand behind
//! a middlebox, and zones of their own. Each has exactly the findings that are due.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::server::{Acceptor, EchKeyHandle, EchKeys};
use echkit::tls::{ClientTls, Trust};
use echkit_check::{CheckLimits, Checker, HostReport, ProbeSelection};
use echkit_proto::config::{EchConfig, EchConfigList};
use echkit_proto::hello::{ClientHello, EchExtension};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::pki::Authority;
use rustls::ServerConfig;
use rustls::server::{ClientHello as Asked, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};

const HOST: &str = "site.test";
const PUBLIC: &str = "public.test";
/// A TLS 1.3 version number in `supported_versions`.
const TLS13: u16 = 0x0304;
/// The group of the probe for HelloRetryRequest.
const NO_GROUP: u16 = 0xfe00;

/// Whether a middlebox lets a hello through.
type Lets = fn(&ClientHello) -> bool;

struct Site {
    keys: EchKeys,
    /// The name that each certificate is for, by the name asked for.
    certificates: Vec<(&'static str, &'static str)>,
    alpn: &'static [&'static str],
    lets: Lets,
}

impl Site {
    fn new(keys: EchKeys) -> Self {
        Self {
            keys,
            certificates: vec![(HOST, HOST), (PUBLIC, PUBLIC)],
            alpn: &["h2", "http/1.1"],
            lets: |_| true,
        }
    }

    async fn start(self, ca: &Authority) -> SocketAddr {
        let provider = echkit::server::provider();
        let certified = self.certificates.iter().map(|(asked, named)| {
            let issued = ca.issue(&[named]);
            let key = CertifiedKey::from_der(issued.chain(), issued.key.clone_key(), &provider);
            ((*asked).to_owned(), Arc::new(key.unwrap()))
        });
        let certified = Arc::new(ByName(certified.collect()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(certified);
        config.alpn_protocols = self.alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        let handle = EchKeyHandle::new(self.keys);
        let acceptor = Acceptor::new(Arc::new(config), handle).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let lets = self.lets;
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if lets(&peeked(&tcp).await)
                        && let Ok(mut accepted) = acceptor.accept(tcp).await
                    {
                        let _ = tokio::io::copy(&mut accepted.stream, &mut tokio::io::sink()).await;
                    }
                });
            }
        });
        address
    }
}

#[derive(Debug)]
struct ByName(HashMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: Asked<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(hello.server_name()?).cloned()
    }
}

/// The first ClientHello, which stays where it is. The probes' hellos fit into one record.
async fn peeked(tcp: &TcpStream) -> ClientHello {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = tcp.peek(&mut buffer).await.unwrap();
        if len > 5 {
            let record = 5 + usize::from(u16::from_be_bytes([buffer[3], buffer[4]]));
            if len >= record {
                return ClientHello::parse(&buffer[5..record]).unwrap();
            }
        }
        tokio::task::yield_now().await;
    }
}

fn key(public_name: &str, id: u8) -> EchKey {
    EchKey::generate(&KeyParams::new(public_name).unwrap().with_config_id(id)).unwrap()
}

fn ech(configs: Vec<EchConfig>) -> String {
    EchConfigList::from_configs(configs).unwrap().to_base64()
}

fn list(key: &EchKey) -> EchConfigList {
    key.config().clone().into()
}

/// Checks `site.test`, whose zone has these records beside those of its public_name.
async fn check(ca: &Authority, records: Vec<(&'static str, RecordType, Reply)>) -> HostReport {
    let loopback = || Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    let mut zone = vec![(PUBLIC, RecordType::A, loopback())];
    if !records.iter().any(|(_, kind, _)| *kind == RecordType::A) {
        zone.push((HOST, RecordType::A, loopback()));
    }
    zone.extend(records);
    let dns = Server::start(Script::new(zone)).await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let trust = Trust::certificates([ca.root()]).unwrap();
    let selection = ProbeSelection::default();
    let checker = Checker::builder()
        .tls(ClientTls::builder().trust(trust))
        .resolver(resolver)
        .selection(selection.with_skip("ECH-DNS-IN-THE-CLEAR").unwrap())
        .build()
        .unwrap();
    checker
        .check(&format!("https://{HOST}").parse().unwrap())
        .await
}

fn record(ech: &str, port: u16, more: &str) -> (&'static str, RecordType, Reply) {
    let text = format!("1 . {more} port={port} ech={ech}");
    (HOST, RecordType::HTTPS, Reply::Records(vec![https(&text)]))
}

fn assert_findings(report: &HostReport, expected: &[&str]) {
    assert!(report.error.is_none(), "{:?}", report.error);
    let found: BTreeSet<&str> = report.findings.iter().map(|f| f.id.as_str()).collect();
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    assert_eq!(found, expected, "{:#?}", report.findings);
}

/// A site with one key, changed, under the record of that key.
async fn findings_of(change: impl FnOnce(&mut Site, &EchKey), expected: &[&str]) {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    change(&mut site, &key);
    let address = site.start(&ca).await;
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, address.port(), "alpn=h2");
    assert_findings(&check(&ca, vec![record]).await, expected);
}

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
    // The made-up key is the only one with another id.
    let lets: Lets = |hello| config_id(hello) != Some(255);
    findings_of(|site, _| site.lets = lets, &["ECH-REJECTION-FAILS"]).await;
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_found() {
    let host: &[_] = &[(HOST, "other.test"), (PUBLIC, PUBLIC)];
    let public: &[_] = &[(HOST, HOST), (PUBLIC, "other.test")];
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
    for (public_name, expected) in [
        (HOST, "ECH-PUBLIC-NAME-IS-HOST"),
        ("cover.site.test", "ECH-PUBLIC-NAME-CONTAINS-HOST"),
        ("nowhere.test", "ECH-PUBLIC-NAME-UNRESOLVED"),
    ] {
        let ca = Authority::new();
        let key = key(public_name, 7);
        let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
        site.certificates = vec![(HOST, HOST), (public_name, public_name)];
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

#[tokio::test]
async fn zones_that_lead_nowhere_are_found() {
    let ca = Authority::new();
    let published = ech(vec![key(PUBLIC, 7).config().clone()]);
    // Bound and never listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = closed.local_addr().unwrap().port();
    assert_findings(
        &check(&ca, vec![record(&published, port, "alpn=h2")]).await,
        &["ECH-ADDRESS-UNREACHABLE", "ECH-NO-ADDRESS-REACHABLE"],
    );
    let text = format!("1 absent.test. alpn=h2 ech={published}");
    let absent = (HOST, RecordType::HTTPS, Reply::Records(vec![https(&text)]));
    assert_findings(
        &check(&ca, vec![absent]).await,
        &["ECH-TARGET-WITHOUT-ADDRESS"],
    );
    const CHAIN: [&str; 11] = [
        HOST, "1.test", "2.test", "3.test", "4.test", "5.test", "6.test", "7.test", "8.test",
        "9.test", "10.test",
    ];
    let aliases = CHAIN.windows(2).map(|pair| {
        let text = format!("0 {}.", pair[1]);
        (
            pair[0],
            RecordType::HTTPS,
            Reply::Records(vec![https(&text)]),
        )
    });
    assert_findings(
        &check(&ca, aliases.collect()).await,
        &["ECH-ALIAS-TOO-LONG"],
    );
}

#[tokio::test]
async fn an_oversized_config_is_found() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let address = site.start(&ca).await;
    let mut contents = key.contents().clone();
    contents
        .extensions
        .push(echkit_proto::config::ConfigExtension {
            number: 0x0fff,
            data: vec![0; 9000],
        });
    let oversized = EchConfig::try_from(contents).unwrap();
    let published = ech(vec![key.config().clone(), oversized]);
    let record = record(&published, address.port(), "alpn=h2");
    assert_findings(
        &check(&ca, vec![record]).await,
        &["ECH-CONFIG-OVERSIZED", "ECH-LIST-LARGE"],
    );
}

#[tokio::test]
async fn a_server_that_never_answers_ends_within_the_time_of_a_host() {
    let ca = Authority::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let published = ech(vec![key(PUBLIC, 7).config().clone()]);
    let zone = vec![
        record(&published, port, "alpn=h2"),
        (
            HOST,
            RecordType::A,
            Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]),
        ),
    ];
    let dns = Server::start(Script::new(zone)).await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let limits = CheckLimits::default()
        .with_connection(hour)
        .with_host(std::time::Duration::from_secs(2));
    let checker = Checker::builder()
        .tls(ClientTls::builder().trust(Trust::certificates([ca.root()]).unwrap()))
        .resolver(resolver)
        .limits(limits)
        .build()
        .unwrap();
    let report = checker
        .check(&format!("https://{HOST}").parse().unwrap())
        .await;
    let error = report.error.unwrap();
    assert_eq!(error.kind, echkit::ErrorKind::Timeout);
    assert!(error.message.starts_with("https://site.test: "), "{error}");
    // What was found before is there.
    let ids: Vec<_> = report.findings.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(ids, ["ECH-PUBLIC-NAME-UNRESOLVED", "ECH-DNS-IN-THE-CLEAR"]);
}
