//! One connection for many requests: when it is used again, and when it must not be.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use echkit::http::{Body, ClientBuilder};
use echkit::policy::Timeouts;
use echkit::report::EchStatus;
use echkit::server::{Acceptor, EchKeyHandle, EchKeys};
use echkit::{Client, EchMode, ErrorKind, Report};
use echkit_test::clock::{PacedClock, StoppedClock};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, ech_key, list};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A site that counts its connections, and the handshakes that were finished.
struct Site {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
    config: echkit_proto::config::EchConfigList,
}

impl Site {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

async fn site(pki: &Pki, alpn: &[u8]) -> Site {
    let key = ech_key();
    let config = list(&key);
    let provider = (*echkit::server::provider()).clone();
    let mut tls = pki.server_with(&[HIDDEN, PUBLIC], provider, rustls::ALL_VERSIONS);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let keys = EchKeyHandle::new(EchKeys::new(vec![key]).unwrap());
    let acceptor = Acceptor::new(Arc::new(tls), keys).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let handshakes = Arc::new(AtomicUsize::new(0));
    let finished = Arc::clone(&handshakes);
    // Answers only when all three are there.
    let together = Arc::new(tokio::sync::Barrier::new(TOGETHER));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            let finished = Arc::clone(&finished);
            let together = Arc::clone(&together);
            tokio::spawn(async move {
                let Ok(accepted) = acceptor.accept(tcp).await else {
                    return;
                };
                finished.fetch_add(1, Ordering::SeqCst);
                let respond = |request: Request<Incoming>| {
                    let together = Arc::clone(&together);
                    async move {
                        if request.uri().path() == "/together" {
                            together.wait().await;
                        }
                        respond(request).await
                    }
                };
                let service = hyper::service::service_fn(respond);
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(accepted.stream), service)
                    .await;
            });
        }
    });
    Site {
        address,
        connections,
        handshakes,
        config,
    }
}

/// Requests for `/together` that a site waits for before it answers them.
const TOGETHER: usize = 3;

async fn respond(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(match path.as_str() {
        // It begins, and has no end.
        "/endless" => EndlessBody { begun: false }.boxed(),
        _ => Full::from(format!("{path} {}", body.len())).boxed(),
    }))
}

struct EndlessBody {
    begun: bool,
}

impl hyper::body::Body for EndlessBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::replace(&mut self.begun, true) {
            false => std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"begun"))))),
            true => std::task::Poll::Pending,
        }
    }
}

fn builder(pki: &Pki, address: SocketAddr) -> ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
}

async fn get(client: &Client, path: &str) -> Report {
    let url = format!("https://{HIDDEN}{path}");
    let mut response = client.get(&url).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), format!("{path} 0"));
    response.report()
}

/// Waits until a connection over HTTP/1.1 is back in the pool: that takes some turns of tasks, and
/// nothing from the network.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_to_one_origin_share_a_connection_and_the_report_says_so() {
    let pki = Pki::new();
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let site = site(&pki, alpn).await;
        let client = builder(&pki, site.address)
            .ech(EchMode::Require)
            .ech_config(site.config.clone())
            .build()
            .unwrap();
        let first = get(&client, "/first").await;
        assert!(!first.reused);
        assert_eq!(first.attempts.len(), 1);
        for turn in 0..3 {
            settle().await;
            let path = format!("/{turn}");
            let report = get(&client, &path).await;
            assert!(report.reused);
            assert!(report.attempts.is_empty());
            assert_eq!(report.url.unwrap(), format!("https://{HIDDEN}{path}"));
            // What hides the name is the connection's.
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.ech.outer_sni.as_deref(), Some(PUBLIC));
            assert_eq!(report.tls, first.tls);
            assert_eq!(report.timings_ms.tcp, None);
            assert!(report.bytes.sent > 0 && report.bytes.sent < first.bytes.sent);
        }
        assert_eq!(site.connections(), 1);
    }
}

#[tokio::test]
async fn http_2_carries_requests_side_by_side() {
    let pki = Pki::new();
    let site = site(&pki, b"h2").await;
    let client = builder(&pki, site.address).build().unwrap();
    get(&client, "/first").await;
    let requests: Vec<_> = (0..20)
        .map(|turn| {
            let client = client.clone();
            tokio::spawn(async move { get(&client, &format!("/{turn}")).await })
        })
        .collect();
    // One that never ends does not stand in the way.
    let url = format!("https://{HIDDEN}/endless");
    let endless = client.get(&url).send().await.unwrap();
    for request in requests {
        assert!(request.await.unwrap().reused);
    }
    drop(endless);
    assert_eq!(site.connections(), 1);
}

/// The reports of requests that are sent at the same time.
async fn at_once(client: &Client, count: usize, path: &'static str) -> Vec<Report> {
    let requests = (0..count).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { get(&client, path).await })
    });
    let mut reports = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        reports.push(request.await.unwrap());
    }
    reports
}

#[tokio::test]
async fn first_requests_to_an_http_2_origin_at_the_same_time_make_one_handshake() {
    let pki = Pki::new();
    let site = site(&pki, b"h2").await;
    let client = builder(&pki, site.address)
        .ech(EchMode::Require)
        .ech_config(site.config.clone())
        .build()
        .unwrap();
    let reports = at_once(&client, 50, "/").await;
    assert_eq!(reports.iter().filter(|report| !report.reused).count(), 1);
    for report in &reports {
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.ech.outer_sni.as_deref(), Some(PUBLIC));
    }
    assert_eq!((site.connections(), site.handshakes()), (1, 1));
}

#[tokio::test]
async fn first_requests_to_an_http_1_1_origin_at_the_same_time_run_side_by_side() {
    let pki = Pki::new();
    let site = site(&pki, b"http/1.1").await;
    let client = builder(&pki, site.address).build().unwrap();
    // None is answered before all are there.
    let reports = at_once(&client, TOGETHER, "/together").await;
    assert!(reports.iter().all(|report| !report.reused));
    assert_eq!(site.handshakes(), TOGETHER);
}

#[tokio::test]
async fn requests_beside_a_first_one_that_is_given_up_share_the_next_connection() {
    let pki = Pki::new();
    let site = site(&pki, b"h2").await;
    let client = builder(&pki, site.address).build().unwrap();
    let url = format!("https://{HIDDEN}/");
    let mut first = Box::pin(client.get(&url).send());
    // Far enough to be the one that connects.
    assert!(
        std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending()))
            .await
    );
    let others = tokio::spawn({
        let client = client.clone();
        async move { at_once(&client, 10, "/").await }
    });
    tokio::task::yield_now().await;
    drop(first);
    let reports = others.await.unwrap();
    assert_eq!(reports.iter().filter(|report| !report.reused).count(), 1);
    assert_eq!(site.handshakes(), 1);
}

#[tokio::test]
async fn over_http_1_1_a_connection_serves_one_request_at_a_time() {
    let pki = Pki::new();
    let site = site(&pki, b"http/1.1").await;
    let client = builder(&pki, site.address).build().unwrap();
    let url = format!("https://{HIDDEN}/endless");
    let mut endless = client.get(&url).send().await.unwrap();
    assert_eq!(endless.chunk().await.unwrap().unwrap(), "begun");
    assert!(!get(&client, "/beside").await.reused);
    // A body that was not read to its end takes its connection along.
    drop(endless);
    settle().await;
    assert!(get(&client, "/then").await.reused);
    assert_eq!(site.connections(), 2);
}

#[tokio::test]
async fn each_request_has_a_connection_of_its_own_where_that_is_wanted() {
    let pki = Pki::new();
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let site = site(&pki, alpn).await;
        let client = builder(&pki, site.address)
            .keep_alive(None)
            .build()
            .unwrap();
        for _ in 0..3 {
            assert!(!get(&client, "/").await.reused);
            settle().await;
        }
        assert_eq!(site.connections(), 3);
    }
}

#[tokio::test]
async fn what_waited_too_long_is_closed() {
    const KEEP: Duration = Duration::from_secs(90);
    let clock = StoppedClock::new();
    let pki = Pki::new();
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let site = site(&pki, alpn).await;
        let client = builder(&pki, site.address)
            .keep_alive(Some(KEEP))
            .build()
            .unwrap();
        get(&client, "/").await;
        settle().await;
        clock.advance(KEEP - Duration::from_millis(1)).await;
        assert!(get(&client, "/").await.reused);
        settle().await;
        clock.advance(KEEP).await;
        assert!(!get(&client, "/").await.reused);
        assert_eq!(site.connections(), 2);
    }
}

/// Serves one request on each connection, says nothing of closing, and closes.
async fn forgetful(pki: &Pki) -> SocketAddr {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki.server(&[HIDDEN])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(tcp).await.unwrap();
                let mut served = 0;
                let mut buffer = vec![0; 4096];
                // The second request is read and not answered.
                while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) && served == 0 {
                    served += 1;
                    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/ 0";
                    stream.write_all(reply).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced_where_that_is_safe() {
    let pki = Pki::new();
    let address = forgetful(&pki).await;
    let client = builder(&pki, address).build().unwrap();
    get(&client, "/").await;
    settle().await;
    // Sent, read, and not answered: a GET may be repeated.
    assert!(!get(&client, "/").await.reused);
    settle().await;
    // A POST may not: the server may have acted on it.
    let url = format!("https://{HIDDEN}/");
    let error = client.post(&url).body("x").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Http, "{error}");
    assert!(error.report().unwrap().reused);
}

#[tokio::test]
async fn a_streamed_body_is_sent_over_a_connection_that_is_there() {
    let pki = Pki::new();
    let site = site(&pki, b"http/1.1").await;
    let client = builder(&pki, site.address).build().unwrap();
    get(&client, "/").await;
    settle().await;
    let url = format!("https://{HIDDEN}/post");
    let body = Body::stream(Full::new(Bytes::from_static(b"12345")));
    let mut response = client.post(&url).body(body).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), "/post 5");
    assert!(response.report().reused);
}

#[tokio::test]
async fn the_limit_for_the_whole_holds_for_the_body_too() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    let site = site(&pki, b"http/1.1").await;
    let mut timeouts = Timeouts::default();
    timeouts.total = Some(Duration::from_millis(1500));
    let client = builder(&pki, site.address)
        .timeouts(timeouts)
        .build()
        .unwrap();
    let url = format!("https://{HIDDEN}/endless");
    let mut response = client.get(&url).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "begun");
    let error = response.chunk().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.report().unwrap().timings_ms.total >= 1500.0);
}
