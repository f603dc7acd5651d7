//! `ech get` with curl's flags, against a server in the clear that says what it was asked.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const WHOLE: &str = "0123456789";

/// Starts the server; gives its address.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if tcp.read_buf(&mut request).await.unwrap() == 0 {
                        return;
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let (head, body) = answer(&request, &asked);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = tcp.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// Whether the body is as long as announced.
fn is_whole(request: &[u8]) -> bool {
    let Some(start) = request.windows(4).position(|part| part == b"\r\n\r\n") else {
        return false;
    };
    let start = start + 4;
    let length = String::from_utf8_lossy(&request[..start]).to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).map_or(0, |rest| {
        rest.split("\r\n").next().unwrap().parse().unwrap()
    });
    request.len() - start >= length
}

fn answer(request: &str, asked: &AtomicUsize) -> (String, String) {
    let path = request.split(' ').nth(1).unwrap();
    let offset = request
        .to_ascii_lowercase()
        .split("range: bytes=")
        .nth(1)
        .map(|rest| rest.split('-').next().unwrap().parse::<usize>().unwrap());
    match (path, offset) {
        ("/length", _) => {
            let body = request.split_once("\r\n\r\n").unwrap().1;
            ("200 OK".into(), body.len().to_string())
        }
        ("/missing", _) => ("404 Not Found".into(), "no such page".into()),
        ("/busy", _) if asked.fetch_add(1, Ordering::Relaxed) < 2 => {
            ("503 Busy\r\nRetry-After: 0".into(), "later".into())
        }
        ("/busy", _) => ("200 OK".into(), "served".into()),
        ("/in-an-age", _) => ("503 Busy\r\nRetry-After: 86400".into(), "later".into()),
        ("/away", _) => (
            "302 Found\r\nLocation: http://u:s3cret@127.0.0.1:1/".into(),
            String::new(),
        ),
        ("/later", _) => ("503 Busy".into(), "later".into()),
        ("/ranges", Some(offset)) if offset < WHOLE.len() => {
            let last = WHOLE.len() - 1;
            let range = format!("Content-Range: bytes {offset}-{last}/{}", WHOLE.len());
            (
                format!("206 Partial Content\r\n{range}"),
                WHOLE[offset..].into(),
            )
        }
        ("/ranges", Some(_)) => {
            let range = format!("Content-Range: bytes */{}", WHOLE.len());
            (format!("416 Too far\r\n{range}"), String::new())
        }
        ("/ranges" | "/no-ranges", _) => ("200 OK".into(), WHOLE.into()),
        ("/set", _) => (
            "302 Found\r\nLocation: /echo\r\nSet-Cookie: id=s3cret; Path=/\r\n\
             Set-Cookie: other=1; Path=/elsewhere"
                .into(),
            String::new(),
        ),
        _ => (
            "200 OK\r\nContent-Type: text/plain\r\nX-Two: 2".into(),
            request.into(),
        ),
    }
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn ech(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("ECHKIT_DNS")
        .env_remove("ECHKIT_DDR")
        .env("no_proxy", "*")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

struct Bed {
    server: String,
    folder: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        Self {
            server: server().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn get(&self, path: &str, arguments: &[&str]) -> Ended {
        let url = format!("http://{}{path}", self.server);
        ech(self.folder.path(), &[&["get", &*url], arguments].concat()).await
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_ends_with_22_without_the_body_or_with_it() {
    let bed = Bed::new().await;
    let plain = bed.get("/missing", &[]).await;
    assert_eq!((plain.code, plain.stdout.as_str()), (0, "no such page"));
    let failed = bed.get("/missing", &["-f", "-o", "file"]).await;
    assert_eq!((failed.code, failed.stdout.as_str()), (22, ""));
    assert!(failed.stderr.contains("404"), "{}", failed.stderr);
    assert!(!bed.folder.path().join("file").exists());
    let failed = bed.get("/missing", &["--fail-with-body"]).await;
    assert_eq!((failed.code, failed.stdout.as_str()), (22, "no such page"));
    assert_eq!(bed.get("/echo", &["-f"]).await.code, 0);
    let failed = bed.get("/missing", &["-f", "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "status");
    assert_eq!(document["http"]["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_agent_and_referer_are_sent_and_credentials_not_shown() {
    let bed = Bed::new().await;
    let flags = [
        "-u",
        "user:s3cret",
        "-A",
        "me/1",
        "-e",
        "https://from.test/",
    ];
    let ended = bed.get("/echo", &flags).await;
    let head = ended.stdout.to_ascii_lowercase();
    for line in [
        "authorization: basic dxnlcjpzm2nyzxq=",
        "user-agent: me/1",
        "referer: https://from.test/",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    let head = bed
        .get("/echo", &["-A", ""])
        .await
        .stdout
        .to_ascii_lowercase();
    assert!(!head.contains("user-agent"), "{head}");
    let more = ["-v", "-b", "c=s3cret", "-o", "body", "--report", "report"];
    let told = bed.get("/echo", &[&flags[..], &more].concat()).await;
    assert!(
        told.stderr.contains("> authorization: (not shown)"),
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.contains("> cookie: (not shown)"),
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.contains("< content-type: text/plain"),
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.contains("> GET /echo HTTP/1.1"),
        "{}",
        told.stderr
    );
    let shown = format!("{}{}{}", told.stdout, told.stderr, bed.read("report"));
    assert!(
        !shown.contains("s3cret") && !shown.contains("dXNlcjp"),
        "{shown}"
    );
    let away = bed.get("/away", &["-v"]).await;
    assert!(
        away.stderr.contains("< location: http://127.0.0.1:1/"),
        "{}",
        away.stderr
    );
    assert!(!away.stderr.contains("s3cret"), "{}", away.stderr);
    for header in ["Authorization s3cret", "Bad name: s3cret", "X: s3cret\u{1}"] {
        let refused = bed.get("/echo", &["-H", header]).await;
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        let name = &header[..header.find([' ', ':']).unwrap()];
        assert!(refused.stderr.contains(name), "{}", refused.stderr);
        assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
    }
    let refused = bed.get("/echo", &["-u", "user"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_posted_or_put_into_the_query_in_the_order_given() {
    let bed = Bed::new().await;
    bed.write("lines", "a\r\nb\n");
    let flags = [
        "--data-urlencode",
        "n=x y",
        "-d",
        "@lines",
        "--data-raw",
        "@raw",
        "--data-binary",
        "@lines",
    ];
    let posted = bed.get("/echo", &flags).await.stdout;
    assert!(posted.starts_with("POST /echo "), "{posted}");
    assert!(
        posted.ends_with("\r\n\r\nn=x%20y&ab&@raw&a\r\nb\n"),
        "{posted}"
    );
    let asked = bed
        .get(
            "/echo?q=1#part",
            &["-G", "-d", "a=1", "--data-urlencode", "b=ü"],
        )
        .await
        .stdout;
    assert!(
        asked.starts_with("GET /echo?q=1&a=1&b=%C3%BC HTTP"),
        "{asked}"
    );
    assert!(
        !asked.to_ascii_lowercase().contains("content-type"),
        "{asked}"
    );
    // Larger than what is held in memory; -d leaves out zeros as well.
    let zeros = std::fs::File::create(bed.folder.path().join("large")).unwrap();
    zeros.set_len(20 << 20).unwrap();
    let lines = "0123456789abcd\r\n".repeat((20 << 20) / 16);
    bed.write("lines", &lines);
    for (flag, length) in [("--data-binary", 20 << 20), ("-d", (20 << 20) / 16 * 14)] {
        let ended = bed
            .get("/length", &[flag, "@lines", "-w", " %{size_upload}"])
            .await;
        let expected = format!("{length} {length}");
        assert_eq!(
            (ended.code, ended.stdout),
            (0, expected),
            "{}",
            ended.stderr
        );
    }
    let ended = bed.get("/length", &["-d", "@large"]).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "0"), "{}", ended.stderr);
    let refused = bed.get("/echo", &["--data-urlencode", "@large"]).await;
    assert_eq!(refused.code, 26, "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_multipart_with_text_and_files() {
    let bed = Bed::new().await;
    bed.write("note.txt", "from a file");
    let ended = bed
        .get(
            "/echo",
            &[
                "-F",
                "a=1;2",
                "-F",
                "f=@note.txt",
                "-F",
                "g=<note.txt;type=text/x",
                "-F",
                "h=@note.txt;filename=\"n\";type=image/png",
                "--form-string",
                "s=@;type=x",
            ],
        )
        .await;
    let text = ended.stdout;
    assert!(text.starts_with("POST "), "{text}");
    let boundary = text.split("boundary=").nth(1).unwrap();
    let boundary = boundary.split("\r\n").next().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let d = "Content-Disposition: form-data; name=";
    let expected = format!(
        "--{boundary}\r\n{d}\"a\"\r\n\r\n1;2\r\n\
         --{boundary}\r\n{d}\"f\"; filename=\"note.txt\"\r\nContent-Type: text/plain\r\n\r\nfrom a file\r\n\
         --{boundary}\r\n{d}\"g\"\r\nContent-Type: text/x\r\n\r\nfrom a file\r\n\
         --{boundary}\r\n{d}\"h\"; filename=\"n\"\r\nContent-Type: image/png\r\n\r\nfrom a file\r\n\
         --{boundary}\r\n{d}\"s\"\r\n\r\n@;type=x\r\n--{boundary}--\r\n"
    );
    assert_eq!(body, expected);
    for refused in [
        &["-F", "secret"][..],
        &["-F", "a=@/nonexistent"],
        &["-F", "a=1", "-d", "b"],
    ] {
        assert_ne!(bed.get("/echo", refused).await.code, 0, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_gone_on_with_where_the_server_can() {
    let bed = Bed::new().await;
    for have in ["", "0123", WHOLE] {
        bed.write("file", have);
        let ended = bed.get("/ranges", &["-C", "-", "-o", "file"]).await;
        assert_eq!(ended.code, 0, "{have:?}: {}", ended.stderr);
        assert_eq!(bed.read("file"), WHOLE, "{have:?}");
    }
    for (path, have) in [
        ("/no-ranges", "0123"),
        ("/ranges", "more than the server has"),
        ("/missing", "01"),
    ] {
        bed.write("file", have);
        let ended = bed.get(path, &["-C", "-", "-o", "file"]).await;
        assert_eq!(ended.code, 33, "{path}: {}", ended.stderr);
        assert_eq!(bed.read("file"), have, "{path}");
    }
    let ended = bed.get("/ranges", &["-C", "7"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "789"));
    assert_eq!(bed.get("/ranges", &["-C", "-"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_kept_in_curls_file_and_sent_where_they_belong() {
    let bed = Bed::new().await;
    let flags = ["-b", "jar", "-c", "jar"];
    let ended = bed
        .get("/set", &[&flags[..], &["-L", "-b", "given=1;"]].concat())
        .await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let cookie = |text: &str| {
        let text = text.to_ascii_lowercase();
        let line = text.split("\r\ncookie: ").nth(1).map(str::to_owned);
        line.map(|line| line.split("\r\n").next().unwrap().to_owned())
    };
    assert_eq!(cookie(&ended.stdout).unwrap(), "given=1; id=s3cret");
    assert!(
        bed.read("jar")
            .contains("127.0.0.1\tFALSE\t/\tFALSE\t0\tid\ts3cret")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(bed.folder.path().join("jar")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let again = bed.get("/echo", &["-b", "jar"]).await;
    assert_eq!(cookie(&again.stdout).unwrap(), "id=s3cret");
    let junked = bed.get("/echo", &["-b", "jar", "-j"]).await;
    assert_eq!(cookie(&junked.stdout), None);
    let without = bed.get("/set", &["-L"]).await;
    assert_eq!(cookie(&without.stdout), None);
    bed.write("broken", "s3cret line\n");
    let broken = ["-b", "broken", "-b", "session=s3cret"];
    let broken = bed.get("/echo", &broken).await;
    assert!(broken.stderr.contains("-b broken:"), "{}", broken.stderr);
    assert_eq!(broken.code, 26, "{}", broken.stderr);
    assert!(!broken.stderr.contains("s3cret"), "{}", broken.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jar_that_cannot_be_written_does_not_hide_how_the_fetch_ended() {
    let bed = Bed::new().await;
    let jar = ["-c", "no-folder/jar"];
    let failed = bed.get("/missing", &[&jar[..], &["-f"]].concat()).await;
    assert_eq!(failed.code, 22, "{}", failed.stderr);
    assert!(failed.stderr.contains("warning: "), "{}", failed.stderr);
    assert!(failed.stderr.contains("no-folder/jar"), "{}", failed.stderr);
    let unkept = bed.get("/echo", &jar).await;
    assert_eq!(unkept.code, 23, "{}", unkept.stderr);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_jar_that_others_could_read_becomes_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new().await;
    bed.write("jar", "");
    let path = bed.folder.path().join("jar");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = bed.get("/set", &["-c", "jar"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(bed.read("jar").contains("s3cret"));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_as_often_as_asked() {
    let bed = Bed::new().await;
    let gave_up = bed
        .get("/busy", &["--retry", "1", "--retry-delay", "0.01", "-f"])
        .await;
    assert_eq!(gave_up.code, 22, "{}", gave_up.stderr);
    assert_eq!(
        gave_up.stderr.matches("trying again").count(),
        1,
        "{}",
        gave_up.stderr
    );
    let bed = Bed::new().await;
    let served = bed.get("/busy", &["--retry", "5", "-f", "-s"]).await;
    assert_eq!((served.code, served.stdout.as_str()), (0, "served"));
    assert_eq!(served.stderr, "");
    let bed = Bed::new().await;
    let flags = [
        "--retry",
        "5",
        "--retry-delay",
        "60",
        "--retry-max-time",
        "30",
    ];
    let late = bed.get("/later", &[&flags[..], &["-f"]].concat()).await;
    assert_eq!(late.code, 22, "{}", late.stderr);
    assert!(!late.stderr.contains("again"), "{}", late.stderr);
    // A server does not say how long the command runs.
    let age = bed.get("/in-an-age", &["--retry", "5", "-f"]).await;
    assert_eq!(age.code, 22, "{}", age.stderr);
    assert!(age.stderr.contains("not trying again"), "{}", age.stderr);
    let missing = bed.get("/missing", &["--retry", "5", "-f"]).await;
    assert_eq!(missing.code, 22);
    assert!(!missing.stderr.contains("again"), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn write_out_prints_curls_variables_and_what_ech_came_to() {
    let bed = Bed::new().await;
    let format = "%{stderr}%{http_code}|%{http_version}|%{size_download}|%{url_effective}|\
                  %{content_type}|%header{x-two}|%{num_redirects}|%{remote_ip}|%{ech_status}|\
                  %{exitcode}|100%%\\n";
    let ended = bed.get("/ranges", &["-w", format]).await;
    assert_eq!(ended.stdout, WHOLE);
    let url = format!("http://{}/ranges", bed.server);
    let expected = format!("200|1.1|10|{url}|||0|127.0.0.1|not_offered|0|100%\n");
    assert_eq!(ended.stderr, expected);
    let ended = bed
        .get(
            "/echo",
            &["-w", "%{content_type} %header{X-Two}%{nonesuch}", "-o", "x"],
        )
        .await;
    assert_eq!(ended.stdout, "text/plain 2");
    assert!(ended.stderr.contains("nonesuch"), "{}", ended.stderr);
    let failed = ech(
        bed.folder.path(),
        &[
            "get",
            "http://127.0.0.1:1/",
            "-w",
            "%{http_code} %{exitcode}",
            "-s",
        ],
    )
    .await;
    assert_eq!((failed.code, failed.stdout.as_str()), (7, "000 7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dash_as_the_file_is_stdout() {
    let bed = Bed::new().await;
    let ended = bed.get("/ranges", &["-o", "-"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, WHOLE));
    assert!(!bed.folder.path().join("-").exists());
    assert_eq!(
        bed.get("/ranges", &["-o", "-", "--report", "-"]).await.code,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (
            &["https://user:s3cret@site.test/"][..],
            "ech get https://site.test/",
        ),
        (&["site.test"], "ech get site.test"),
        (&["-v", "https://site.test/"], "ech get https://site.test/"),
        (
            &["get", "--doh-url", "https://d.test/", "site.test"],
            "--dns",
        ),
        (&["get", "-T", "file", "site.test"], "--data-binary"),
        (&["get", "--http3", "site.test"], "HTTP/2"),
        (&["get", "--cert=file", "site.test"], "client_certificate"),
        (&["get", "--nonesuch", "site.test"], "--nonesuch"),
        (&["nonesuch"], "nonesuch"),
    ] {
        let ended = ech(folder.path(), arguments).await;
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}
