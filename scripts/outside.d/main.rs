//! A program of a user: two connections with ECH under a logger that takes everything. Fails where
//! a handshake is not accepted, or where a record of ours names what ECH hides.

mod record;
mod testbed;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use echkit::config::EchConfigList;
use echkit::key::{EchKey, KeyParams};
use echkit::report::EchStatus;
use echkit::rustls::ServerConfig;
use echkit::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use echkit::server::{self, Acceptor, EchKeys, EchOutcome, EchServer, Listener};
use echkit::tls::{ClientTls, ClientTlsBuilder, Trust};
use echkit::{Client, EchMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use record::Record;
use testbed::RunningTestbed;

/// What a server of ours hides.
const HIDDEN: &str = "hidden.outside.test";
const PUBLIC: &str = "public.outside.test";

/// The part of our warning about such a logger that tells it from others.
const WARNING: &str = "debug events of rustls are logged";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    if std::env::args().nth(1).as_deref() == Some("testbed") {
        return runtime.block_on(testbed::serve());
    }
    record::start()?;
    let testbed = RunningTestbed::start()?;
    runtime.block_on(fetch_from_testbed(&testbed))?;
    run_example(&testbed)?;
    runtime.block_on(fetch_from_own_server())?;
    judge(&record::taken(), &[&testbed.host, HIDDEN])
}

/// Our client against the testbed, with ECH from DNS.
async fn fetch_from_testbed(testbed: &RunningTestbed) -> Result<(), Failure> {
    let tls = ClientTls::builder().trust(Trust::ca_file(&testbed.ca)?);
    let builder = Client::builder().dns(&testbed.dns);
    fetch(builder.tls(tls), &testbed.url).await
}

/// Our server and our client.
async fn fetch_from_own_server() -> Result<(), Failure> {
    let issued = rcgen::generate_simple_self_signed([HIDDEN.to_owned(), PUBLIC.to_owned()])?;
    let certificate = issued.cert.der().clone();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der())?;
    let (acceptor, list) = acceptor(certificate.clone(), key)?;

    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let port = tcp.local_addr()?.port();
    let mut listener = Listener::new(tcp, acceptor);
    let server = tokio::spawn(async move {
        let (mut accepted, _) = listener.accept().await;
        let mut request = [0; 4096];
        let _ = accepted.stream.read(&mut request).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let _ = accepted.stream.write_all(answer).await;
        let _ = accepted.stream.shutdown().await;
        accepted.outcome
    });
    let tls: ClientTlsBuilder = ClientTls::builder().trust(Trust::certificates([certificate])?);
    let builder =
        Client::builder()
            .tls(tls)
            .ech_config(list)
            .connect_to(HIDDEN, 443, "127.0.0.1", port);
    fetch(builder, &format!("https://{HIDDEN}/")).await?;
    match server.await? {
        EchOutcome::Accepted { .. } => Ok(()),
        other => Err(format!("our server says {other:?}").into()),
    }
}

fn acceptor(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(Acceptor, EchConfigList), Failure> {
    let config = ServerConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let config = Arc::new(config);
    let key = EchKey::generate(&KeyParams::new(PUBLIC)?)?;
    let list = EchConfigList::from(key.config().clone());
    let keys = EchKeys::new(vec![key])?;
    let mut took = Vec::new();
    for _ in 0..2 {
        let begun = Instant::now();
        EchServer::new(Arc::clone(&config), keys.clone())?;
        took.push(begun.elapsed().as_micros());
    }
    println!(
        "outside: the first EchServer of the process took {} us, with its self-test; the second {} us",
        took[0], took[1]
    );
    Ok((Acceptor::new(config, keys)?, list))
}

async fn fetch(builder: echkit::http::ClientBuilder, url: &str) -> Result<(), Failure> {
    let client = builder.ech(EchMode::Require).build()?;
    let mut response = client.get(url).send().await?;
    response.bytes().await?;
    let status = response.report().ech.status;
    println!(
        "outside: {} from {url} with ECH {status}",
        response.status()
    );
    match status {
        EchStatus::Accepted => Ok(()),
        other => Err(format!("{url}: ECH {other}").into()),
    }
}

/// The example `get`, as it was compiled here, against the testbed.
fn run_example(testbed: &RunningTestbed) -> Result<(), Failure> {
    let get = std::env::current_exe()?.with_file_name("get");
    let output = Command::new(get)
        .arg(&testbed.url)
        .env("ECHKIT_DNS", &testbed.dns)
        .env("SSL_CERT_FILE", &testbed.ca)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.success() && said.contains("ECH accepted") {
        true => Ok(println!("outside: the example `get` says ECH accepted")),
        false => Err(format!("the example `get`: {said}{:?}", output.stderr).into()),
    }
}

/// Nothing of ours may name a hidden host, at any level; rustls does, which is known and warned of.
fn judge(records: &[Record], hidden: &[&str]) -> Result<(), Failure> {
    let mut naming: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records {
        let text = record.text.to_ascii_lowercase();
        if hidden.iter().any(|name| text.contains(name)) {
            *naming.entry(&record.target).or_default() += 1;
        }
    }
    println!("outside: {} records logged", records.len());
    for (target, count) in &naming {
        println!("outside: {count} of {target} name a hidden host");
    }
    if let Some((target, _)) = naming
        .iter()
        .find(|(target, _)| target.starts_with("echkit"))
    {
        let first = records.iter().find(|record| &record.target == *target);
        return Err(format!("a record of ours names a hidden host: {first:?}").into());
    }
    if !naming.keys().any(|target| target.starts_with("rustls")) {
        return Err("no record of rustls names a host: was it built with `logging`?".into());
    }
    let warnings = records
        .iter()
        .filter(|record| record.target.starts_with("echkit") && record.text.contains(WARNING));
    match warnings.count() {
        1 => Ok(println!(
            "outside: the warning about that logger was logged once"
        )),
        count => Err(format!("the warning about that logger was logged {count} times").into()),
    }
}
