//! What holds for every encrypted transport, against a server of each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use echkit::discover::discover;
use echkit::dns::{QueryError, RecordType, Resolver, ResolverOptions, Status};
use echkit::origin::Origin;
use rustls::ClientConfig;

use crate::dns::{Reply, Script, ask_all, tls, v4};

/// How many connections in a row may end without an answer.
const TRIES: u32 = 3;

/// A server of an encrypted transport, for the name `dns.test`.
#[derive(Debug)]
pub struct EncryptedServer {
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
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn resolver(&self) -> Resolver {
        self.resolver_with(&self.tls, Duration::from_secs(30))
    }

    pub fn resolver_with(&self, tls: &Arc<ClientConfig>, timeout: Duration) -> Resolver {
        let options = ResolverOptions::default()
            .with_tls(Arc::clone(tls))
            .with_timeout(timeout)
            .with_tries(TRIES);
        Resolver::from_uri(&self.uri, &options).unwrap()
    }
}

/// `silent.test` is never answered, `1.test` is.
pub fn one_silent() -> Arc<Script> {
    Script::new([
        ("silent.test", RecordType::A, Reply::Silence),
        ("1.test", RecordType::A, Reply::Records(vec![v4(1)])),
    ])
}

/// As many questions at once as the script has numbers.
pub async fn shares_one_connection(server: &EncryptedServer, count: u8) {
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

/// A server that ends every connection without an answer.
pub async fn is_given_up(server: &EncryptedServer) {
    cannot_be_asked(&server.resolver()).await;
    assert_eq!(server.connections(), usize::try_from(TRIES).unwrap());
}

/// A server of [`one_silent`].
pub async fn silence_holds_up_no_other(server: &EncryptedServer) {
    let resolver = server.resolver_with(&server.tls, Duration::from_secs(3));
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

pub async fn is_not_asked_without_trust(server: &EncryptedServer) {
    let (_, other) = tls(&["dns.test"], b"");
    let resolver = server.resolver_with(&Arc::new(other), Duration::from_secs(30));
    cannot_be_asked(&resolver).await;
    assert!(server.script.asked.lock().unwrap().is_empty());
}

/// A server of `numbered`.
pub async fn protects_discovery(server: &EncryptedServer) {
    let resolver = server.resolver();
    let found = discover(&resolver, &Origin::parse("https://1.test").unwrap()).await;
    assert!(found.protected && found.error.is_none(), "{found:?}");
    assert_eq!(found.https.as_str(), "none");
    let name = "gone.test".parse().unwrap();
    let gone = resolver.query(&name, RecordType::A).await.unwrap();
    assert_eq!(gone.status, Status::NxDomain);
    assert_eq!(server.connections(), 1);
}

pub async fn cannot_be_asked(resolver: &Resolver) {
    let name = "1.test".parse().unwrap();
    let error = resolver.query(&name, RecordType::A).await.unwrap_err();
    assert!(matches!(error, QueryError::Transport { .. }), "{error}");
}
