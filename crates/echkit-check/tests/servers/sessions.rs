//! Session tickets, and the size of the server's first flight.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::server::EchKeys;
use echkit::tls::{ClientTls, Trust};
use echkit_check::{Checker, HostReport, ProbeSelection, anonymity};
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::pki::Authority;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

use crate::site::{
    HOST, PUBLIC, Site, assert_findings, check, ech, findings_of, key, list, record,
};

#[tokio::test]
async fn a_session_is_resumed_with_ech_and_is_in_order() {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let address = site.start(&ca).await;
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, address.port(), "alpn=h2");
    let report = check(&ca, vec![record]).await;
    assert_findings(&report, &[]);
    let resumed = |line: &&String| line.starts_with("a session is resumed with ECH");
    assert_eq!(report.passed.iter().filter(resumed).count(), 1);
}

#[tokio::test]
async fn servers_that_do_not_resume_are_found() {
    findings_of(
        |site, _| site.tls = Box::new(|config| config.send_tls13_tickets = 0),
        &["ECH-NO-RESUMPTION"],
    )
    .await;
    // Tickets of which the server keeps nothing.
    findings_of(
        |site, _| {
            site.tls = Box::new(|config| {
                config.session_storage = Arc::new(Forgetful);
            });
        },
        &["ECH-NO-RESUMPTION"],
    )
    .await;
    findings_of(
        |site, _| site.lets = |hello| !hello.has_pre_shared_key(),
        &["ECH-RESUMPTION-FAILS"],
    )
    .await;
    findings_of(
        |site, _| {
            // As servers have it that answer every name with one certificate.
            site.certificates.push(("resumption.invalid", &[HOST]));
            site.tls = Box::new(|config| config.session_storage = Renaming::store());
        },
        &["ECH-RESUMED-ACROSS-NAMES"],
    )
    .await;
}

#[derive(Debug)]
struct Forgetful;

impl StoresServerSessions for Forgetful {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Has every session but the first belong to the name that the probe asks for.
#[derive(Debug)]
struct Renaming {
    sessions: Arc<ServerSessionMemoryCache>,
    taken: AtomicUsize,
}

impl Renaming {
    fn store() -> Arc<Self> {
        Arc::new(Self {
            sessions: ServerSessionMemoryCache::new(64),
            taken: AtomicUsize::new(0),
        })
    }
}

impl StoresServerSessions for Renaming {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.sessions.take(key)?;
        if self.taken.fetch_add(1, Ordering::SeqCst) == 0 {
            return Some(value);
        }
        let name = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
        let (own, other) = (name(HOST), name("resumption.invalid"));
        let at = value.windows(own.len()).position(|window| window == own)?;
        Some([&value[..at], &other, &value[at + own.len()..]].concat())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// The reports of two hosts that share a key, with certificates of different sizes.
async fn two_hosts(padding: usize) -> [HostReport; 2] {
    const OTHER: &str = "other.test";
    const LONG: &[&str] = &[
        OTHER,
        "a-long-name-that-makes-the-certificate-larger.other.test",
    ];
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    site.certificates.push((OTHER, LONG));
    site.padding = padding;
    let port = site.start(&ca).await.port();
    let list = list(&key).to_base64();
    let rdata = https(&format!("1 . alpn=h2 port={port} ech={list}"));
    let loopback = Ipv4Addr::LOCALHOST.octets().to_vec();
    let zone = [HOST, OTHER, PUBLIC].into_iter().flat_map(|name| {
        [
            (name, RecordType::A, Reply::Records(vec![loopback.clone()])),
            (name, RecordType::HTTPS, Reply::Records(vec![rdata.clone()])),
        ]
    });
    let dns = Server::start(Script::new(zone.collect::<Vec<_>>())).await;
    let checker = Checker::builder()
        .tls(ClientTls::builder().trust(Trust::certificates([ca.root()]).unwrap()))
        .resolver(Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap())
        .selection(ProbeSelection::default().with_only("key").unwrap())
        .build()
        .unwrap();
    let one = checker.check(&"https://site.test".parse().unwrap()).await;
    let other = checker.check(&"https://other.test".parse().unwrap()).await;
    let mut reports = [one, other];
    anonymity(&mut reports, &ProbeSelection::default());
    reports
}

#[tokio::test]
async fn a_first_flight_whose_size_tells_the_host_is_found() {
    for report in two_hosts(0).await {
        assert_findings(&report, &["ECH-FIRST-FLIGHT-TELLS"]);
    }
    for report in two_hosts(2048).await {
        assert_findings(&report, &[]);
        assert!(report.first_flight.unwrap().bytes > 2048);
    }
}
