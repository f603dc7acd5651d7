//! HTTP: versions, bodies that stream, redirects, limits.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use echkit::error::{Cause, Step};
use echkit::http::{Body, HttpVersions};
use echkit::policy::Timeouts;
use echkit::server::{self, Acceptor, EchKeyHandle, EchKeys};
use echkit::{Client, EchMode, ErrorKind};
use echkit_proto::key::EchKey;
use echkit_test::clock::PacedClock;
use echkit_test::lab::{self, HIDDEN, Pki};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A site over HTTP/1.1 and HTTP/2 that says what it was asked, and redirects on demand.
async fn serve(pki: &Pki, alpn: &[&[u8]]) -> SocketAddr {
    let mut config = pki.server(&[HIDDEN, "other.test"]);
    config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    lab::serve_tls(config, |stream| async move {
        let service = hyper::service::service_fn(respond);
        let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    })
    .await
}

async fn respond(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if request.uri().path() == "/stalls" {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let _ = sender.send(Bytes::from_static(b"a part")).await;
        tokio::spawn(async move {
            let _held = sender;
            std::future::pending::<()>().await;
        });
        return Ok(Response::new(Channel::body(receiver).boxed()));
    }
    if request.uri().path() == "/drip" {
        // Parts of unknown number.
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            for _ in 0..10 {
                let _ = sender.send(Bytes::from_static(&[b'x'; 100])).await;
            }
        });
        return Ok(Response::new(Channel::body(receiver).boxed()));
    }
    Ok(reply(request).await.map(BodyExt::boxed))
}

async fn reply(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path();
    if let Some(to) = path.strip_prefix("/to/") {
        let to = to
            .replace("!!", "://")
            .replace("CREDENTIALS", "user:s3cret");
        return Response::builder()
            .status(302)
            .header("location", to)
            .body(Full::default())
            .unwrap();
    }
    if path == "/never" {
        std::future::pending::<()>().await;
    }
    if path == "/again" {
        return Response::builder()
            .status(307)
            .header("location", "/echo")
            .body(Full::default())
            .unwrap();
    }
    match path {
        "/authorization" => {
            let value = head.headers.get("authorization");
            let value = value.map(|value| value.as_bytes().to_vec());
            return Response::new(Full::from(value.unwrap_or_default()));
        }
        "/missing" => {
            return Response::builder()
                .status(404)
                .body(Full::default())
                .unwrap();
        }
        "/mirror" => {
            return Response::builder()
                .header("x-kind", &head.headers["content-type"])
                .body(Full::from(body))
                .unwrap();
        }
        _ => {}
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
    Response::new(Full::from(said))
}

fn builder(pki: &Pki, address: SocketAddr) -> echkit::http::ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
        .connect_to("other.test", 443, "127.0.0.1", address.port())
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
    // A request may say otherwise, both ways.
    let response = client.get(&circle).redirects(None).send().await.unwrap();
    assert_eq!(response.status(), 302);
    let once = format!("https://{HIDDEN}/to//echo");
    let response = none.get(&once).redirects(Some(1)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let [head] = response.redirect_heads() else {
        panic!("{:?}", response.redirect_heads());
    };
    assert_eq!((head.status.as_u16(), head.url.as_str()), (302, &*once));
    assert_eq!(head.headers["location"], "/echo");
}

#[tokio::test]
async fn without_an_https_record_http_is_spoken_in_the_clear() {
    let address = lab::listen(lab::answer).await;
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
async fn a_redirect_out_of_tls_is_a_warning_or_refused_where_ech_is_required() {
    let pki = Pki::new();
    let key = lab::ech_key();
    let keys = EchKeyHandle::new(EchKeys::new(vec![key.clone()]).unwrap());
    let config = pki.server_with(
        &[HIDDEN],
        (*server::provider()).clone(),
        rustls::ALL_VERSIONS,
    );
    let acceptor = Acceptor::new(Arc::new(config), keys).unwrap();
    let address = lab::listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let accepted = acceptor.accept(tcp).await.unwrap();
            let service = hyper::service::service_fn(respond);
            let stream = TokioIo::new(accepted.stream);
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(stream, service).await;
        }
    })
    .await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let clear = lab::listen(move |tcp| {
        counted.fetch_add(1, Ordering::SeqCst);
        lab::answer(tcp)
    })
    .await;
    let url = format!("https://{HIDDEN}/to/http!!other.test/page");
    let told = format!("{url} redirected to http://other.test/page, out of TLS");
    for (mode, warned) in [(EchMode::Grease, false), (EchMode::Prefer, true)] {
        let client = redirected(&pki, address, clear, mode, &key);
        let mut response = client.get(&url).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hello", "{mode:?}");
        let warnings = response.report().ech.warnings.join("\n");
        assert_eq!(warnings.contains(&told), warned, "{mode:?}: {warnings}");
    }
    let before = asked.load(Ordering::SeqCst);
    let client = redirected(&pki, address, clear, EchMode::Require, &key);
    let error = client.get(&url).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired);
    assert!(error.to_string().contains("out of TLS"), "{error}");
    let status = error.report().unwrap().ech.status;
    assert_eq!(status.as_str(), "accepted");
    assert_eq!((before, asked.load(Ordering::SeqCst)), (2, 2));
}

fn redirected(
    pki: &Pki,
    address: SocketAddr,
    clear: SocketAddr,
    mode: EchMode,
    key: &EchKey,
) -> Client {
    let builder = builder(pki, address).connect_to("other.test", 80, "127.0.0.1", clear.port());
    let builder = match mode {
        EchMode::Grease => builder,
        _ => builder.ech_config(lab::list(key)),
    };
    builder.ech(mode).build().unwrap()
}

#[tokio::test]
async fn a_silent_server_ends_in_a_timeout_with_a_report() {
    let _clock = PacedClock::new();
    let address = lab::silent().await;
    let pki = Pki::new();
    let timeouts = Timeouts::default().with_total(Duration::from_millis(300));
    let client = builder(&pki, address).timeouts(timeouts).build().unwrap();
    let url = format!("https://{HIDDEN}/");
    let error = client.get(&url).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let report = error.report().unwrap();
    // Half of the time for a hello with GREASE, and the rest for one without.
    let [grease, without] = &report.attempts[..] else {
        panic!("{:?}", report.attempts);
    };
    assert!(grease.hellos[0].config_id.is_some(), "{grease:?}");
    assert!(without.hellos[0].config_id.is_none(), "{without:?}");
    assert_eq!(report.ech.status.as_str(), "not_offered");
    let warnings = report.ech.warnings.join("\n");
    assert!(warnings.contains("was silent for"), "{warnings}");
    assert_eq!(report.ech.outer_sni.as_deref(), Some(HIDDEN));
    assert!(report.bytes.sent > 200);
}

#[tokio::test]
async fn credentials_in_a_url_go_to_its_origin_alone_and_are_shown_nowhere() {
    let pki = Pki::new();
    let address = serve(&pki, &[b"h2", b"http/1.1"]).await;
    let client = builder(&pki, address).build().unwrap();
    // "user:s3cret"
    let sent = "Basic dXNlcjpzM2NyZXQ=";
    for (path, expected) in [
        ("authorization", sent),
        ("to//authorization", sent),
        ("to/https!!other.test/authorization", ""),
        ("to/https!!CREDENTIALS@other.test/authorization", sent),
    ] {
        let url = format!("https://user:s3cret@{HIDDEN}/{path}");
        let mut response = client.get(&url).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), expected, "{path}");
        let reports = format!("{:?} {:?}", response.report(), response.redirects());
        assert!(!reports.contains("user:s3cret@"), "{reports}");
        assert!(!response.url().as_str().contains("user"), "{path}");
    }
    // The caller's own wins, as with curl.
    let url = format!("https://user:s3cret@{HIDDEN}/authorization");
    let request = client.get(&url).bearer_auth("t0ken");
    assert!(!format!("{request:?}").contains("t0ken"));
    let mut response = request.send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "Bearer t0ken");
    let request = client.get(&format!("https://{HIDDEN}/authorization"));
    let request = request.basic_auth("user", Some("s3cret"));
    let mut response = request.send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), sent);
    // Errors of every stage.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let circle = format!("https://user:s3cret@{HIDDEN}/to/https!!CREDENTIALS@{HIDDEN}/to/.");
    for url in [
        format!("https://user:s3cret@127.0.0.1:{closed_port}/"),
        format!("https://user:s3cret@{HIDDEN}/to/ftp!!CREDENTIALS@{HIDDEN}/"),
        circle,
        "https://user:s3cret@a b/".to_owned(),
        "https://user:s3/cret@a.test:x/".to_owned(),
        "ftp://user:s3cret@a.test/".to_owned(),
        "user:s3cret@a.test".to_owned(),
        "https://us%3Aer:s3cret@a.test/".to_owned(),
    ] {
        let error = client.get(&url).send().await.unwrap_err();
        let shown = format!("{error} {error:?} {:?}", error.report());
        assert!(!shown.contains("cret@"), "{shown}");
    }
}

#[tokio::test]
async fn a_host_given_by_the_caller_reaches_the_server_over_each_version() {
    let pki = Pki::new();
    let address = serve(&pki, &[b"h2", b"http/1.1"]).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let client = builder(&pki, address).http(versions).build().unwrap();
        let url = format!("https://{HIDDEN}/echo");
        let request = client.get(&url).header("Host", "virtual.test:8443");
        let mut response = request.send().await.unwrap();
        let said = response.text().await.unwrap();
        assert_eq!(said, "GET /echo virtual.test:8443 auth=false body=0");
        // Another origin is asked for under its own name.
        let request = client.get(&format!("https://{HIDDEN}/to/https!!other.test/echo"));
        let mut response = request.header("Host", HIDDEN).send().await.unwrap();
        let said = response.text().await.unwrap();
        assert_eq!(said, "GET /echo other.test auth=false body=0");
        for hosts in [&["a.test", "b.test"][..], &["a b"], &["u:p@a.test"], &[""]] {
            let mut request = client.get(&url);
            for host in hosts {
                request = request.header("host", *host);
            }
            let error = request.send().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{hosts:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_body_longer_than_allowed_is_an_error_and_not_held_in_memory() {
    let pki = Pki::new();
    let address = serve(&pki, &[b"h2", b"http/1.1"]).await;
    let fits = builder(&pki, address).body_limit(1000).build().unwrap();
    let short = builder(&pki, address).body_limit(999).build().unwrap();
    for path in ["drip", "mirror"] {
        let request = |client: &Client| {
            let request = client.post(&format!("https://{HIDDEN}/{path}"));
            request.header("content-type", "x/y").body(vec![b'x'; 1000])
        };
        let mut response = request(&fits).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap().len(), 1000);
        let mut response = request(&short).send().await.unwrap();
        let error = response.bytes().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BodyTooLarge, "{error}");
        // In parts there is no limit.
        let mut response = request(&short).send().await.unwrap();
        let mut length = 0;
        while let Some(part) = response.chunk().await.unwrap() {
            length += part.len();
        }
        assert_eq!(length, 1000);
    }
}

#[tokio::test]
async fn requests_and_responses_have_the_usual_shortcuts() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Thing {
        name: String,
        count: u32,
    }
    let pki = Pki::new();
    let address = serve(&pki, &[b"h2"]).await;
    let client = builder(&pki, address).build().unwrap();
    let thing = Thing {
        name: "a & b".to_owned(),
        count: 7,
    };
    let mirror = format!("https://{HIDDEN}/mirror");
    let mut response = client.put(&mirror).json(&thing).send().await.unwrap();
    assert_eq!(response.headers()["x-kind"], "application/json");
    assert_eq!(response.json::<Thing>().await.unwrap(), thing);
    let mut response = client.patch(&mirror).form(&thing).send().await.unwrap();
    let kind = "application/x-www-form-urlencoded";
    assert_eq!(response.headers()["x-kind"], kind);
    assert_eq!(response.text().await.unwrap(), "name=a+%26+b&count=7");
    let request = client.delete(&format!("https://{HIDDEN}/echo?x=y"));
    let request = request.query(&thing).query(&[("z", "")]);
    let mut response = request.send().await.unwrap().error_for_status().unwrap();
    let said = response.text().await.unwrap();
    let path = "/echo?x=y&name=a+%26+b&count=7&z=";
    assert_eq!(said, format!("DELETE {path} {HIDDEN} auth=false body=0"));

    let mut response = client
        .get(&format!("https://{HIDDEN}/echo"))
        .send()
        .await
        .unwrap();
    let error = response.json::<Thing>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    let response = client
        .get(&format!("https://{HIDDEN}/missing"))
        .send()
        .await
        .unwrap();
    let error = response.error_for_status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Status, "{error}");
    assert!(error.report().is_some());
    // What makes no sense is refused when it is sent, and the first such thing is told.
    let request = client
        .get(&mirror)
        .header("a b", "x")
        .query(&7)
        .json(&thing);
    let error = request.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert!(error.to_string().starts_with("header"), "{error}");
}

#[tokio::test]
async fn a_limit_for_one_request_stands_in_for_the_clients() {
    let _clock = PacedClock::new();
    let address = lab::silent().await;
    let pki = Pki::new();
    let client = builder(&pki, address).build().unwrap();
    let url = format!("https://{HIDDEN}/");
    let request = client.get(&url).timeout(Duration::from_millis(200));
    let error = request.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.report().unwrap().bytes.sent > 200);
    // One behind it, which waits for the same connection, keeps its own limit.
    let first = tokio::spawn(client.get(&url).timeout(Duration::from_secs(600)).send());
    tokio::task::yield_now().await;
    let request = client.get(&url).timeout(Duration::from_millis(200));
    let error = request.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(error.report().unwrap().url.as_deref(), Some(url.as_str()));
    first.abort();
    // A limit past the end of time is none.
    let site = serve(&pki, &[b"h2"]).await;
    let client = builder(&pki, site).build().unwrap();
    client
        .get(&url)
        .timeout(Duration::MAX)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_is_idle_for_too_long_is_given_up_before_and_within_its_response() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    for alpn in [&[b"h2".as_slice()], &[b"http/1.1".as_slice()]] {
        let address = serve(&pki, alpn).await;
        let client = builder(&pki, address).build().unwrap();
        let limit = Duration::from_millis(200);
        let timeouts = Timeouts::default().with_response(None).with_read(limit);
        let idle = |error: &echkit::Error| {
            let Cause::Timeout { step, after, host } = error.cause() else {
                panic!("{error}");
            };
            assert_eq!((*step, *after, host.as_str()), (Step::Read, limit, HIDDEN));
            assert!(error.to_string().starts_with(HIDDEN), "{error}");
            assert!(error.report().is_some());
        };
        let never = client.get(&format!("https://{HIDDEN}/never"));
        idle(&never.timeouts(timeouts).send().await.unwrap_err());
        let stalls = client.get(&format!("https://{HIDDEN}/stalls"));
        let mut response = stalls.timeouts(timeouts).send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "a part");
        // The caller's own time does not count.
        tokio::time::sleep(limit * 5).await;
        idle(&response.chunk().await.unwrap_err());
        // Nothing is left of it for the next request.
        let echo = client.get(&format!("https://{HIDDEN}/echo"));
        let response = echo.timeouts(timeouts).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn a_response_that_was_read_keeps_no_connection_open() {
    for alpn in [b"h2".as_slice(), b"http/1.1".as_slice()] {
        let pki = Pki::new();
        let mut config = pki.server(&[HIDDEN]);
        config.alpn_protocols = vec![alpn.to_vec()];
        let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let address = lab::serve_tls(config, move |stream| {
            let sender = sender.clone();
            async move {
                let service = hyper::service::service_fn(respond);
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                let _ = sender.send(());
            }
        })
        .await;
        let client = builder(&pki, address).build().unwrap();
        let mut response = client
            .get(&format!("https://{HIDDEN}/echo"))
            .send()
            .await
            .unwrap();
        assert!(!response.bytes().await.unwrap().is_empty());
        drop(client);
        ended.recv().await.unwrap();
        assert!(response.report().bytes.received > 0);
        assert!(response.chunk().await.unwrap().is_none());
    }
}
