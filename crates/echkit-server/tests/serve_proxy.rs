//! The reverse proxy: what backends get, what clients get, and where requests end.
#![allow(clippy::unwrap_used)]

mod serve_bed;

use std::sync::{Arc, Mutex};

use echkit::http::HttpVersions;
use echkit_server::serve::ServeLimits;
use hyper::StatusCode;
use serve_bed::{Bed, PATIENCE, SECRET, echo_backend, echo_head, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

#[tokio::test]
async fn a_backend_is_told_the_client_and_the_site_and_nothing_for_one_connection() {
    let bed = Bed::new();
    let (backend, _) = echo_backend().await;
    let server = start(bed.proxying(&format!("http://{backend}"))).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let client = bed.client(server.address).http(versions).build().unwrap();
        let mut response = client
            .get(&format!("https://{SECRET}/a/b?c=d"))
            .header("x-forwarded-for", "203.0.113.1")
            .header("x_forwarded_for", "203.0.113.1")
            .header("forwarded", "for=203.0.113.1")
            .header("x-kept", "yes")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        for gone in ["connection", "keep-alive", "x-inner"] {
            assert!(!response.headers().contains_key(gone), "{gone}");
        }
        let head = String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap();
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("get /a/b?c=d http/1.1\r\n"), "{head}");
        for line in [
            format!("\r\nhost: {SECRET}\r\n"),
            format!("\r\nx-forwarded-host: {SECRET}\r\n"),
            "\r\nx-forwarded-for: 127.0.0.1\r\n".to_owned(),
            "\r\nx-forwarded-proto: https\r\n".to_owned(),
            "\r\nx-kept: yes\r\n".to_owned(),
        ] {
            assert!(head.contains(&line), "{line:?} is not in {head}");
        }
        assert!(!head.contains("203.0.113.1"), "{head}");
    }
    // What Connection names is for this connection; what the backend relies on is not.
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {SECRET}\r\nConnection: close, X-Mine, X-Forwarded-For, Host\r\n\
         X-Mine: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n\r\n"
    );
    let answer = bed
        .raw(server.address, SECRET, request.as_bytes())
        .await
        .to_ascii_lowercase();
    let (_, told) = answer.split_once("\r\n\r\n").unwrap();
    for gone in ["x-mine", "te:", "upgrade", "connection:", "h2c"] {
        assert!(!told.contains(gone), "{gone}: {told}");
    }
    assert!(told.contains(&format!("host: {SECRET}")), "{told}");
    assert!(told.contains("x-forwarded-for: 127.0.0.1"), "{told}");
}

#[tokio::test]
async fn a_backend_may_be_a_unix_socket() {
    let bed = Bed::new();
    let path = bed.path("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo_head(stream, Arc::default()));
        }
    });
    let server = start(bed.proxying(&format!("unix:{}", path.display()))).await;
    let client = bed.client(server.address).build().unwrap();
    let mut response = client
        .get(&format!("https://{SECRET}/x"))
        .send()
        .await
        .unwrap();
    assert!(
        response
            .bytes()
            .await
            .unwrap()
            .starts_with(b"GET /x HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn a_backend_that_is_gone_silent_or_too_slow_gives_a_gateway_error() {
    let bed = Bed::new();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let server = start(bed.proxying(&format!("http://{address}"))).await;
    let client = bed.client(server.address).build().unwrap();
    let url = format!("https://{SECRET}/");
    let status = client.get(&url).send().await.unwrap().status();
    assert_eq!(status, StatusCode::BAD_GATEWAY);

    let silent = echkit_test::lab::silent().await;
    let mut config = bed.proxying(&format!("http://{silent}"));
    config.limits.backend_time = std::time::Duration::from_millis(50);
    let server = start(config).await;
    let client = bed.client(server.address).build().unwrap();
    let status = client.get(&url).send().await.unwrap().status();
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn bodies_go_through_whole_and_too_long_ones_are_refused() {
    let bed = Bed::new();
    let (backend, seen) = echo_backend().await;
    let mut config = bed.proxying(&format!("http://{backend}"));
    config.limits.body_bytes = 1_000_000;
    let server = start(config).await;
    let url = format!("https://{SECRET}/");
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let client = bed.client(server.address).http(versions).build().unwrap();
        let fits = client
            .post(&url)
            .body(vec![b'y'; 1_000])
            .send()
            .await
            .unwrap();
        assert_eq!(fits.status(), StatusCode::OK);
        let long = client.post(&url).body(vec![b'z'; 1_000_001]).send().await;
        // Refused by its head; a client that is still sending may only see that it is.
        if let Ok(long) = long {
            assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    let seen = seen.lock().unwrap();
    assert!(
        seen.windows(1_000)
            .any(|body| body.iter().all(|byte| *byte == b'y'))
    );
    assert!(!seen.contains(&b'z'));
}

#[tokio::test]
async fn websockets_pass_and_no_other_upgrade_does() {
    let bed = Bed::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                if !text.contains("upgrade: websocket") {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
                        .await;
                    return;
                }
                assert!(text.contains("connection: upgrade"), "{text}");
                let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                              Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
                stream.write_all(agreed.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let server = start(bed.proxying(&format!("http://{backend}"))).await;
    let mut stream = bed.stream(server.address, SECRET, b"http/1.1").await;
    let upgrade = |to: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: {SECRET}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {to}\r\n\
             Sec-WebSocket-Key: x\r\n\r\n"
        )
    };
    stream
        .write_all(upgrade("WebSocket").as_bytes())
        .await
        .unwrap();
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: x"), "{head}");
    for round in 0..3_u8 {
        stream.write_all(&[round; 1000]).await.unwrap();
        let mut back = [0; 1000];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, [round; 1000]);
    }
    // The tunnel is waited for, and ends with the time for that.
    assert!(!server.task.is_finished());
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();

    let mut stream = bed.stream(server.address, SECRET, b"http/1.1").await;
    stream.write_all(upgrade("h2c").as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8())
            .await
            .unwrap()
            .unwrap();
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

/// Ways to have two servers disagree about where a request ends, or what it asks.
fn smuggling() -> Vec<(&'static str, String)> {
    let host = format!("Host: {SECRET}\r\n");
    let inner = format!("GET /smuggled HTTP/1.1\r\n{host}\r\n");
    let len = inner.len() + 5;
    [
        ("both lengths", format!("POST / HTTP/1.1\r\n{host}Content-Length: {len}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}")),
        ("both lengths, the other way round", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n")),
        ("two lengths", format!("POST / HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{inner}", inner.len())),
        ("a list of lengths", format!("POST / HTTP/1.1\r\n{host}Content-Length: 0, {}\r\n\r\n{inner}", inner.len())),
        ("a length with a sign", format!("POST / HTTP/1.1\r\n{host}Content-Length: +0\r\n\r\n{inner}")),
        ("a length in hexadecimal", format!("POST / HTTP/1.1\r\n{host}Content-Length: 0x10\r\n\r\n{inner}")),
        ("an unknown coding", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}")),
        ("chunked not last", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}")),
        ("space before the colon", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}")),
        ("a folded field", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{inner}")),
        ("a vertical tab", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{inner}")),
        ("chunked in HTTP/1.0", format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}")),
        ("a bare line feed in a chunk size", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\n\n{inner}")),
        ("a chunk size that overflows", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{inner}")),
        ("a line break in a field", format!("GET / HTTP/1.1\r\n{host}X: a\rGET /smuggled HTTP/1.1\r\n\r\n")),
        ("a zero byte in a field", format!("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n")),
        ("a space in the target", format!("GET / /smuggled HTTP/1.1\r\n{host}\r\n")),
        ("a body of a GET", format!("GET / HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n{inner}", inner.len())),
    ]
    .into()
}

#[tokio::test]
async fn no_request_is_smuggled_past_the_proxy() {
    let bed = Bed::new();
    // A backend that keeps whole connections, and answers each request that it could take.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            let service = hyper::service::service_fn(
                move |request: hyper::Request<hyper::body::Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        use http_body_util::BodyExt;
                        let path = request.uri().path().to_owned();
                        // What a body is for the proxy is one for the backend.
                        let body = request.into_body().collect().await?.to_bytes();
                        kept.lock().unwrap().push(format!("{path} {}", body.len()));
                        Ok::<_, hyper::Error>(hyper::Response::new(http_body_util::Empty::<
                            bytes::Bytes,
                        >::new(
                        )))
                    }
                },
            );
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let server = start(bed.proxying(&format!("http://{backend}"))).await;
    let mut refused = 0;
    for (what, request) in smuggling() {
        asked.lock().unwrap().clear();
        // A second request on the same connection, which must be taken for nothing else.
        let request =
            format!("{request}GET /next HTTP/1.1\r\nHost: {SECRET}\r\nConnection: close\r\n\r\n");
        let answer = bed.raw(server.address, SECRET, request.as_bytes()).await;
        let asked = asked.lock().unwrap().clone();
        let answers = answer.matches("HTTP/1.1 ").count() + answer.matches("HTTP/1.0 ").count();
        refused += usize::from(answer.contains(" 400 "));
        // Each request that the backend got is one that this server answered.
        assert!(asked.len() <= answers, "{what}: {asked:?}, {answer}");
        let as_body = asked.iter().filter(|line| !line.starts_with("/smuggled"));
        let smuggled = asked.len() - as_body.count();
        assert_eq!(smuggled, 0, "{what}: {asked:?}, {answer}");
        println!("{what}: {} answers, backend {asked:?}", answers);
    }
    println!("{refused} of {} refused", smuggling().len());
    assert!(refused >= 10);
}

#[tokio::test]
async fn limits_of_heads_are_kept() {
    let bed = Bed::new();
    let (backend, _) = echo_backend().await;
    let mut config = bed.proxying(&format!("http://{backend}"));
    let mut limits = ServeLimits::default();
    limits.head_bytes = 16 * 1024;
    limits.head_fields = 20;
    config.limits = limits;
    let server = start(config).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: {SECRET}\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: {SECRET}\r\n{}\r\n",
        "X: y\r\n".repeat(30)
    );
    for request in [long, many] {
        let answer = bed.raw(server.address, SECRET, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let client = bed
        .client(server.address)
        .http(HttpVersions::Http2)
        .build()
        .unwrap();
    let request = client
        .get(&format!("https://{SECRET}/"))
        .header("x", "x".repeat(20_000));
    // Refused with 431, or by a reset of the stream where the client has been told the limit.
    if let Ok(response) = request.send().await {
        assert_eq!(response.status(), 431);
    }
    let response = client
        .get(&format!("https://{SECRET}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
