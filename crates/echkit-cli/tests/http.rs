//! `ech get` against a server in the clear that answers oddly: bodies, names of files, headers.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use async_compression::tokio::write::GzipEncoder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

mod bed;

/// More than `--json` holds.
const BOMB: usize = 80 * 1024 * 1024;

/// Starts the server; gives its address.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|part| part == b"\r\n\r\n") {
                    if tcp.read_buf(&mut head).await.unwrap() == 0 {
                        return;
                    }
                }
                let (head, body) = answer(&String::from_utf8(head).unwrap()).await;
                let length = body.len();
                let head = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
                // The client may have seen enough.
                let _ = tcp.write_all(&[head.as_bytes(), &body].concat()).await;
            });
        }
    });
    address
}

async fn answer(request: &str) -> (String, Vec<u8>) {
    let ok = "HTTP/1.1 200 OK\r\n";
    let gzip = format!("{ok}Content-Encoding: gzip\r\n");
    match request.split(' ').nth(1).unwrap() {
        "/garbage" => (gzip, b"this was never compressed".to_vec()),
        "/short" => {
            let mut body = compressed(&[7; 10_000]).await;
            body.truncate(body.len() / 2);
            (gzip, body)
        }
        "/good" => (gzip, compressed(b"hello").await),
        "/bomb" => (gzip, compressed(&vec![0; BOMB]).await),
        "/wanted.txt" => (
            "HTTP/1.1 302 Found\r\nLocation: /.bashrc\r\n".to_owned(),
            vec![],
        ),
        _ => (ok.to_owned(), request.as_bytes().to_vec()),
    }
}

async fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn get(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = bed::command();
    command
        .arg("get")
        .args(arguments)
        .current_dir(folder)
        .env("no_proxy", "*");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_decompress_ends_with_61_and_does_not_blame_the_output() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    for path in ["garbage", "short"] {
        let url = format!("http://{server}/{path}");
        for more in [
            &["--compressed"][..],
            &["--compressed", "--json"],
            &["--compressed", "-O"],
        ] {
            let ended = get(folder.path(), &[&[&*url], more].concat()).await;
            assert_eq!(ended.code, 61, "{path} {more:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("decompress"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("stdout"), "{}", ended.stderr);
        }
    }
    let url = format!("http://{server}/good");
    let ended = get(folder.path(), &[&url, "--compressed"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_holds_a_bounded_body_and_a_file_takes_more() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{server}/bomb");
    let ended = get(folder.path(), &[&url, "--compressed", "--json"]).await;
    assert_eq!(ended.code, 63, "{}", ended.stderr);
    assert!(ended.stderr.contains("-o"), "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "body_too_large");
    assert_eq!(document["http"]["status"], 200);
    let ended = get(folder.path(), &[&url, "--compressed", "--json", "-O"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let written = std::fs::metadata(folder.path().join("bomb")).unwrap();
    assert_eq!(written.len(), BOMB as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_given_names_the_file_and_no_redirect_does() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{server}/wanted.txt?x=/y");
    let ended = get(folder.path(), &["-L", "-O", &url.replace("?x=/y", "")]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["wanted.txt"]);
    let ended = get(folder.path(), &["-O", &format!("http://{server}/")]).await;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_added_emptied_and_left_out_as_curl_does() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{server}/echo");
    let more = [
        "-H",
        "Accept:",
        "-H",
        "User-Agent: me",
        "-H",
        "X-Empty;",
        "-H",
        "Host: virtual.test",
        "-H",
        "Content-Type:",
        "-H",
        "X-Gone:",
        "-d",
        "x",
    ];
    let ended = get(folder.path(), &[&[&*url], &more[..]].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let head = ended.stdout.to_ascii_lowercase();
    for sent in [
        "\r\nuser-agent: me\r\n",
        "\r\nx-empty: \r\n",
        "\r\nhost: virtual.test\r\n",
    ] {
        assert!(head.contains(sent), "{sent:?} in {head}");
    }
    for left_out in ["accept", "content-type", "x-gone"] {
        assert!(!head.contains(left_out), "{left_out} in {head}");
    }
    for refused in ["no colon", "Host:", "a b: c"] {
        let ended = get(folder.path(), &[&url, "-H", refused]).await;
        assert_eq!(ended.code, 2, "{refused}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_the_url_are_sent_and_not_shown() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://user:s3cret@{server}/echo");
    let ended = get(folder.path(), &[&url]).await;
    let head = ended.stdout.to_ascii_lowercase();
    assert!(
        head.contains("authorization: basic dxnlcjpzm2nyzxq="),
        "{head}"
    );
    let report = ["-v", "--report", "report.json", "-o", "body"];
    let ended = get(folder.path(), &[&[&*url], &report[..]].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(!format!("{report}{}{}", ended.stdout, ended.stderr).contains("s3cret"));
    for url in [
        "https://user:s3cret@127.0.0.1:1/".to_owned(),
        "https://user:s3cret@a b/".to_owned(),
        "ftp://user:s3cret@a.test/".to_owned(),
        format!("{url} x"),
    ] {
        let ended = get(folder.path(), &["--json", "-v", &url, "--ech", "require"]).await;
        assert_ne!(ended.code, 0, "{url}");
        assert!(
            !format!("{}{}", ended.stdout, ended.stderr).contains("s3cret"),
            "{url}"
        );
    }
}
