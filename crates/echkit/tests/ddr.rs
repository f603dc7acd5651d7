//! The encrypted form of a resolver in the clear (RFC 9462): found, verified for the address of the
//! one in the clear, and used; or not, and then nothing is claimed.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echkit::clock::Clock;
use echkit::discover::{DiscoverError, Discovery, discover};
use echkit::dns::{DiscoverEncrypted, RecordType, Resolver, ResolverError, ResolverOptions};
use echkit::origin::Origin;
use echkit_test::clock::PacedClock;
use echkit_test::dns::{self, Reply, Script, Server, https, v4};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const DESIGNATIONS: &str = "_dns.resolver.arpa";

/// A DNS over TLS server whose certificate is for these names.
struct Encrypted {
    port: u16,
    script: Arc<Script>,
    tls: Arc<ClientConfig>,
    /// The server names of completed handshakes.
    shown: Arc<Mutex<Vec<Option<String>>>>,
}

impl Encrypted {
    async fn start(names: &[&str]) -> Self {
        let script = Script::new(zone());
        let (config, tls) = dns::tls(names, b"dot");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&script);
        let shown = Arc::default();
        let names = Arc::clone(&shown);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&shared));
                let names: Arc<Mutex<Vec<_>>> = Arc::clone(&names);
                tokio::spawn(async move {
                    // A client that does not trust us leaves here.
                    let Ok(mut stream) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let name = stream.get_ref().1.server_name().map(ToOwned::to_owned);
                    names.lock().unwrap().push(name);
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; usize::from(length)];
                        stream.read_exact(&mut query).await.unwrap();
                        for message in script.answer(&query, true) {
                            let length = u16::try_from(message.len()).unwrap();
                            stream.write_u16(length).await.unwrap();
                            stream.write_all(&message).await.unwrap();
                            stream.flush().await.unwrap();
                        }
                    }
                });
            }
        });
        Self {
            port,
            script,
            tls: Arc::new(tls),
            shown,
        }
    }

    /// A designation of it, with its address unless that is to be looked up.
    fn designation(&self, hint: bool) -> Vec<u8> {
        let hint = if hint { " ipv4hint=127.0.0.1" } else { "" };
        https(&format!("1 dns.test. alpn=dot port={}{hint}", self.port))
    }
}

fn zone() -> Vec<(&'static str, RecordType, Reply)> {
    let record = https("1 . alpn=h2");
    vec![
        ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
        ("a.test", RecordType::HTTPS, Reply::Records(vec![record])),
    ]
}

/// A resolver in the clear that says this of its encrypted forms.
async fn plain(designations: Reply) -> Server {
    let loopback = Reply::Records(vec![vec![127, 0, 0, 1]]);
    let more = [
        (DESIGNATIONS, RecordType::SVCB, designations),
        ("dns.test", RecordType::A, loopback),
    ];
    Server::start(Script::new(zone().into_iter().chain(more))).await
}

fn options(tls: &Arc<ClientConfig>, mode: DiscoverEncrypted) -> ResolverOptions {
    ResolverOptions::default()
        .with_tls(Arc::clone(tls))
        .with_timeout(Duration::from_secs(30))
        .with_discover_encrypted(mode)
}

async fn find(resolver: &Resolver) -> Discovery {
    discover(resolver, &Origin::parse("https://a.test").unwrap()).await
}

/// How often the origin's name was asked for in the clear.
fn asked_in_the_clear(server: &Server) -> usize {
    let kinds = [RecordType::HTTPS, RecordType::A, RecordType::AAAA];
    let count = |kind| server.script.count("a.test", kind);
    kinds.into_iter().map(count).sum()
}

/// The resolver in the clear is used and reported, or, where an encrypted one is required, nobody.
async fn stays_or_fails(server: &Server, options: &ResolverOptions) {
    let with = |mode| options.clone().with_discover_encrypted(mode);
    let required = with(DiscoverEncrypted::Require);
    let resolver = Resolver::from_uri(&server.udp(), &required).unwrap();
    let found = find(&resolver).await;
    let error = found.error.as_ref().unwrap();
    assert!(matches!(error, DiscoverError::HttpsLookup { .. }));
    assert!(error.to_string().contains("RFC 9462"), "{error}");
    assert!(found.endpoints.is_empty());
    assert_eq!(asked_in_the_clear(server), 0);

    let tried = with(DiscoverEncrypted::Try);
    let resolver = Resolver::from_uri(&server.udp(), &tried).unwrap();
    let found = find(&resolver).await;
    assert!(!found.protected && found.error.is_none(), "{found:?}");
    assert_eq!(found.resolver, server.udp());
    assert_eq!(found.https.as_str(), "found");
    assert_eq!(asked_in_the_clear(server), 3);
    assert!(!resolver.is_protected());
}

#[tokio::test]
async fn a_verified_designation_is_used_and_nothing_else_goes_out_in_the_clear() {
    let encrypted = Encrypted::start(&["127.0.0.1"]).await;
    for hint in [true, false] {
        let server = plain(Reply::Records(vec![encrypted.designation(hint)])).await;
        for mode in [DiscoverEncrypted::Try, DiscoverEncrypted::Require] {
            let resolver =
                Resolver::from_uri(&server.udp(), &options(&encrypted.tls, mode)).unwrap();
            assert!(!resolver.is_protected());
            let found = find(&resolver).await;
            assert!(found.protected && found.error.is_none(), "{found:?}");
            let uri = format!("tls://127.0.0.1:{}#127.0.0.1", encrypted.port);
            assert_eq!(found.resolver, uri);
            assert_eq!(found.https.as_str(), "found");
            assert!(resolver.is_protected());
        }
        assert_eq!(asked_in_the_clear(&server), 0);
    }
    assert!(encrypted.script.count("a.test", RecordType::HTTPS) > 0);
    // RFC 9462 §6.3: an address is no name to show.
    assert_eq!(*encrypted.shown.lock().unwrap(), [None, None, None, None]);
}

#[tokio::test]
async fn off_asks_for_no_designation() {
    let encrypted = Encrypted::start(&["127.0.0.1"]).await;
    let server = plain(Reply::Records(vec![encrypted.designation(true)])).await;
    let options = options(&encrypted.tls, DiscoverEncrypted::Off);
    let found = find(&Resolver::from_uri(&server.udp(), &options).unwrap()).await;
    assert!(!found.protected);
    assert_eq!(server.script.count(DESIGNATIONS, RecordType::SVCB), 0);
}

#[tokio::test]
async fn a_certificate_without_the_address_is_refused() {
    // Trusted, and for the name of the designation; that does not count (RFC 9462 §4.2).
    let named = Encrypted::start(&["dns.test"]).await;
    let server = plain(Reply::Records(vec![named.designation(true)])).await;
    stays_or_fails(&server, &options(&named.tls, DiscoverEncrypted::Off)).await;
    // For the address, and not trusted.
    let other = Encrypted::start(&["127.0.0.1"]).await;
    let server = plain(Reply::Records(vec![other.designation(true)])).await;
    stays_or_fails(&server, &options(&named.tls, DiscoverEncrypted::Off)).await;
    for encrypted in [named, other] {
        assert!(encrypted.script.asked.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_next_designation_follows_one_that_fails() {
    let encrypted = Encrypted::start(&["127.0.0.1"]).await;
    let wrong = Encrypted::start(&["127.0.0.1"]).await;
    let first = https(&format!(
        "1 dns.test. alpn=dot port={} ipv4hint=127.0.0.1",
        wrong.port
    ));
    let second = https(&format!(
        "2 dns.test. alpn=dot port={} ipv4hint=127.0.0.1",
        encrypted.port
    ));
    let server = plain(Reply::Records(vec![second, first])).await;
    let options = options(&encrypted.tls, DiscoverEncrypted::Require);
    let found = find(&Resolver::from_uri(&server.udp(), &options).unwrap()).await;
    assert!(found.protected && found.error.is_none(), "{found:?}");
    assert!(wrong.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_a_usable_designation_the_resolver_stays_or_nobody_is_asked() {
    let _clock = PacedClock::new();
    let (_, tls) = dns::tls(&["127.0.0.1"], b"dot");
    let mut options = options(&Arc::new(tls), DiscoverEncrypted::Off);
    for designations in [
        Reply::NxDomain,
        Reply::NoData { soa: true },
        Reply::Rcode(2),
        Reply::CutShort,
        // Malformed; unusable; out of reach for want of an address.
        Reply::Records(vec![vec![0]]),
        Reply::Records(vec![https("1 . alpn=dot")]),
        Reply::Records(vec![https("1 gone.test. alpn=dot")]),
    ] {
        options.timeout = match designations {
            Reply::CutShort => Duration::from_secs(2),
            _ => Duration::from_secs(30),
        };
        stays_or_fails(&plain(designations).await, &options).await;
    }
    options.timeout = Duration::from_secs(2);
    stays_or_fails(&plain(Reply::Silence).await, &options).await;
}

#[tokio::test]
async fn a_designation_holds_for_its_lifetime_and_is_then_asked_for_again() {
    let encrypted = Encrypted::start(&["127.0.0.1"]).await;
    let server = plain(Reply::Records(vec![encrypted.designation(true)])).await;
    let clock = Clock::by_hand();
    let options = options(&encrypted.tls, DiscoverEncrypted::Require).with_clock(clock.clone());
    let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
    let asked = || server.script.count(DESIGNATIONS, RecordType::SVCB);
    let mut all = JoinSet::new();
    for _ in 0..20 {
        let resolver = resolver.clone();
        all.spawn(async move { find(&resolver).await.protected });
    }
    assert_eq!(all.join_all().await, [true; 20]);
    assert_eq!(asked(), 1);
    clock.advance(Duration::from_secs(u64::from(dns::TTL) - 1));
    assert!(find(&resolver).await.protected);
    assert_eq!(asked(), 1);
    clock.advance(Duration::from_secs(1));
    assert!(find(&resolver).await.protected);
    assert_eq!(asked(), 2);
}

#[tokio::test]
async fn a_resolver_without_designation_is_not_asked_for_it_each_time() {
    // The certificate is refused.
    let named = Encrypted::start(&["dns.test"]).await;
    for designations in [
        Reply::NxDomain,
        Reply::Records(vec![named.designation(true)]),
    ] {
        let server = plain(designations).await;
        for mode in [DiscoverEncrypted::Try, DiscoverEncrypted::Require] {
            let before = server.script.count(DESIGNATIONS, RecordType::SVCB);
            let options = options(&named.tls, mode);
            let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
            for _ in 0..3 {
                assert_eq!(
                    find(&resolver).await.error.is_some(),
                    mode == DiscoverEncrypted::Require
                );
            }
            let after = server.script.count(DESIGNATIONS, RecordType::SVCB);
            assert_eq!(after - before, 1);
        }
    }
}

#[tokio::test]
async fn those_who_wait_share_a_failure_and_the_next_one_finds_out_anew() {
    let _clock = PacedClock::new();
    let server = plain(Reply::Late(500, Box::new(Reply::Rcode(2)))).await;
    let (_, tls) = dns::tls(&["127.0.0.1"], b"dot");
    let options = options(&Arc::new(tls), DiscoverEncrypted::Require);
    let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
    for asked in 1..=2 {
        let mut all = JoinSet::new();
        for _ in 0..20 {
            let resolver = resolver.clone();
            all.spawn(async move { find(&resolver).await.error.is_some() });
        }
        assert_eq!(all.join_all().await, [true; 20]);
        assert_eq!(server.script.count(DESIGNATIONS, RecordType::SVCB), asked);
    }
    assert_eq!(asked_in_the_clear(&server), 0);
}

#[tokio::test]
async fn discovery_needs_to_know_whom_to_trust_and_leaves_encrypted_resolvers_alone() {
    let encrypted = Encrypted::start(&["127.0.0.1"]).await;
    let required = options(&encrypted.tls, DiscoverEncrypted::Require);
    let uri = format!("tls://127.0.0.1:{}", encrypted.port);
    let resolver = Resolver::from_uri(&uri, &required).unwrap();
    assert!(find(&resolver).await.protected);
    assert_eq!(encrypted.script.count(DESIGNATIONS, RecordType::SVCB), 0);
    let without = required.with_tls(None);
    for uri in ["system", "udp://127.0.0.1", "tcp://127.0.0.1"] {
        let error = Resolver::from_uri(uri, &without).unwrap_err();
        assert_eq!(error, ResolverError::NoTls(uri.to_owned()));
    }
}

#[tokio::test]
async fn an_address_has_no_use_for_a_designation() {
    let server = plain(Reply::NxDomain).await;
    let (_, tls) = dns::tls(&["127.0.0.1"], b"dot");
    let options = options(&Arc::new(tls), DiscoverEncrypted::Require);
    let resolver = Resolver::from_uri(&server.udp(), &options).unwrap();
    let found = discover(&resolver, &Origin::parse("https://192.0.2.1").unwrap()).await;
    assert!(found.error.is_none(), "{found:?}");
    assert!(server.script.asked.lock().unwrap().is_empty());
}
