//! What holds for every encrypted transport: written once, and run for each by [`promises!`].

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use echkit::discover::{DiscoverError, discover};
use echkit::dns::{Answer, QueryError, RecordType, Resolver, ResolverOptions, Status};
use echkit::origin::Origin;
use echkit_test::dns::{Reply, Script, ask_all, https, numbered, tls, v4};
use rustls::ClientConfig;

/// How many connections in a row may end without an answer.
const TRIES: u32 = 3;

/// An encrypted transport of DNS, as the suite needs it.
pub(crate) trait Transport {
    /// Its protocol in ALPN.
    const ALPN: &'static [u8];
    /// What its ids are.
    const IDS: Ids;

    /// A server for the name `dns.test`.
    async fn start(script: Arc<Script>, habit: Habit, alpn: &'static [u8]) -> EncryptedServer;
}

/// The ids of queries that share a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ids {
    /// They tell which answer is whose.
    Distinct,
    /// The stream tells, so that caches may serve them: RFC 8484 §4.1, RFC 9250 §4.2.1.
    Zero,
}

/// How a server treats its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Habit {
    Good,
    /// Answers no question before this many have come, and the last one first where it can choose.
    WaitsFor(usize),
    /// Takes no more on a connection after an answer.
    ClosesAfterOne,
    /// Closes each connection without an answer.
    OnlyCloses,
}

/// A server of an encrypted transport, for the name `dns.test`.
#[derive(Debug)]
pub(crate) struct EncryptedServer {
    pub address: SocketAddr,
    /// As a resolver is named by it.
    pub uri: String,
    /// What trusts it.
    pub tls: Arc<ClientConfig>,
    pub script: Arc<Script>,
    /// How many there have been.
    pub connections: Arc<AtomicUsize>,
}

impl EncryptedServer {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn resolver(&self) -> Resolver {
        self.resolver_within(Duration::from_secs(30))
    }

    pub(crate) fn resolver_within(&self, limit: Duration) -> Resolver {
        Resolver::from_uri(&self.uri, &self.options(&self.tls).with_timeout(limit)).unwrap()
    }

    fn options(&self, tls: &Arc<ClientConfig>) -> ResolverOptions {
        ResolverOptions::default()
            .with_tls(Arc::clone(tls))
            .with_timeout(Duration::from_secs(30))
            .with_tries(TRIES)
    }

    pub(crate) async fn ask(&self, kind: RecordType) -> Result<Answer, QueryError> {
        let name = "1.test".parse().unwrap();
        self.resolver().query(&name, kind).await
    }

    /// Fails if any question came.
    fn assert_not_asked(&self) {
        assert!(self.script.asked.lock().unwrap().is_empty());
    }
}

async fn good<T: Transport>(script: Arc<Script>) -> EncryptedServer {
    T::start(script, Habit::Good, T::ALPN).await
}

async fn cannot_be_asked(resolver: &Resolver) {
    let name = "1.test".parse().unwrap();
    let error = resolver.query(&name, RecordType::A).await.unwrap_err();
    assert!(matches!(error, QueryError::Transport { .. }), "{error}");
}

pub(crate) async fn questions_share_a_connection<T: Transport>() {
    const COUNT: u8 = 100;
    let habit = Habit::WaitsFor(COUNT.into());
    let server = T::start(numbered(COUNT), habit, T::ALPN).await;
    shares_one_connection(&server, COUNT).await;
    let asked = server.script.asked.lock().unwrap();
    let ids: HashSet<&[u8]> = asked.iter().map(|asked| &asked.message[..2]).collect();
    match T::IDS {
        Ids::Distinct => assert_eq!(ids.len(), usize::from(COUNT)),
        Ids::Zero => assert_eq!(ids, HashSet::from([&[0, 0][..]])),
    }
}

/// As many questions at once as the script has numbers.
pub(crate) async fn shares_one_connection(server: &EncryptedServer, count: u8) {
    let resolver = server.resolver();
    assert!(resolver.is_protected() && resolver.looked_up_name().is_none());
    ask_all(&resolver, count).await;
    assert_eq!(server.connections(), 1);
    let asked = server.script.asked.lock().unwrap();
    assert_eq!(asked.len(), usize::from(count));
    for asked in asked.iter() {
        assert_eq!(asked.message.len() % 128, 0, "RFC 8467 §4.1");
    }
}

pub(crate) async fn a_closed_connection_is_replaced<T: Transport>() {
    let server = T::start(numbered(1), Habit::ClosesAfterOne, T::ALPN).await;
    let resolver = server.resolver();
    for _ in 0..20 {
        ask_all(&resolver, 1).await;
        resolver.clear_cache();
    }
    assert!(server.connections() > 1);
}

/// Where the protocol lets a server drop questions that it has seen, each connection answers one.
pub(crate) async fn questions_at_once_outlast_connections_for_one_answer<T: Transport>() {
    for _ in 0..3 {
        let server = T::start(numbered(10), Habit::ClosesAfterOne, T::ALPN).await;
        ask_all(&server.resolver(), 10).await;
    }
}

pub(crate) async fn a_server_that_only_closes_is_given_up<T: Transport>() {
    let server = T::start(numbered(1), Habit::OnlyCloses, T::ALPN).await;
    cannot_be_asked(&server.resolver()).await;
    assert_eq!(server.connections(), usize::try_from(TRIES).unwrap());
}

pub(crate) async fn silence_holds_up_no_other<T: Transport>() {
    let server = good::<T>(Script::new([
        ("silent.test", RecordType::A, Reply::Silence),
        ("1.test", RecordType::A, Reply::Records(vec![v4(1)])),
    ]))
    .await;
    let resolver = server.resolver_within(Duration::from_secs(1));
    let name = "silent.test".parse().unwrap();
    let silent = resolver.query(&name, RecordType::A);
    let (silent, ()) = tokio::join!(silent, ask_all(&resolver, 1));
    let error = silent.unwrap_err();
    assert!(matches!(error, QueryError::Timeout { .. }), "{error}");
    // The path is in doubt: the next question is asked on a connection of its own.
    resolver.clear_cache();
    ask_all(&resolver, 1).await;
    assert_eq!(server.connections(), 2);
}

pub(crate) async fn a_server_that_is_not_trusted_is_not_asked<T: Transport>() {
    let server = good::<T>(numbered(1)).await;
    let (_, other) = tls(&["dns.test"], b"");
    let options = server.options(&Arc::new(other));
    cannot_be_asked(&Resolver::from_uri(&server.uri, &options).unwrap()).await;
    let uri = server.uri.replace("dns.test", "else.test");
    let options = server.options(&server.tls);
    cannot_be_asked(&Resolver::from_uri(&uri, &options).unwrap()).await;
    server.assert_not_asked();
}

pub(crate) async fn a_server_of_another_protocol_is_not_asked<T: Transport>() {
    let server = T::start(numbered(1), Habit::Good, b"other").await;
    cannot_be_asked(&server.resolver()).await;
    server.assert_not_asked();
}

pub(crate) async fn refusals_and_broken_answers_are_told_apart<T: Transport>() {
    let server = good::<T>(Script::new([
        ("servfail.test", RecordType::A, Reply::Rcode(2)),
        ("cut.test", RecordType::A, Reply::CutShort),
        ("truncated.test", RecordType::A, Reply::AlwaysTruncated),
    ]))
    .await;
    let resolver = server.resolver();
    let ask = async |name: &str| resolver.query(&name.parse().unwrap(), RecordType::A).await;
    let error = ask("servfail.test").await.unwrap_err();
    assert!(
        matches!(error, QueryError::Refused { rcode: 2, .. }),
        "{error}"
    );
    for name in ["cut.test", "truncated.test"] {
        let error = ask(name).await.unwrap_err();
        assert!(matches!(error, QueryError::Malformed { .. }), "{error}");
    }
    let gone = ask("gone.test").await.unwrap();
    assert_eq!(gone.status, Status::NxDomain);
    assert_eq!(server.connections(), 1);
}

/// A host with an address, and this for its HTTPS records.
fn host(https: Reply) -> Arc<Script> {
    Script::new([
        ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
        ("a.test", RecordType::HTTPS, https),
    ])
}

pub(crate) async fn discovery_is_protected<T: Transport>() {
    for (script, url, https) in [
        (numbered(1), "https://1.test", "none"),
        (
            host(Reply::Records(vec![https("1 . alpn=h2")])),
            "https://a.test",
            "found",
        ),
    ] {
        let server = good::<T>(script).await;
        let found = discover(&server.resolver(), &Origin::parse(url).unwrap()).await;
        assert!(found.protected && found.error.is_none(), "{found:?}");
        assert_eq!(found.https.as_str(), https);
        assert_eq!(server.connections(), 1);
    }
}

pub(crate) async fn a_failed_https_lookup_is_the_end<T: Transport>() {
    for reply in [
        Reply::Rcode(2),
        Reply::Silence,
        Reply::CutShort,
        Reply::AlwaysTruncated,
    ] {
        let server = good::<T>(host(reply.clone())).await;
        let resolver = server.resolver_within(Duration::from_secs(1));
        let found = discover(&resolver, &Origin::parse("https://a.test").unwrap()).await;
        assert!(found.protected && found.endpoints.is_empty(), "{reply:?}");
        assert_eq!(found.https.as_str(), "failed");
        assert!(
            matches!(found.error, Some(DiscoverError::HttpsLookup { .. })),
            "{found:?}"
        );
    }
}
