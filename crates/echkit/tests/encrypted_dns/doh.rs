//! DNS over HTTPS: what HTTP adds to an answer, or says instead of one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use echkit::dns::{QueryError, RecordType, Resolver, ResolverOptions, Status};
use echkit_test::dns::{self, Script, numbered, v4};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

use crate::suite::{EncryptedServer, Habit, Ids, Transport};

/// How the HTTP side behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Http {
    Good,
    /// Answers no question before this many have come.
    WaitsFor(usize),
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

pub(crate) struct Doh;

impl Transport for Doh {
    const ALPN: &'static [u8] = b"h2";
    const IDS: Ids = Ids::Zero;

    async fn start(script: Arc<Script>, habit: Habit, alpn: &'static [u8]) -> EncryptedServer {
        let http = match habit {
            Habit::Good => Http::Good,
            Habit::WaitsFor(count) => Http::WaitsFor(count),
            Habit::ClosesAfterOne => Http::OneEach,
            Habit::OnlyCloses => Http::Close,
        };
        start_with(script, http, alpn).await
    }
}

async fn start(http: Http) -> EncryptedServer {
    start_with(numbered(1), http, Doh::ALPN).await
}

async fn start_with(script: Arc<Script>, http: Http, alpn: &[u8]) -> EncryptedServer {
    let (config, tls) = dns::tls(&["dns.test"], alpn);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let shared = Arc::clone(&script);
    let together = Arc::new(Barrier::new(match http {
        Http::WaitsFor(count) => count,
        _ => 1,
    }));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
            let (acceptor, script) = (acceptor.clone(), Arc::clone(&shared));
            let together = Arc::clone(&together);
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
                    let together = Arc::clone(&together);
                    async move {
                        together.wait().await;
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

#[tokio::test]
async fn what_a_cache_has_kept_has_aged() {
    let server = start(Http::Aged).await;
    let answer = server.ask(RecordType::A).await.unwrap();
    assert_eq!(answer.ttl, Duration::from_secs(u64::from(dns::TTL) - 100));
    let none = server.ask(RecordType::AAAA).await.unwrap();
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
        let server = start(http).await;
        let error = server.ask(RecordType::A).await.unwrap_err();
        let expected = match http {
            Http::WrongType => matches!(error, QueryError::Malformed { .. }),
            _ => matches!(error, QueryError::Transport { .. }),
        };
        assert!(expected, "{http:?}: {error}");
    }
}

#[tokio::test]
async fn the_template_of_a_resolver_is_read_or_refused() {
    let server = start(Http::Good).await;
    let options = ResolverOptions::default()
        .with_tls(Arc::clone(&server.tls))
        .with_timeout(Duration::from_secs(20));
    let port = server.address.port();
    let uri = |rest: &str| format!("https://dns.test:{port}/{rest}#127.0.0.1");
    let name = "1.test".parse().unwrap();
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
async fn a_stream_that_is_reset_ends_its_question_and_no_other() {
    let server = start(Http::Reset(h2::Reason::INTERNAL_ERROR)).await;
    let resolver = server.resolver();
    for _ in 0..3 {
        let name = "1.test".parse().unwrap();
        let error = resolver.query(&name, RecordType::A).await.unwrap_err();
        assert!(matches!(error, QueryError::Transport { .. }), "{error}");
        assert!(error.to_string().contains("cancelled the query"), "{error}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_was_refused_is_asked_again_on_another_connection() {
    let refused = Http::ResetFirst(h2::Reason::REFUSED_STREAM);
    let server = start(refused).await;
    let answer = server.ask(RecordType::A).await.unwrap();
    assert_eq!(answer.rdata, [v4(1)]);
    assert_eq!(server.connections(), 2);
}
