//! What the HTTPS server tells its operator: access log, metrics, health; and zone factories.
#![allow(clippy::unwrap_used)]

mod serve_bed;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use echkit::http::HttpVersions;
use echkit::{Client, EchMode};
use echkit_server::KeyDirectory;
use echkit_server::serve::{
    AccessLogConfig, AccessLogFormat, HttpServer, ServeConfig, ServeEvent, SiteContent,
};
use echkit_test::contains;
use hyper::StatusCode;
use serde_json::Value;
use serve_bed::{Bed, PATIENCE, PUBLIC, SECRET, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn the_access_log_has_the_outcome_and_no_name_that_ech_hid() {
    let bed = Bed::new();
    bed.write(&format!("{SECRET}/page"), b"0123456789");
    for (format, inner) in [
        (AccessLogFormat::Text, false),
        (AccessLogFormat::Json, false),
        (AccessLogFormat::Text, true),
        (AccessLogFormat::Json, true),
    ] {
        let file = bed.path(&format!("access-{format:?}-{inner}.log"));
        let mut log = AccessLogConfig::new(&file);
        log.format = format;
        log.inner_names = inner;
        let mut config = bed.config();
        config.access_log = Some(log);
        let server = start(config).await;
        for (versions, path) in [
            (HttpVersions::Http1, "/page"),
            (HttpVersions::Http2, "/none?q=\"x\""),
        ] {
            let client = bed.client(server.address).http(versions).build().unwrap();
            let url = format!("https://{SECRET}{path}");
            let request = client
                .get(&url)
                .header("referer", format!("https://{SECRET}/"));
            request.send().await.unwrap().bytes().await.unwrap();
        }
        let plain = bed.client_in(EchMode::Off, server.address).build().unwrap();
        let url = format!("https://{PUBLIC}/");
        plain.get(&url).send().await.unwrap().bytes().await.unwrap();
        server.handle.stop();
        server.task.await.unwrap();

        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(contains(text.as_bytes(), SECRET), inner, "{text}");
        let name = match inner {
            true => SECRET,
            false => PUBLIC,
        };
        if format == AccessLogFormat::Text {
            assert!(lines[0].starts_with("127.0.0.1 20"), "{text}");
            assert!(
                lines[0].contains("Z \"GET /page HTTP/1.1\" 200 10 "),
                "{text}"
            );
            assert!(lines[0].ends_with(&format!(" accepted {name}")), "{text}");
            assert!(lines[1].contains("HTTP/2.0\" 404 "), "{text}");
            assert!(!lines[1].contains("q=\"x"), "{text}");
            assert!(
                lines[2].ends_with(&format!(" not_offered {PUBLIC}")),
                "{text}"
            );
        } else {
            let line: Value = serde_json::from_str(lines[0]).unwrap();
            for (key, value) in [
                ("client", "127.0.0.1"),
                ("method", "GET"),
                ("path", "/page"),
                ("version", "HTTP/1.1"),
                ("ech", "accepted"),
                ("name", name),
            ] {
                assert_eq!(line[key], value, "{line}");
            }
            assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &10.into()));
            assert!(line["config_id"].is_number());
        }
    }
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_opened_again() {
    let bed = Bed::new();
    let file = bed.path("access.log");
    let mut config = bed.config();
    config.access_log = Some(AccessLogConfig::new(&file));
    let server = start(config).await;
    let client = bed.client(server.address).build().unwrap();
    let url = format!("https://{SECRET}/");
    let get = || async {
        client
            .get(&url)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
    };
    get().await;
    lines(&file, 1).await;
    fs::rename(&file, bed.path("access.log.1")).unwrap();
    server.handle.reopen_logs().await;
    get().await;
    lines(&file, 1).await;
    lines(&bed.path("access.log.1"), 1).await;

    // It cannot be opened: lines go where they went.
    fs::rename(&file, bed.path("access.log.2")).unwrap();
    fs::create_dir(&file).unwrap();
    server.handle.reopen_logs().await;
    let warning = server
        .events
        .wait(|event| matches!(event, ServeEvent::Warning(_)))
        .await;
    assert!(
        warning
            .to_string()
            .contains("access.log: the access log cannot be opened again")
    );
    get().await;
    lines(&bed.path("access.log.2"), 2).await;
    let mut config = bed.config();
    config.access_log = Some(AccessLogConfig::new(&file));
    let wrong = HttpServer::check(config).await.unwrap_err().to_string();
    assert!(
        wrong.contains("access.log: cannot be opened for the access log"),
        "{wrong}"
    );
}

/// Waits until a log has so many lines.
async fn lines(file: &Path, count: usize) {
    let wait = async {
        while fs::read_to_string(file).unwrap_or_default().lines().count() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), count);
}

#[tokio::test]
async fn metrics_count_outcomes_and_name_no_site() {
    let bed = Bed::new();
    let stale = bed.list();
    fs::remove_dir_all(bed.path("keys")).unwrap();
    bed.new_key(PUBLIC);
    bed.write(&format!("{SECRET}/large"), &vec![b'x'; 32 << 20]);
    let mut config = bed.config();
    config.metrics = Some(([127, 0, 0, 1], 0).into());
    let server = HttpServer::bind(config, |_| {}).await.unwrap();
    let (address, metrics) = (server.addresses()[0], server.metrics_address().unwrap());
    let handle = server.handle();
    let task = tokio::spawn(server.run());
    let url = format!("https://{SECRET}/");
    for client in [
        bed.client(address),
        bed.client(address).ech_config(stale.clone()),
        bed.client_in(EchMode::Off, address),
        bed.client_in(EchMode::Grease, address),
    ] {
        let client = client.build().unwrap();
        client
            .get(&url)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
    // A client that tells of the rejection and does not come again.
    let client = bed
        .client(address)
        .ech_config(stale)
        .retry(false)
        .build()
        .unwrap();
    assert!(client.get(&url).send().await.is_err());
    // One that is no client.
    let mut noise = tokio::net::TcpStream::connect(address).await.unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();

    let wanted = [
        "ech_handshakes_total{ech=\"accepted\"} 2",
        "ech_handshakes_total{ech=\"rejected\"} 3",
        "ech_handshakes_total{ech=\"not_offered\"} 1",
        "ech_rejected_total{reason=\"",
        "ech_required_alerts_total 2",
        "ech_handshake_failures_total{at=\"hello\"} 1",
        "ech_keys 1",
        "state=\"published\"} ",
        "ech_handshake_seconds_count ",
    ];
    let mut text = String::new();
    let seen = async {
        loop {
            text = ask(metrics, "/metrics").await.1;
            if wanted.iter().all(|line| text.contains(line)) {
                break;
            }
        }
    };
    let all = tokio::time::timeout(PATIENCE, seen).await;
    assert!(all.is_ok(), "{text}");
    assert!(
        text.contains("ech_requests_total{http=\"2\",status=\"2xx\"} 4"),
        "{text}"
    );
    assert!(!contains(text.as_bytes(), SECRET), "{text}");
    assert!(text.ends_with("# EOF\n"));

    assert_eq!(ask(metrics, "/health").await.0, 200);
    assert_eq!(ask(metrics, "/other").await.0, 404);
    // A response that is being sent holds the end up, and health says so.
    let mut held = bed.stream(address, SECRET, b"http/1.1").await;
    let request = format!("GET /large HTTP/1.1\r\nHost: {SECRET}\r\n\r\n");
    held.write_all(request.as_bytes()).await.unwrap();
    held.read_exact(&mut [0; 1000]).await.unwrap();
    handle.stop();
    assert_eq!(ask(metrics, "/health").await.0, 503);
    drop(held);
    task.await.unwrap();
}

/// Asks over plain HTTP/1.1.
async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let client = Client::builder().ech(EchMode::Off).build().unwrap();
    let mut response = client
        .get(&format!("http://{address}{path}"))
        .send()
        .await
        .unwrap();
    let text = response.bytes().await.unwrap();
    (
        response.status().as_u16(),
        String::from_utf8(text.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn zone_factories_are_told_the_published_list() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.origin_svcb = Some(Duration::from_secs(3600));
    config.sites[1].content = SiteContent::Status;
    let server = start(config).await;
    let ask = |name: &'static str| {
        let client = bed.client_in(EchMode::Off, server.address).build().unwrap();
        async move {
            let url = format!("https://{name}/.well-known/origin-svcb");
            let mut response = client.get(&url).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["content-type"], "application/json");
            let text = response.bytes().await.unwrap();
            serde_json::from_slice::<Value>(&text).unwrap()
        }
    };
    let told = ask(SECRET).await;
    let expected = serde_json::json!({
        "regeninterval": 3600,
        "endpoints": [{
            "priority": 1,
            "params": { "alpn": ["h2"], "ech": bed.list().to_base64() }
        }],
    });
    assert_eq!(told, expected);
    let public = ask(PUBLIC).await;
    assert!(
        public["endpoints"][0]["params"].get("ech").is_none(),
        "{public}"
    );

    // After a rotation it is the new one.
    bed.new_key(PUBLIC);
    server
        .events
        .wait(|event| matches!(event, ServeEvent::KeysLoaded { .. }))
        .await;
    let told = ask(SECRET).await;
    assert_eq!(
        told["endpoints"][0]["params"]["ech"],
        bed.list().to_base64()
    );
    let keys = KeyDirectory::open(bed.path("keys"))
        .unwrap()
        .load()
        .unwrap();
    assert_eq!(keys.keys().len(), 2);
}

#[test]
fn the_file_has_logs_metrics_user_and_interval() {
    let text = "keys = \"k\"\nuser = \"nobody\"\n[access_log]\nfile = \"a.log\"\nformat = \"json\"\n\
                inner_names = true\n[metrics]\nlisten = \"127.0.0.1:9100\"\n[origin_svcb]\n\
                regeninterval = \"1h\"\n[[site]]\nnames = [\"a.example\"]\ncertificate = \"c\"\n\
                status = true\n";
    let config = ServeConfig::from_toml(Path::new("/etc/ech/serve.toml"), text).unwrap();
    let log = config.access_log.unwrap();
    assert_eq!(log.file, Path::new("/etc/ech/a.log"));
    assert_eq!((log.format, log.inner_names), (AccessLogFormat::Json, true));
    assert_eq!(config.metrics, Some(([127, 0, 0, 1], 9100).into()));
    assert_eq!(config.origin_svcb, Some(Duration::from_secs(3600)));
    assert_eq!(config.user.as_deref(), Some("nobody"));
    let bad = text
        .replace("json", "xml")
        .replace("\"1h\"", "\"1w\"")
        .replace("listen", "at");
    let wrong = ServeConfig::from_toml(Path::new("s.toml"), &bad)
        .unwrap_err()
        .to_string();
    for line in [
        "s.toml:5: access_log.format: \"xml\" is not a format",
        "s.toml:7: metrics.listen: give one address",
        "s.toml:8: metrics.at: there is no such key",
        "s.toml:10: origin_svcb.regeninterval: \"1w\" is not a time",
    ] {
        assert!(wrong.contains(line), "{line:?} is not in:\n{wrong}");
    }
}
