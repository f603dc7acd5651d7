//! The examples of the library, as built, against the testbed. `cargo test --workspace` builds
//! them; by hand, `cargo build -p echkit --examples` does.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use echkit::server::{self, Acceptor, EchKeys, Listener};
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, EchMode};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_testbed::Testbed;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

/// The program of an example, beside this test's folder.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let program = folder.join("examples").join(name);
    assert!(
        program.exists(),
        "not built: cargo build -p echkit --examples"
    );
    program
}

struct Bed {
    testbed: Testbed,
    folder: tempfile::TempDir,
}

impl Bed {
    async fn start() -> Self {
        let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), testbed.ca_pem()).unwrap();
        Self { testbed, folder }
    }

    /// What a client prints; it must end well.
    async fn run(&self, name: &str, dns: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(example(name));
        command
            .args(arguments)
            .env("ECHKIT_DNS", dns)
            .env("SSL_CERT_FILE", self.folder.path().join("ca.pem"))
            .stdin(Stdio::null());
        let output = spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{name} over {dns}: {said}{error}");
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_fetch_a_page_over_ech_with_plain_and_encrypted_dns() {
    let bed = Bed::start().await;
    let url = format!("{}?format=json", bed.testbed.url("nominal").unwrap());
    for dns in [bed.testbed.dns_uri(), bed.testbed.doh_uri()] {
        for (name, said) in [
            ("get", &["200 OK", "ECH accepted", "public.ech.test"][..]),
            ("hyper_client", &["200 OK over HTTP/2", "ECH accepted"]),
            (
                "reqwest_client",
                &["200 OK over HTTP/2", "\"ech\":{\"status\":\"accepted\""],
            ),
            ("own_rustls_config", &["ECH Accepted", "200 OK"]),
        ] {
            let printed = bed.run(name, &dns, &[&url]).await;
            // JSON may be spaced.
            let bare = without_spaces(&printed);
            for part in said {
                let found = bare.contains(&without_spaces(part));
                assert!(found, "{name}: {part:?} in {printed}");
            }
        }
    }
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

/// A gRPC service that sends each message back.
async fn echo(
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/echo.Echo/Say");
    let message = request.into_body().collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tonic_calls_a_service_over_ech() {
    let bed = Bed::start().await;
    let plan = bed.testbed.blueprint("nominal").unwrap();
    let certificate = CertificateDer::from_pem_slice(plan.site.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(plan.site.key.as_bytes()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let keys = EchKeys::new(plan.keys).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bed.testbed
        .hand_over("nominal", tcp.local_addr().unwrap())
        .unwrap();
    let mut listener = Listener::new(tcp, Acceptor::new(Arc::new(config), keys).unwrap());
    tokio::spawn(async move {
        loop {
            let (accepted, _) = listener.accept().await;
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(accepted), service_fn(echo)),
            );
        }
    });
    let url = bed.testbed.url("nominal").unwrap();
    let dns = bed.testbed.dns_uri();
    let printed = bed
        .run("tonic_client", &dns, &[url, "/echo.Echo/Say"])
        .await;
    assert_eq!(printed, "b\"hello\"\n");
}

/// A server that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server; gives what it prints about how to reach it.
fn start(name: &str, folder: &Path) -> (Running, u16, EchConfigList) {
    let mut server = Command::new(example(name))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let server = Running(server);
    let first = lines.next().unwrap().unwrap();
    let second = lines.next().unwrap().unwrap();
    let port = first.split("secret.example:").nth(1).unwrap();
    let port = port.split('/').next().unwrap().parse().unwrap();
    let list = second.split(' ').next_back().unwrap();
    (
        server,
        port,
        EchConfigList::from_bytes_or_text(list).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_accept_ech_as_they_say() {
    for name in ["server_tokio", "server_axum"] {
        let folder = tempfile::tempdir().unwrap();
        let (server, port, list) = start(name, folder.path());
        let said = page_over_ech(port, &folder.path().join("serve.pem"), list).await;
        assert!(said.starts_with("Accepted"), "{name}: {said}");
        assert!(said.contains("public.example"), "{name}: {said}");
        drop(server);
    }
}

/// Fetches the page of a server that listens there, with an offer from this list.
async fn page_over_ech(port: u16, ca_file: &Path, list: EchConfigList) -> String {
    let client = Client::builder()
        .tls(ClientTls::builder().trust(Trust::ca_file(ca_file).unwrap()))
        .ech(EchMode::Require)
        .ech_config(list)
        .connect_to("secret.example", port, "127.0.0.1", port)
        .build()
        .unwrap();
    let url = format!("https://secret.example:{port}/");
    let mut response = client.get(&url).send().await.unwrap();
    response.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_server_serves_with_its_files() {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../echkit/examples/serve_files.rs"
    );
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let source = std::fs::read_to_string(source).unwrap();
    let code = source.split_once("\n\n").unwrap().1;
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(
        readme.contains(&format!("```rust,no_run\n{code}```\n")),
        "README's server is another than examples/serve_files.rs"
    );

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names = ["secret.example".to_owned(), "public.example".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(path("chain.pem"), issued.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    std::fs::create_dir(path("ech-keys")).unwrap();
    std::fs::write(path("ech-keys/1.pem"), key.to_pem().unwrap()).unwrap();

    let mut server = Command::new(example("serve_files"))
        .arg("127.0.0.1:0")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let _server = Running(server);
    let first = lines.next().unwrap().unwrap();
    let port = first.strip_prefix("listening on 127.0.0.1:").unwrap();

    let list = EchConfigList::from(key.config().clone());
    let said = page_over_ech(port.parse().unwrap(), &path("chain.pem"), list).await;
    assert!(said.starts_with("Accepted"), "{said}");
    assert!(said.contains("public.example"), "{said}");
}
