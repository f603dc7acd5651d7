//! The HTTPS server: sites behind ECH, files, versions of HTTP, reload, the end.
#![allow(clippy::unwrap_used)]

mod serve_bed;

use std::net::SocketAddr;
use std::time::Duration;

use echkit::http::HttpVersions;
use echkit::{Client, EchMode};
use echkit_server::serve::{HttpServer, ServeConfig, ServeEvent, SiteContent};
use echkit_test::lab::Relay;
use hyper::{StatusCode, Version};
use serve_bed::{Bed, OTHER, PUBLIC, SECRET, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn each_name_has_its_site_over_both_versions_and_the_network_sees_the_public_name() {
    let bed = Bed::new();
    let server = start(bed.config()).await;
    let relay = Relay::to(server.address).await;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let client = bed.client(relay.address).http(versions).build().unwrap();
        for name in [SECRET, OTHER] {
            let url = format!("https://{name}/");
            let mut response = client.get(&url).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let expected = match versions {
                HttpVersions::Http1 => Version::HTTP_11,
                _ => Version::HTTP_2,
            };
            assert_eq!(response.version(), expected);
            assert_eq!(response.headers()["content-type"], "text/html");
            assert_eq!(response.bytes().await.unwrap(), format!("<p>{name}"));
        }
    }
    relay.assert_hidden(SECRET);
    relay.assert_hidden(OTHER);
    assert!(relay.shows(PUBLIC));
}

#[tokio::test]
async fn clients_without_ech_get_the_site_that_they_name() {
    let bed = Bed::new();
    let server = start(bed.config()).await;
    for mode in [EchMode::Off, EchMode::Grease] {
        let client = client_in(&bed, mode, server.address);
        for name in [PUBLIC, SECRET] {
            let mut response = client
                .get(&format!("https://{name}/"))
                .send()
                .await
                .unwrap();
            assert_eq!(response.bytes().await.unwrap(), format!("<p>{name}"));
        }
    }
    let mut config = bed.config();
    config.public_name_only = true;
    let server = start(config).await;
    let client = client_in(&bed, EchMode::Off, server.address);
    let response = client
        .get(&format!("https://{PUBLIC}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        client
            .get(&format!("https://{SECRET}/"))
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_stale_key_is_answered_with_configs_that_work() {
    let bed = Bed::new();
    let old = bed.list();
    std::fs::remove_dir_all(bed.path("keys")).unwrap();
    bed.new_key(PUBLIC);
    let server = start(bed.config()).await;
    let relay = Relay::to(server.address).await;
    let client = bed.client(relay.address).ech_config(old).build().unwrap();
    let mut response = client
        .get(&format!("https://{SECRET}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.bytes().await.unwrap(), format!("<p>{SECRET}"));
    assert_eq!(response.report().attempts.len(), 2);
    relay.assert_hidden(SECRET);
}

#[tokio::test]
async fn a_connection_is_for_the_site_of_its_handshake_alone() {
    let bed = Bed::new();
    // One certificate for all, so that a client could take a connection for another site's.
    let file = bed.certify("all", &[SECRET, OTHER, PUBLIC]);
    let mut config = bed.config();
    for site in &mut config.sites {
        site.certificate.clone_from(&file);
        site.key.clone_from(&file);
    }
    let server = start(config).await;
    for (host, status) in [
        (SECRET.to_owned(), "200"),
        (format!("{SECRET}:443"), "200"),
        (format!("{SECRET}."), "200"),
        (SECRET.to_uppercase(), "200"),
        (OTHER.to_owned(), "421"),
        ("no-such.example".to_owned(), "421"),
        (format!("user@{SECRET}"), "400"),
        (format!("{SECRET}/x"), "400"),
        (String::new(), "400"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = bed.raw(server.address, SECRET, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {answer}"
        );
    }
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            "400",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {SECRET}\r\nHost: {SECRET}\r\nConnection: close\r\n\r\n"
            ),
            "400",
        ),
        (
            format!("GET https://{SECRET}/ HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\n\r\n"),
            "400",
        ),
        (
            format!(
                "GET https://{SECRET}/ HTTP/1.1\r\nHost: {SECRET}\r\nConnection: close\r\n\r\n"
            ),
            "200",
        ),
    ] {
        let answer = bed.raw(server.address, SECRET, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn the_status_page_tells_what_became_of_ech() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.status_page = true;
    config.sites[1].content = SiteContent::Status;
    let server = start(config).await;
    let url = format!("https://{SECRET}/ech-status?format=json");
    for (mode, word) in [
        (EchMode::Require, "accepted"),
        (EchMode::Grease, "rejected"),
        (EchMode::Off, "not_offered"),
    ] {
        let client = client_in(&bed, mode, server.address);
        let mut response = client.get(&url).send().await.unwrap();
        let text = response.bytes().await.unwrap();
        let page: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(page["ech"], word);
        assert_eq!(page["site"], SECRET);
        let outer = match mode {
            EchMode::Require => PUBLIC,
            _ => SECRET,
        };
        assert_eq!(page["outer_sni"], outer);
        let mut response = client
            .get(&format!("https://{OTHER}/"))
            .send()
            .await
            .unwrap();
        let text = response.bytes().await.unwrap();
        assert!(text.starts_with(b"<!doctype html>"));
    }
}

#[tokio::test]
async fn a_reload_serves_new_files_and_a_bad_one_changes_nothing() {
    let bed = Bed::new();
    let server = start(bed.config()).await;
    let client = bed.client(server.address).build().unwrap();
    let url = format!("https://{SECRET}/");

    let mut bad = bed.config();
    bad.sites[0].certificate = bed.path("missing.pem");
    bad.sites[2].names = vec!["elsewhere.example".to_owned()];
    server.handle.reload(Ok(bad)).await;
    let failed = server
        .events
        .wait(|event| matches!(event, ServeEvent::ReloadFailed(_)))
        .await;
    let lines = failed.to_string();
    assert!(lines.contains("missing.pem: "), "{lines}");
    assert!(
        lines.contains(&format!("no site has the public name {PUBLIC}")),
        "{lines}"
    );
    assert!(
        lines.contains("does not cover elsewhere.example"),
        "{lines}"
    );
    let mut response = client.get(&url).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), format!("<p>{SECRET}"));

    bed.write("new/index.html", b"new");
    let mut good = bed.config();
    good.sites[0].content = SiteContent::Files(bed.path("new"));
    server.handle.reload(Ok(good)).await;
    server
        .events
        .wait(|event| *event == ServeEvent::Reloaded)
        .await;
    // On the connection that was there too.
    let mut response = client.get(&url).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), "new");

    let mut moved = bed.config();
    moved.listen = vec![([127, 0, 0, 1], 1).into()];
    server.events.clear();
    server.handle.reload(Ok(moved)).await;
    let failed = server
        .events
        .wait(|event| matches!(event, ServeEvent::ReloadFailed(_)))
        .await;
    assert!(failed.to_string().contains("restart"), "{failed}");
}

#[tokio::test]
async fn renewed_certificates_and_new_keys_are_taken_without_a_word() {
    let bed = Bed::new();
    let server = start(bed.config()).await;
    let shown = || async {
        let stream = bed.stream(server.address, SECRET, b"http/1.1").await;
        stream.peer_certificates().unwrap()[0].clone()
    };
    let before = shown().await;
    bed.new_key(PUBLIC);
    server
        .events
        .wait(|event| matches!(event, ServeEvent::KeysLoaded { keys: 2 }))
        .await;
    assert_eq!(shown().await, before);
    bed.certify(SECRET, &[SECRET]);
    server
        .events
        .wait(|event| *event == ServeEvent::Reloaded)
        .await;
    assert_ne!(shown().await, before);
}

#[tokio::test]
async fn what_has_begun_is_finished_when_the_server_stops() {
    let bed = Bed::new();
    bed.write(&format!("{SECRET}/large"), &vec![b'x'; 8 << 20]);
    let server = start(bed.config()).await;
    let mut idle = bed.stream(server.address, SECRET, b"http/1.1").await;
    let mut busy = bed.stream(server.address, SECRET, b"http/1.1").await;
    let request = format!("GET /large HTTP/1.1\r\nHost: {SECRET}\r\n\r\n");
    busy.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1000];
    busy.read_exact(&mut first).await.unwrap();

    server.handle.stop();
    server
        .events
        .wait(|event| matches!(event, ServeEvent::Draining { .. }))
        .await;
    // A connection without a request ends at once, and no other is taken.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(
        tokio::net::TcpStream::connect(server.address)
            .await
            .is_err()
    );
    busy.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > (8 << 20) - 1000);
    server.task.await.unwrap();
    server
        .events
        .wait(|event| *event == ServeEvent::Stopped { cut: 0 })
        .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_when_the_time_to_stop_is_over() {
    let bed = Bed::new();
    bed.write(&format!("{SECRET}/large"), &vec![b'x'; 32 << 20]);
    let mut config = bed.config();
    config.limits.drain_time = Duration::from_millis(10);
    let server = start(config).await;
    let mut stuck = bed.stream(server.address, SECRET, b"http/1.1").await;
    let request = format!("GET /large HTTP/1.1\r\nHost: {SECRET}\r\n\r\n");
    stuck.write_all(request.as_bytes()).await.unwrap();
    stuck.read_exact(&mut [0; 1000]).await.unwrap();
    server.handle.stop();
    server.task.await.unwrap();
    server
        .events
        .wait(|event| *event == ServeEvent::Stopped { cut: 1 })
        .await;
}

#[tokio::test]
async fn flights_of_sites_of_one_key_have_one_length() {
    let bed = Bed::new();
    let many: Vec<String> = (0..20)
        .map(|n| format!("name-number-{n}.{OTHER}"))
        .collect();
    let names: Vec<&str> = [OTHER]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    bed.certify(OTHER, &names);
    let server = start(bed.config()).await;
    let mut lens = Vec::new();
    for name in [SECRET, OTHER] {
        let recorder = echkit::wire::WireRecorder::default();
        let client = bed
            .client(server.address)
            .record(recorder.clone())
            .build()
            .unwrap();
        client
            .get(&format!("https://{name}/"))
            .send()
            .await
            .unwrap();
        lens.push(first_flight(&recorder));
    }
    assert_eq!(lens[0], lens[1]);
    // Without padding they differ by more than the names: it is what makes them equal.
    assert!(lens[0].iter().any(|len| *len > 2_000), "{lens:?}");
}

/// A client in this mode.
fn client_in(bed: &Bed, mode: EchMode, address: SocketAddr) -> Client {
    match mode {
        EchMode::Require => bed.client(address).build().unwrap(),
        _ => bed.client_in(mode, address).build().unwrap(),
    }
}

/// The lengths of the records of the server's first flight, up to the first after it.
fn first_flight(recorder: &echkit::wire::WireRecorder) -> Vec<usize> {
    let connections = recorder.connections();
    let bytes = connections[0].received();
    let mut lens = Vec::new();
    let mut rest = &bytes[..];
    while rest.len() >= 5 && lens.len() < 6 {
        let len = 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        lens.push(len);
        rest = rest.get(len..).unwrap_or_default();
    }
    lens
}

#[tokio::test]
async fn all_that_is_wrong_is_said_a_line_each() {
    let bed = Bed::new();
    bed.write("broken.pem", b"nothing");
    bed.write("not-toml", b"keys = ");
    let text = format!(
        "listen = [\"localhost\"]\nkeys = \"nowhere\"\nstatus = true\n[limits]\nhandshakes = 0\n\
         idle_time = \"soon\"\nbogus = 1\n[[site]]\nnames = [\"{SECRET}\"]\n\
         certificate = \"{SECRET}.pem\"\nroot = \"www\"\nproxy = \"http://127.0.0.1\"\n\
         [[site]]\nnames = \"{OTHER}\"\ncertificate = \"broken.pem\"\nstatus = true\n"
    );
    let path = bed.write("serve.toml", text.as_bytes());
    let wrong = ServeConfig::from_file(&path).unwrap_err().to_string();
    let said = |what: &str| assert!(wrong.contains(what), "{what:?} is not in:\n{wrong}");
    said("serve.toml:1: listen: \"localhost\" is not an address");
    said("serve.toml:3: status: there is no such key; known are listen, keys,");
    said("serve.toml:5: limits.handshakes: \"0\" is not a number from 1 on");
    said("serve.toml:6: limits.idle_time: \"soon\" is not a time");
    said("serve.toml:7: limits.bogus: there is no such key");
    said("site 1: serves one thing");
    said("serve.toml:14: site 2.names: invalid type");
    assert_eq!(wrong.lines().count(), 7, "{wrong}");
    let wrong = ServeConfig::from_file(&bed.path("not-toml")).unwrap_err();
    assert!(
        wrong.to_string().contains("not-toml:1: not TOML: "),
        "{wrong}"
    );
    assert_eq!(wrong.to_string().lines().count(), 1, "{wrong}");

    let mut config = bed.config();
    config.keys = bed.path("nowhere");
    config.sites[0].certificate = bed.path("broken.pem");
    config.sites[0].content = SiteContent::Files(bed.path("no-root"));
    config.sites[1].key = bed.path(&format!("{SECRET}.pem"));
    config.sites[2].names = vec![
        SECRET.to_owned(),
        "Upper.example".to_owned(),
        "a b".to_owned(),
    ];
    let wrong = HttpServer::check(config).await.unwrap_err().to_string();
    let said = |what: &str| assert!(wrong.contains(what), "{what:?} is not in:\n{wrong}");
    said("nowhere: ");
    said("broken.pem: holds no certificate in PEM");
    said("no-root: No such file");
    said(&format!("{SECRET}.pem: not the key of"));
    said(&format!("{SECRET}: two sites have this name"));
    said("Upper.example: write names of sites in lower case");
    said("\"a b\" is not a host name");
    let mut remote = bed.config();
    remote.sites[0].content = bed.proxying("http://192.0.2.1:80").sites[0].content.clone();
    let wrong = HttpServer::check(remote).await.unwrap_err().to_string();
    assert!(
        wrong.contains("http://192.0.2.1:80: the backend is not on this machine"),
        "{wrong}"
    );
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_told_and_served() {
    let bed = Bed::new();
    let mut params = rcgen::CertificateParams::new(vec![OTHER.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 4, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let text = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    let file = bed.write("ended.pem", text.as_bytes());
    let mut config = bed.config();
    config.sites[1].certificate.clone_from(&file);
    config.sites[1].key = file;
    let wrong = HttpServer::check(config.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("ended.pem: the certificate ended on Apr  1 "),
        "{wrong}"
    );
    assert_eq!(wrong.lines().count(), 1, "{wrong}");
    let server = start(config).await;
    let warned = server
        .events
        .wait(|event| matches!(event, ServeEvent::Warning(_)))
        .await;
    assert_eq!(warned.to_string(), wrong);
    let client = bed.client(server.address).build().unwrap();
    let url = format!("https://{SECRET}/");
    let response = client.get(&url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_port_in_use_and_an_unreadable_key_are_refused_by_name() {
    let bed = Bed::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = bed.config();
    config.listen = vec![address];
    let wrong = HttpServer::bind(config, |_| {}).await.unwrap_err();
    assert!(
        wrong
            .to_string()
            .starts_with(&format!("{address}: the port is in use; ")),
        "{wrong}"
    );
    let mut config = bed.config();
    config.sites[0].key = bed.path("missing.key");
    let wrong = HttpServer::bind(config, |_| {}).await.unwrap_err();
    assert!(
        wrong.to_string().contains("missing.key: No such file"),
        "{wrong}"
    );
    let mut config = bed.config();
    config.sites.remove(2);
    let wrong = HttpServer::bind(config, |_| {}).await.unwrap_err();
    let expected = format!("keys: no site has the public name {PUBLIC} of these keys; add a site");
    assert!(wrong.to_string().contains(&expected), "{wrong}");
}
