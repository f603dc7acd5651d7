//! HTTP: versions, bodies that stream, redirects, limits.
#![allow(clippy::unwrap_used)]

mod lab;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use echkit::http::{Body, HttpVersions};
use echkit::policy::Timeouts;
use echkit::{Client, EchMode, ErrorKind};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lab::{HIDDEN, Pki};
use tokio::net::TcpListener;

/// A site over HTTP/1.1 and HTTP/2 that says what it was asked, and redirects on demand.
async fn serve(pki: &Pki, alpn: &[&[u8]]) -> SocketAddr {
    let mut config = pki.server(&[HIDDEN, "other.test"]);
    config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else {
                    return;
                };
                let service = hyper::service::service_fn(respond);
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path();
    if let Some(to) = path.strip_prefix("/to/") {
        let to = to.replace("!!", "://");
        return Ok(Response::builder()
            .status(302)
            .header("location", to)
            .body(Full::default())
            .unwrap());
    }
    if path == "/again" {
        return Ok(Response::builder()
            .status(307)
            .header("location", "/echo")
            .body(Full::default())
            .unwrap());
    }
    let host = match head.version {
        Version::HTTP_2 => head.uri.authority().unwrap().to_string(),
        _ => head.headers["host"].to_str().unwrap().to_owned(),
    };
    let said = format!(
        "{} {} {host} auth={} body={}",
        head.method,
        head.uri.path_and_query().unwrap(),
        head.headers.contains_key("authorization"),
        body.len(),
    );
    Ok(Response::new(Full::from(said)))
}

fn builder(pki: &Pki, address: SocketAddr) -> echkit::http::ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
        .unwrap()
        .connect_to("other.test", 443, "127.0.0.1", address.port())
        .unwrap()
}

#[tokio::test]
async fn http_2_and_1_1_carry_the_same_request() {
    let pki = Pki::new();
    let both = serve(&pki, &[b"h2", b"http/1.1"]).await;
    let old = serve(&pki, &[b"http/1.1"]).await;
    for (address, versions, spoken, alpn) in [
        (both, HttpVersions::Any, Version::HTTP_2, "h2"),
        (both, HttpVersions::Http2, Version::HTTP_2, "h2"),
        (both, HttpVersions::Http1, Version::HTTP_11, "http/1.1"),
        (old, HttpVersions::Any, Version::HTTP_11, "http/1.1"),
    ] {
        let client = builder(&pki, address).http(versions).build().unwrap();
        let mut response = client
            .get(&format!("https://{HIDDEN}/a/b?c=d#e"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.version(), spoken);
        let body = response.bytes().await.unwrap();
        assert_eq!(body, format!("GET /a/b?c=d {HIDDEN} auth=false body=0"));
        let report = response.report();
        assert_eq!(report.attempts[0].protocol.as_deref(), Some(alpn));
        assert!(report.timings_ms.first_byte.is_some());
    }
    let client = builder(&pki, old)
        .http(HttpVersions::Http2)
        .build()
        .unwrap();
    let url = format!("https://{HIDDEN}/");
    let error = client.get(&url).send().await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Http),
        "{error}"
    );
}

#[tokio::test]
async fn bodies_are_sent_whole_or_as_they_are_made() {
    let pki = Pki::new();
    let address = serve(&pki, &[b"h2", b"http/1.1"]).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let client = builder(&pki, address).http(versions).build().unwrap();
        let url = format!("https://{HIDDEN}/echo");
        let mut response = client.post(&url).body("12345").send().await.unwrap();
        let body = response.bytes().await.unwrap();
        assert_eq!(body, format!("POST /echo {HIDDEN} auth=false body=5"));

        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            for _ in 0..10 {
                sender
                    .send(Bytes::from_static(&[7; 100_000]))
                    .await
                    .unwrap();
            }
        });
        let mut response = client
            .post(&url)
            .body(Body::stream(Channel::body(receiver)))
            .send()
            .await
            .unwrap();
        let body = response.bytes().await.unwrap();
        assert_eq!(body, format!("POST /echo {HIDDEN} auth=false body=1000000"));

        // What was streamed is gone when a redirect asks for it again.
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        drop(sender);
        let error = client
            .post(&format!("https://{HIDDEN}/again"))
            .body(Body::stream(Channel::body(receiver)))
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Redirect, "{error}");
        let mut response = client
            .post(&format!("https://{HIDDEN}/again"))
            .body("12345")
            .send()
            .await
            .unwrap();
        let body = response.bytes().await.unwrap();
        assert_eq!(body, format!("POST /echo {HIDDEN} auth=false body=5"));
    }
}

/// A channel as a body.
struct Channel(tokio::sync::mpsc::Receiver<Bytes>);

impl Channel {
    fn body(
        receiver: tokio::sync::mpsc::Receiver<Bytes>,
    ) -> impl http_body::Body<Data = Bytes, Error = Infallible> {
        Self(receiver)
    }
}

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|part| part.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn redirects_are_followed_within_bounds_and_without_credentials_elsewhere() {
    let pki = Pki::new();
    let address = serve(&pki, &[b"h2"]).await;
    let client = builder(&pki, address).build().unwrap();
    for (to, host, auth) in [
        ("/echo".to_owned(), HIDDEN, true),
        ("https!!other.test/echo".to_owned(), "other.test", false),
    ] {
        let mut response = client
            .get(&format!("https://{HIDDEN}/to/{to}"))
            .header("authorization", "Basic eA==")
            .send()
            .await
            .unwrap();
        let body = response.bytes().await.unwrap();
        assert_eq!(body, format!("GET /echo {host} auth={auth} body=0"));
        assert_eq!(response.url().as_str(), format!("https://{host}/echo"));
        assert_eq!(response.redirects().len(), 1);
    }
    let circle = format!("https://{HIDDEN}/to/.");
    let error = client.get(&circle).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect);
    let none = builder(&pki, address).redirects(None).build().unwrap();
    let response = none.get(&circle).send().await.unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn without_an_https_record_http_is_spoken_in_the_clear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(lab::answer(tcp));
        }
    });
    let pki = Pki::new();
    let client = Client::builder().tls(pki.tls()).build().unwrap();
    let mut response = client
        .get(&format!("http://{address}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.bytes().await.unwrap(), "hello");
    let report = response.report();
    assert_eq!(report.tls, None);
    assert_eq!(report.ech.status.as_str(), "not_offered");
    assert!(report.bytes.sent > 10 && report.bytes.received > 10);
    let client = Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .build()
        .unwrap();
    let error = client
        .get(&format!("http://{address}/"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired);
}

#[tokio::test]
async fn a_silent_server_ends_in_a_timeout_with_a_report() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            kept.push(tcp);
        }
    });
    let pki = Pki::new();
    let mut timeouts = Timeouts::default();
    timeouts.total = Some(Duration::from_millis(300));
    let client = builder(&pki, address).timeouts(timeouts).build().unwrap();
    let url = format!("https://{HIDDEN}/");
    let error = client.get(&url).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.kind().exit_code(), 28);
    let report = error.report().unwrap();
    assert_eq!(report.ech.status.as_str(), "grease");
    assert_eq!(report.ech.outer_sni.as_deref(), Some(HIDDEN));
    assert!(report.bytes.sent > 200);
}
