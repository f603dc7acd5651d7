//! Files of the HTTPS server, and header fields that it adds to what sites say.
#![allow(clippy::unwrap_used)]

mod serve_bed;

use std::time::Duration;

use echkit::EchMode;
use hyper::StatusCode;
use serve_bed::{Bed, OTHER, PUBLIC, SECRET, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn hsts_is_sent_where_it_is_asked_for_and_the_site_has_none_of_its_own() {
    let bed = Bed::new();
    let backend = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = backend.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = backend.accept().await {
            // Small requests come whole.
            let _ = stream.read(&mut [0; 4096]).await;
            let own = b"HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=5\r\n\
                        content-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(own).await;
        }
    });
    let mut config = bed.proxying(&format!("http://{address}"));
    for site in &mut config.sites {
        site.hsts = Some(Duration::from_secs(86_400));
    }
    config.sites[2].hsts = None;
    let server = start(config).await;
    let client = bed.client(server.address).build().unwrap();
    for (url, value) in [
        (format!("https://{SECRET}/"), "max-age=5"),
        (format!("https://{OTHER}/"), "max-age=86400"),
        (format!("https://{OTHER}/none"), "max-age=86400"),
    ] {
        let response = client.get(&url).send().await.unwrap();
        let values = response.headers().get_all("strict-transport-security");
        assert_eq!(values.iter().collect::<Vec<_>>(), [value], "{url}");
    }
    let client = bed.client_in(EchMode::Off, server.address).build().unwrap();
    let url = format!("https://{PUBLIC}/");
    let response = client.get(&url).send().await.unwrap();
    assert!(!response.headers().contains_key("strict-transport-security"));
}

#[tokio::test]
async fn files_have_ranges_dates_and_types_and_nothing_outside_the_root_is_served() {
    let bed = Bed::new();
    bed.write(&format!("{SECRET}/a dir/page.css"), b"0123456789");
    bed.write(&format!("{SECRET}/.env"), b"PASSWORD");
    bed.write(&format!("{SECRET}/.well-known/security.txt"), b"Contact");
    bed.write("outside.txt", b"OUTSIDE");
    std::os::unix::fs::symlink(bed.path("outside.txt"), bed.path(&format!("{SECRET}/link")))
        .unwrap();
    std::os::unix::fs::symlink(bed.path(""), bed.path(&format!("{SECRET}/up"))).unwrap();
    // The page of a directory may be a link too.
    std::fs::create_dir(bed.path(&format!("{SECRET}/trap"))).unwrap();
    let page = bed.path(&format!("{SECRET}/trap/index.html"));
    std::os::unix::fs::symlink(bed.path("outside.txt"), page).unwrap();
    let server = start(bed.config()).await;
    let client = bed.client(server.address).build().unwrap();
    let url = |path: &str| format!("https://{SECRET}{path}");

    let request = client
        .get(&url("/a%20dir/page.css"))
        .header("range", "bytes=2-4");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(response.headers()["content-type"], "text/css");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let dated = response.headers()["last-modified"].clone();
    assert_eq!(response.bytes().await.unwrap(), "234");
    for (name, value, status) in [
        ("range", "bytes=20-30".to_owned(), 416),
        ("if-modified-since", dated.to_str().unwrap().to_owned(), 304),
    ] {
        let request = client.get(&url("/a%20dir/page.css")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    let mut response = client.head(&url("/a%20dir/page.css")).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], "10");
    assert!(response.bytes().await.unwrap().is_empty());
    let well_known = client
        .get(&url("/.well-known/security.txt"))
        .send()
        .await
        .unwrap();
    assert_eq!(well_known.status(), StatusCode::OK);
    let post = client.post(&url("/")).body("x").send().await.unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    let redirect = client
        .get(&url("/a%20dir"))
        .redirects(None)
        .send()
        .await
        .unwrap();
    assert_eq!(redirect.headers()["location"], "/a%20dir/");

    for path in [
        "/missing",
        "/.env",
        "/%2eenv",
        "/link",
        "/trap/",
        "/trap/index.html",
        "/up/outside.txt",
        "/up/keys/ech-keys.json",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/a%20dir/../../outside.txt",
        "/a%20dir/..%2f..%2foutside.txt",
        "//..//outside.txt",
        "//a%20dir",
        "/%2e%2e%2foutside.txt",
        "/..%5coutside.txt",
        "/outside.txt%00.html",
        "/%c0%ae%c0%ae/outside.txt",
        "/%252e%252e/outside.txt",
    ] {
        // Written as it is: a client would tidy the path up.
        let request = format!("GET {path} HTTP/1.1\r\nHost: {SECRET}\r\nConnection: close\r\n\r\n");
        let answer = bed.raw(server.address, SECRET, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        for leaked in ["OUTSIDE", "PASSWORD"] {
            assert!(!answer.contains(leaked), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn small_files_have_the_same_fields_as_parts_of_them_and_as_large_ones() {
    let bed = Bed::new();
    for (name, len) in [
        ("empty.txt", 0),
        ("page.css", 10),
        ("edge.js", 65_536),
        ("large.js", 65_537),
        ("no-type", 100),
    ] {
        bed.write(&format!("{SECRET}/{name}"), &vec![b'x'; len]);
    }
    let server = start(bed.config()).await;
    let client = bed.client(server.address).build().unwrap();
    for name in [
        "",
        "empty.txt",
        "page.css",
        "edge.js",
        "large.js",
        "no-type",
        "page.css?v=1",
    ] {
        let url = format!("https://{SECRET}/{name}");
        let mut whole = client.get(&url).send().await.unwrap();
        // A condition that holds changes nothing, and has the other code answer.
        let request = client.get(&url).header("if-none-match", "\"other\"");
        let mut conditional = request.send().await.unwrap();
        assert_eq!(whole.status(), StatusCode::OK, "{name}");
        assert_eq!(conditional.status(), StatusCode::OK, "{name}");
        for field in [
            "content-type",
            "content-length",
            "last-modified",
            "accept-ranges",
            "x-content-type-options",
        ] {
            let (one, other) = (whole.headers().get(field), conditional.headers().get(field));
            assert!(
                one.is_some() && one == other,
                "{name}, {field}: {one:?} {other:?}"
            );
        }
        let fields = |response: &echkit::Response| response.headers().keys_len();
        assert_eq!(fields(&whole), fields(&conditional), "{name}");
        let body = whole.bytes().await.unwrap();
        assert_eq!(body, conditional.bytes().await.unwrap(), "{name}");
    }
}
