//! DNS over TLS: messages one after another, and what nobody asked for among them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use echkit::discover::{DiscoverError, DiscoverOptions, Warning, discover_with};
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::origin::Origin;
use echkit_test::dns::{self, Reply, Script, ask_all, numbered, v4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::suite::{EncryptedServer, Habit, Ids, Transport};

/// How the server treats its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manners {
    Good,
    /// Waits for this many questions, and answers the last one first.
    LastFirst(usize),
    /// Closes each connection after this many answers.
    Close(usize),
    /// Sends an unsolicited message before each answer.
    Noisy,
}

pub(crate) struct Dot;

impl Transport for Dot {
    const ALPN: &'static [u8] = b"dot";
    const IDS: Ids = Ids::Distinct;

    async fn start(script: Arc<Script>, habit: Habit, alpn: &'static [u8]) -> EncryptedServer {
        let manners = match habit {
            Habit::Good => Manners::Good,
            Habit::WaitsFor(count) => Manners::LastFirst(count),
            Habit::ClosesAfterOne => Manners::Close(1),
            Habit::OnlyCloses => Manners::Close(0),
        };
        start_with(script, manners, alpn).await
    }
}

async fn start(script: Arc<Script>, manners: Manners) -> EncryptedServer {
    start_with(script, manners, Dot::ALPN).await
}

async fn start_with(script: Arc<Script>, manners: Manners, alpn: &[u8]) -> EncryptedServer {
    let (config, tls) = dns::tls(&["dns.test", "127.0.0.1"], alpn);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counter, shared) = (Arc::clone(&connections), Arc::clone(&script));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let (acceptor, script) = (acceptor.clone(), Arc::clone(&shared));
            tokio::spawn(async move {
                // A client that does not trust us leaves here.
                let Ok(mut stream) = acceptor.accept(tcp).await else {
                    return;
                };
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"dot"[..]));
                // As do all in the end.
                let _ = serve(&mut stream, &script, manners).await;
                let _ = stream.shutdown().await;
                // What is left unread would reset the connection, and with it the last answer.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    EncryptedServer {
        uri: format!("tls://dns.test:{}#127.0.0.1", address.port()),
        address,
        connections,
        script,
        tls: Arc::new(tls),
    }
}

type Stream = TlsStream<TcpStream>;

async fn serve(stream: &mut Stream, script: &Script, manners: Manners) -> std::io::Result<()> {
    let mut held = Vec::new();
    for answered in 1.. {
        if manners == Manners::Close(answered - 1) {
            return Ok(());
        }
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        held.push(query);
        if matches!(manners, Manners::LastFirst(count) if held.len() < count) {
            continue;
        }
        for query in held.drain(..).rev() {
            for message in script.answer(&query, true) {
                if manners == Manners::Noisy {
                    let mut other_id = message.clone();
                    other_id[0] ^= 0xff;
                    let mut other_question = message.clone();
                    other_question[13] ^= 1;
                    for noise in [&[][..], &[7], &[0; 12], &other_id, &other_question] {
                        send(stream, noise).await?;
                    }
                }
                send(stream, &message).await?;
            }
        }
    }
    Ok(())
}

async fn send(stream: &mut Stream, message: &[u8]) -> std::io::Result<()> {
    stream.write_u16(message.len().try_into().unwrap()).await?;
    stream.write_all(message).await?;
    stream.flush().await
}

#[tokio::test]
async fn each_answer_has_a_connection_where_the_server_closes_after_one() {
    let server = start(numbered(20), Manners::Close(1)).await;
    let resolver = server.resolver();
    // One after another, then all at once.
    for number in 1..=3 {
        let name = format!("{number}.test").parse().unwrap();
        let answer = resolver.query(&name, RecordType::A).await.unwrap();
        assert_eq!(answer.rdata, [v4(number)]);
    }
    resolver.clear_cache();
    ask_all(&resolver, 20).await;
    assert_eq!(server.connections(), 23);
}

#[tokio::test]
async fn what_nobody_asked_for_is_passed_over() {
    let server = start(numbered(20), Manners::Noisy).await;
    ask_all(&server.resolver(), 20).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_address_is_a_name_too() {
    let server = start(numbered(1), Manners::Good).await;
    let options = ResolverOptions::default().with_tls(Arc::clone(&server.tls));
    let resolver = Resolver::from_uri(&format!("tls://{}", server.address), &options).unwrap();
    assert!(resolver.looked_up_name().is_none());
    ask_all(&resolver, 1).await;
}

#[tokio::test]
async fn without_ech_a_failed_https_lookup_matters_for_http_urls_alone() {
    let script = Script::new([
        ("servfail.test", RecordType::A, Reply::Records(vec![v4(1)])),
        ("servfail.test", RecordType::HTTPS, Reply::Rcode(2)),
        ("notimp.test", RecordType::A, Reply::Records(vec![v4(1)])),
        ("notimp.test", RecordType::HTTPS, Reply::Rcode(4)),
    ]);
    let server = start(script, Manners::Good).await;
    let resolver = server.resolver();
    let find = async |url: &str, ech| {
        let options = DiscoverOptions::default().with_ech(ech);
        discover_with(&resolver, &Origin::parse(url).unwrap(), &options).await
    };
    for host in ["servfail.test", "notimp.test"] {
        let off = find(&format!("https://{host}"), false).await;
        assert!(off.error.is_none(), "{off:?}");
        assert_eq!((off.endpoints.len(), off.https.as_str()), (1, "failed"));
        assert!(matches!(off.warnings[..], [Warning::Failed { .. }]));
        for (scheme, ech) in [("http", false), ("https", true)] {
            let needed = find(&format!("{scheme}://{host}"), ech).await;
            assert!(needed.endpoints.is_empty(), "{needed:?}");
            let error = needed.error.unwrap();
            assert!(matches!(error, DiscoverError::HttpsLookup { .. }));
            assert!(error.to_string().contains("turn ECH off"), "{error}");
        }
    }
}

#[tokio::test]
async fn uris_are_read_strictly() {
    let (_, tls) = dns::tls(&["dns.test"], b"dot");
    let options = ResolverOptions::default().with_tls(Arc::new(tls));
    let uri = |uri: &str| Resolver::from_uri(uri, &options);
    for good in [
        "tls://dns.test",
        "tls://dns.test:443#192.0.2.1",
        "tls://[2001:db8::1]",
        "tls://dns.test#192.0.2.1,[2001:db8::1]",
    ] {
        assert_eq!(uri(good).unwrap().uri(), good);
    }
    assert_eq!(
        uri("tls://dns.test").unwrap().looked_up_name(),
        Some("dns.test")
    );
    for bad in [
        "tls://",
        "tls://dns.test/path",
        "tls://dns.test?a",
        "tls://dns.test:x",
        "tls://dns.test#",
        "tls://dns.test#name",
    ] {
        assert!(uri(bad).is_err(), "{bad}");
    }
    assert!(Resolver::from_uri("tls://dns.test", &ResolverOptions::default()).is_err());
}
