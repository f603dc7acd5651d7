//! Cookies, compressed bodies and heads that are watched, and certificates that are not verified.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_compression::tokio::write::{
    BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
};
use bytes::Bytes;
use echkit::http::{Body, CookieJar, HttpVersions, ObservedHead};
use echkit::report::EchStatus;
use echkit::server::EchKeys;
use echkit::tls::ClientTls;
use echkit::{Client, EchMode, ErrorKind};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::lab::{self, HIDDEN, PUBLIC, Pki, Relay, ech_key, list, serve_ech};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;

/// A site that says what it was asked, sets cookies, and compresses.
async fn serve(pki: &Pki) -> SocketAddr {
    let mut config = pki.server(&[HIDDEN, "other.test"]);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    lab::serve_tls(config, |stream| async move {
        let service = hyper::service::service_fn(respond);
        let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    })
    .await
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let response = Response::builder();
    let path = head.uri.path().to_owned();
    if let Some(coding) = path.strip_prefix("/coded/") {
        let (name, bytes) = coded(coding).await;
        let response = response.header("content-encoding", name);
        if head.method == "HEAD" {
            return Ok(response.body(Full::default()).unwrap());
        }
        return Ok(response.body(Full::from(bytes)).unwrap());
    }
    Ok(match path.as_str() {
        "/set" => response
            .status(307)
            .header("set-cookie", "own=1; Path=/; Secure")
            .header("set-cookie", "wide=2; Path=/; Domain=test")
            .header("location", head.uri.query().unwrap())
            .body(Full::default())
            .unwrap(),
        _ => {
            let values = head.headers.get_all("cookie").iter();
            let cookies: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            let accepts = head.headers.get("accept-encoding");
            let accepts = accepts.map_or("", |value| value.to_str().unwrap());
            let said = format!("{}|{accepts}|{}", cookies.join("; "), body.len());
            response.body(Full::from(said)).unwrap()
        }
    })
}

/// A body of this coding, and how it is called.
async fn coded(coding: &str) -> (String, Vec<u8>) {
    macro_rules! encode {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(&[b'x'; 200_000]).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    let (name, bytes) = match coding {
        "br" => ("br", encode!(BrotliEncoder)),
        "zstd" => ("zstd", encode!(ZstdEncoder)),
        "zlib" => ("deflate", encode!(ZlibEncoder)),
        "raw" => ("deflate", encode!(DeflateEncoder)),
        "frames" => (
            "zstd",
            [
                encode!(ZstdEncoder),
                b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec(),
                encode!(ZstdEncoder),
            ]
            .concat(),
        ),
        "zstd-padded" => ("zstd", [&encode!(ZstdEncoder)[..], &[0; 512]].concat()),
        "padded" => ("gzip", [&encode!(GzipEncoder)[..], &[0; 512]].concat()),
        "br-padded" => ("br", [&encode!(BrotliEncoder)[..], &[0; 200_000]].concat()),
        "zlib-padded" => (
            "deflate",
            [&encode!(ZlibEncoder)[..], &[0; 200_000]].concat(),
        ),
        "empty" => ("gzip", Vec::new()),
        "garbage" => ("gzip", b"never compressed".to_vec()),
        "unknown" => ("magic", b"as it is".to_vec()),
        "two" => (
            "gzip",
            [encode!(GzipEncoder), encode!(GzipEncoder)].concat(),
        ),
        "short" => {
            let mut bytes = encode!(GzipEncoder);
            bytes.truncate(bytes.len() / 2);
            ("gzip", bytes)
        }
        _ => ("gzip", encode!(GzipEncoder)),
    };
    (name.to_owned(), bytes)
}

fn builder(pki: &Pki, address: SocketAddr) -> echkit::http::ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
        .connect_to("other.test", 443, "127.0.0.1", address.port())
}

#[tokio::test]
async fn cookies_go_back_to_their_host_and_are_shown_nowhere() {
    let pki = Pki::new();
    let address = serve(&pki).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let jar = CookieJar::new();
        let client = builder(&pki, address).http(versions).cookies(jar.clone());
        let client = client.build().unwrap();
        let mut response = client
            .post(&format!("https://{HIDDEN}/set?/echo"))
            .header("cookie", "given=0")
            .body(Body::repeatable(|| Full::new(Bytes::from_static(b"12345"))))
            .send()
            .await
            .unwrap();
        assert_eq!(response.text().await.unwrap(), "given=0; own=1||5");
        let shown = format!(
            "{:?} {:?} {jar:?} {client:?}",
            response.report(),
            response.redirects()
        );
        assert!(!shown.contains("own"), "{shown}");
        // Not to others, redirects included.
        let other = "https://other.test/echo";
        let mut response = client
            .get(&format!("https://{HIDDEN}/set?{other}"))
            .header("cookie", "given=0")
            .send()
            .await
            .unwrap();
        assert_eq!(response.text().await.unwrap(), "||0");
    }
    let client = builder(&pki, address).build().unwrap();
    let url = format!("https://{HIDDEN}/set?/echo");
    let mut response = client.get(&url).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "||0");
}

#[tokio::test]
async fn bodies_are_decompressed_where_asked_for() {
    let pki = Pki::new();
    let address = serve(&pki).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let client = builder(&pki, address)
            .http(versions)
            .decompress(true)
            .build()
            .unwrap();
        let get = |path: &str| client.get(&format!("https://{HIDDEN}/{path}")).send();
        for (coding, length) in [
            ("gzip", 200_000),
            ("br", 200_000),
            ("zstd", 200_000),
            ("zlib", 200_000),
            ("raw", 200_000),
            ("two", 400_000),
            ("frames", 400_000),
            ("padded", 200_000),
            ("br-padded", 200_000),
            ("zlib-padded", 200_000),
            ("empty", 0),
            ("unknown", 8),
        ] {
            let mut response = get(&format!("coded/{coding}")).await.unwrap();
            assert_eq!(response.bytes().await.unwrap().len(), length, "{coding}");
            assert!(response.headers().contains_key("content-encoding"));
        }
        // What follows the coded bytes is read too, so that the connection serves on.
        for coding in ["gzip", "br-padded", "zlib-padded"] {
            let client = builder(&pki, address).http(versions).decompress(true);
            let client = client.build().unwrap();
            let url = format!("https://{HIDDEN}/coded/{coding}");
            let mut reused = false;
            // It is given back by another task, soon.
            for _ in 0..100 {
                let mut response = client.get(&url).send().await.unwrap();
                reused |= response.report().reused;
                response.bytes().await.unwrap();
                if reused {
                    break;
                }
            }
            assert!(reused, "{versions:?} {coding}");
        }
        let mut response = get("coded/gzip").await.unwrap();
        response.bytes().await.unwrap();
        let head = client.head(&format!("https://{HIDDEN}/coded/gzip")).send();
        assert_eq!(head.await.unwrap().bytes().await.unwrap(), "");
        for coding in ["garbage", "short", "zstd-padded"] {
            let mut response = get(&format!("coded/{coding}")).await.unwrap();
            let error = response.bytes().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
            assert!(error.report().is_some());
        }
        let mut response = get("echo").await.unwrap();
        assert_eq!(response.text().await.unwrap(), "|gzip, br, zstd, deflate|0");
        let small = builder(&pki, address)
            .decompress(true)
            .body_limit(1000)
            .build()
            .unwrap();
        let url = format!("https://{HIDDEN}/coded/gzip");
        let mut response = small.get(&url).send().await.unwrap();
        let error = response.bytes().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BodyTooLarge, "{error}");
    }
    let plain = builder(&pki, address).build().unwrap();
    let mut response = plain
        .get(&format!("https://{HIDDEN}/coded/gzip"))
        .send()
        .await
        .unwrap();
    assert!(response.bytes().await.unwrap().len() < 10_000);
}

#[tokio::test]
async fn each_head_that_goes_by_is_shown_with_secrets_marked() {
    let pki = Pki::new();
    let address = serve(&pki).await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let client = builder(&pki, address)
        .cookies(CookieJar::new())
        .observe(move |head| {
            notes.lock().unwrap().push(match head {
                ObservedHead::Request {
                    method,
                    target,
                    authority,
                    headers,
                    report,
                    ..
                } => {
                    let secrets = ["cookie", "authorization"].map(|name| {
                        headers
                            .get(name)
                            .is_some_and(http::HeaderValue::is_sensitive)
                    });
                    let hellos = report.attempts.len();
                    format!("{method} {authority}{target} {secrets:?} {hellos}")
                }
                ObservedHead::Response { status, .. } => status.to_string(),
                _ => panic!(),
            });
        });
    let client = client.build().unwrap();
    let url = format!("https://{HIDDEN}/set?/echo");
    let request = client.get(&url).header("authorization", "Bearer x");
    request.send().await.unwrap();
    let expected = [
        format!("GET {HIDDEN}/set?/echo [false, true] 1"),
        "307 Temporary Redirect".to_owned(),
        format!("GET {HIDDEN}/echo [true, true] 0"),
        "200 OK".to_owned(),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_body_cut_off_without_close_notify_is_an_error_that_says_so() {
    let pki = Pki::new();
    let address = lab::serve_cut_off(pki.server(&[HIDDEN]), b"HTTP/1.0 200 OK\r\n\r\nhalf").await;
    let client = builder(&pki, address).build().unwrap();
    let mut response = client
        .get(&format!("https://{HIDDEN}/"))
        .send()
        .await
        .unwrap();
    let error = response.bytes().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Http);
    assert!(error.to_string().contains("close_notify"), "{error}");
}

/// A client that verifies nothing, and trusts no certificate of this lab.
fn unverified(relay: &Relay, mode: EchMode, key: Option<&EchKey>) -> Client {
    let tls = ClientTls::builder().dangerous_accept_any_certificate(true);
    let mut builder = Client::builder().tls(tls).ech(mode).connect_to(
        HIDDEN,
        443,
        "127.0.0.1",
        relay.address.port(),
    );
    if let Some(key) = key {
        builder = builder.ech_config(list(key));
    }
    builder.build().unwrap()
}

#[tokio::test]
async fn without_verification_ech_hides_the_name_and_the_report_warns() {
    let pki = Pki::new();
    let key = ech_key();
    let keys = EchKeys::new(vec![key.clone()]).unwrap();
    let server = serve_ech(&pki, &[PUBLIC], false, keys).await;
    let url = format!("https://{HIDDEN}/");
    for mode in [EchMode::Prefer, EchMode::Require] {
        let relay = Relay::to(server).await;
        let client = unverified(&relay, mode, Some(&key));
        let report = client.get(&url).send().await.unwrap().report();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        let warnings = report.ech.warnings.join("\n");
        assert!(warnings.contains("was not verified"), "{warnings}");
        relay.assert_hidden(HIDDEN);
    }
    let relay = Relay::to(server).await;
    let client = unverified(&relay, EchMode::Prefer, None);
    let report = client.get(&url).send().await.unwrap().report();
    assert_eq!(report.ech.status, EchStatus::Grease);
}

#[tokio::test]
async fn without_verification_a_rejection_is_never_followed_by_another_hello() {
    let pki = Pki::new();
    let url = format!("https://{HIDDEN}/");
    let other_keys = EchKeys::new(vec![ech_key()]).unwrap();
    let with_retry_configs = serve_ech(&pki, &[HIDDEN, PUBLIC], false, other_keys).await;
    let without_ech = lab::serve(pki.server(&[HIDDEN, PUBLIC])).await;
    // A rejection under the origin's own name is told from an acceptance by verification alone.
    let exposing = EchKey::generate(&KeyParams::new(HIDDEN).unwrap()).unwrap();
    for server in [with_retry_configs, without_ech] {
        for mode in [EchMode::Prefer, EchMode::Require] {
            let relay = Relay::to(server).await;
            let client = unverified(&relay, mode, Some(&ech_key()));
            let error = client.get(&url).send().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
            assert!(error.to_string().contains("not verified"), "{error}");
            let report = error.report().unwrap();
            assert_eq!(report.attempts.len(), 1, "{report:?}");
            assert_eq!(report.ech.retries, 0);
            assert_ne!(report.ech.status, EchStatus::Disabled);
            relay.assert_hidden(HIDDEN);
        }
        let relay = Relay::to(server).await;
        let client = unverified(&relay, EchMode::Prefer, Some(&exposing));
        let error = client.get(&url).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Certificate, "{error}");
        assert_eq!(error.report().unwrap().attempts.len(), 1);
    }
}
