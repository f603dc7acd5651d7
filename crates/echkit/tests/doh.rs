//! DNS over HTTPS: one connection, padded queries, and failures that end discovery.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use echkit::discover::{DiscoverError, discover};
use echkit::dns::{QueryError, RecordType, Resolver, ResolverOptions, Status};
use echkit::origin::Origin;
use echkit_test::dns::{self, Reply, Script, https, numbered, v4};
use echkit_test::encrypted_dns::{self, EncryptedServer};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How the HTTP side behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Http {
    Good,
    Aged,
    Status(u16),
    WrongType,
    Huge,
    /// Closes each connection after one answer.
    OneEach,
    /// Closes each connection before any.
    Close,
    /// Resets each stream.
    Reset(h2::Reason),
    /// Resets each stream of the first connection.
    ResetFirst(h2::Reason),
}

async fn start(script: Arc<Script>, http: Http, alpn: &'static [u8]) -> EncryptedServer {
    let (config, tls) = dns::tls(&["dns.test"], alpn);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let shared = Arc::clone(&script);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
            let (acceptor, script) = (acceptor.clone(), Arc::clone(&shared));
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                if http == Http::Close {
                    return;
                }
                let done = Arc::new(tokio::sync::Notify::new());
                let served = Arc::clone(&done);
                let service = service_fn(move |request| {
                    let (script, served) = (Arc::clone(&script), Arc::clone(&served));
                    async move {
                        match http {
                            Http::Reset(reason) => return Err(h2::Error::from(reason)),
                            Http::ResetFirst(reason) if first => {
                                return Err(h2::Error::from(reason));
                            }
                            _ => {}
                        }
                        let response = serve(request, &script, http).await;
                        served.notify_one();
                        Ok(response)
                    }
                });
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tls), service);
                tokio::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => {}
                    () = done.notified(), if http == Http::OneEach => {
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.await;
                    }
                }
            });
        }
    });
    EncryptedServer {
        uri: format!("https://dns.test:{}/dns-query#127.0.0.1", address.port()),
        address,
        connections,
        script,
        tls: Arc::new(tls),
    }
}

async fn ask(
    server: &EncryptedServer,
    kind: RecordType,
) -> Result<echkit::dns::Answer, QueryError> {
    server
        .resolver()
        .query(&"a.test".parse().unwrap(), kind)
        .await
}

async fn serve(request: Request<Incoming>, script: &Script, http: Http) -> Response<Full<Bytes>> {
    assert_eq!(request.uri().path(), "/dns-query");
    let headers: HeaderMap = request.headers().clone();
    assert_eq!(headers["accept"], "application/dns-message");
    let query = match request.uri().query() {
        // RFC 8484 §4.1
        Some(query) => {
            assert_eq!(request.method(), Method::GET);
            assert!(!headers.contains_key("content-type"));
            let dns = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
            BASE64URL_NOPAD
                .decode(dns.unwrap().as_bytes())
                .unwrap()
                .into()
        }
        None => {
            assert_eq!(request.method(), Method::POST);
            assert_eq!(headers["content-type"], "application/dns-message");
            request.into_body().collect().await.unwrap().to_bytes()
        }
    };
    let Some(message) = script.answer(&query, true).pop() else {
        std::future::pending().await
    };
    let mut response = Response::new(Full::from(message));
    let headers = response.headers_mut();
    headers.insert("content-type", "application/dns-message".parse().unwrap());
    match http {
        Http::Aged => {
            headers.insert("age", "100".parse().unwrap());
        }
        Http::Status(status) => *response.status_mut() = StatusCode::from_u16(status).unwrap(),
        Http::WrongType => {
            headers.insert("content-type", "text/html".parse().unwrap());
        }
        Http::Huge => *response.body_mut() = Full::from(vec![0; 70_000]),
        _ => {}
    }
    response
}

fn zone() -> Arc<Script> {
    Script::new([
        ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
        (
            "a.test",
            RecordType::HTTPS,
            Reply::Records(vec![https("1 . alpn=h2")]),
        ),
    ])
}

#[tokio::test]
async fn queries_are_padded_have_id_zero_and_share_a_connection() {
    let server = start(numbered(50), Http::Good, b"h2").await;
    encrypted_dns::shares_one_connection(&server, 50).await;
    for asked in server.script.asked.lock().unwrap().iter() {
        assert_eq!(asked.message[..2], [0, 0], "RFC 8484 §4.1");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_is_replaced() {
    let server = start(zone(), Http::OneEach, b"h2").await;
    let resolver = server.resolver();
    for _ in 0..5 {
        resolver.clear_cache();
        let answer = resolver
            .query(&"a.test".parse().unwrap(), RecordType::A)
            .await
            .unwrap();
        assert_eq!(answer.rdata, [v4(1)]);
    }
    assert!(server.connections() > 1);
}

#[tokio::test]
async fn what_a_cache_has_kept_has_aged() {
    let server = start(zone(), Http::Aged, b"h2").await;
    let answer = ask(&server, RecordType::A).await.unwrap();
    assert_eq!(answer.ttl, Duration::from_secs(u64::from(dns::TTL) - 100));
    let none = ask(&server, RecordType::AAAA).await.unwrap();
    assert_eq!((none.status, none.ttl), (Status::NoData, Duration::ZERO));
}

#[tokio::test]
async fn http_failures_are_no_answers() {
    for http in [
        Http::Status(500),
        Http::Status(404),
        Http::WrongType,
        Http::Huge,
    ] {
        let server = start(zone(), http, b"h2").await;
        let error = ask(&server, RecordType::A).await.unwrap_err();
        let expected = match http {
            Http::WrongType => matches!(error, QueryError::Malformed { .. }),
            _ => matches!(error, QueryError::Transport { .. }),
        };
        assert!(expected, "{http:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_lacks_http2_is_not_asked() {
    let server = start(numbered(1), Http::Good, b"h2").await;
    encrypted_dns::is_not_asked_without_trust(&server).await;
    let old = start(numbered(1), Http::Good, b"http/1.1").await;
    encrypted_dns::cannot_be_asked(&old.resolver()).await;
    assert!(old.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn discovery_over_https_is_protected() {
    let server = start(numbered(1), Http::Good, b"h2").await;
    encrypted_dns::protects_discovery(&server).await;
    let server = start(zone(), Http::Good, b"h2").await;
    let origin = Origin::parse("https://a.test").unwrap();
    let found = discover(&server.resolver(), &origin).await;
    assert!(found.protected && found.error.is_none(), "{found:?}");
    assert_eq!(found.https.as_str(), "found");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn over_a_protected_resolver_a_failed_https_lookup_is_the_end() {
    for reply in [
        Reply::Rcode(2),
        Reply::Silence,
        Reply::CutShort,
        Reply::AlwaysTruncated,
    ] {
        let script = Script::new([
            ("a.test", RecordType::A, Reply::Records(vec![v4(1)])),
            ("a.test", RecordType::HTTPS, reply.clone()),
        ]);
        let server = start(script, Http::Good, b"h2").await;
        let resolver = server.resolver_with(&server.tls, Duration::from_secs(2));
        let origin = Origin::parse("https://a.test").unwrap();
        let found = discover(&resolver, &origin).await;
        assert!(found.endpoints.is_empty(), "{reply:?}");
        assert_eq!(found.https.as_str(), "failed");
        assert!(
            matches!(found.error, Some(DiscoverError::HttpsLookup { .. })),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn the_template_of_a_resolver_is_read_or_refused() {
    let server = start(zone(), Http::Good, b"h2").await;
    let options = ResolverOptions::default()
        .with_tls(Arc::clone(&server.tls))
        .with_timeout(Duration::from_secs(20));
    let port = server.address.port();
    let uri = |rest: &str| format!("https://dns.test:{port}/{rest}#127.0.0.1");
    let name = "a.test".parse().unwrap();
    for template in ["dns-query{?dns}", "dns-query?key=1{&dns}", "dns-query"] {
        let resolver = Resolver::from_uri(&uri(template), &options).unwrap();
        let answer = resolver.query(&name, RecordType::A).await.unwrap();
        assert_eq!(answer.rdata, [v4(1)], "{template}");
    }
    for template in ["dns-query{?dns,other}", "{path}{?dns}", "dns-query{"] {
        let error = Resolver::from_uri(&uri(template), &options).unwrap_err();
        assert!(error.to_string().contains("template"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_only_closes_is_given_up() {
    let server = start(numbered(1), Http::Close, b"h2").await;
    encrypted_dns::is_given_up(&server).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_question_and_no_other() {
    let server = start(zone(), Http::Reset(h2::Reason::INTERNAL_ERROR), b"h2").await;
    let resolver = server.resolver();
    for _ in 0..3 {
        let name = "a.test".parse().unwrap();
        let error = resolver.query(&name, RecordType::A).await.unwrap_err();
        assert!(matches!(error, QueryError::Transport { .. }), "{error}");
        assert!(error.to_string().contains("cancelled the query"), "{error}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_was_refused_is_asked_again_on_another_connection() {
    let refused = Http::ResetFirst(h2::Reason::REFUSED_STREAM);
    let server = start(zone(), refused, b"h2").await;
    let answer = ask(&server, RecordType::A).await.unwrap();
    assert_eq!(answer.rdata, [v4(1)]);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_question_without_answer_holds_up_no_other() {
    let server = start(encrypted_dns::one_silent(), Http::Good, b"h2").await;
    encrypted_dns::silence_holds_up_no_other(&server).await;
}
