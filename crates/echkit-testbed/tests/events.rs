//! What the library logs: each step of a connection, and the name of no host.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use echkit::dns::{Resolver, ResolverOptions};
use echkit::policy::EchMode;
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, ErrorKind};
use echkit_testbed::{Case, Testbed};
use tracing_subscriber::EnvFilter;

/// The log of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was logged since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn client(testbed: &Testbed, mode: EchMode) -> Client {
    let resolver = Resolver::from_uri(&testbed.dns_uri(), &ResolverOptions::default()).unwrap();
    let trust = Trust::certificates([testbed.ca_der()]).unwrap();
    Client::builder()
        .ech(mode)
        .resolver(resolver)
        .redirects(Some(3))
        .keep_alive(None)
        .tls(ClientTls::builder().trust(trust))
        .build()
        .unwrap()
}

/// Fetches a case. Gives what a report or an error says, which names the host.
async fn fetch(client: &Client, case: &Case) -> (Option<ErrorKind>, String) {
    match client.get(&case.url).send().await {
        Ok(response) => (None, serde_json::to_string(&response.report()).unwrap()),
        Err(error) => (Some(error.kind()), error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_each_step_and_name_no_host() {
    let log = Log::default();
    let writer = log.clone();
    // Of the library's crates all there is, and of the testbed's servers in this process nothing.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("echkit=trace,echkit_testbed=off"))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let testbed = Testbed::start().await.unwrap();

    let stale = testbed.case("stale").unwrap();
    let once = client(&testbed, EchMode::Require);
    let (failed, report) = fetch(&once, stale).await;
    assert!(
        failed.is_none() && report.contains("stale.ech.test"),
        "{report}"
    );
    let first = log.take();
    for step in [
        "DNS query kind=HTTPS resolver=\"udp://",
        "DNS answer kind=HTTPS status=Found records=1",
        "HTTPS records https=\"found\" records=1",
        "endpoint index=0",
        "offer=\"real\" source=\"dns\"",
        "attempt started attempt=0 address=127.0.0.1:",
        "TLS handshake failed address=127.0.0.1:",
        "connecting again retries=1 offer=\"real\" source=\"retry\"",
        "attempt started attempt=1",
        "TLS handshake finished address=127.0.0.1:",
        "retry configs kept in the cache",
        "connected ech=accepted",
        "request head sent method=GET",
        "response head received status=200",
        "connection{number=",
    ] {
        assert!(first.contains(step), "{step}: {first}");
    }
    fetch(&once, stale).await;
    let second = log.take();
    for step in [
        "DNS answer from the cache kind=HTTPS",
        "retry configs found in the cache",
    ] {
        assert!(second.contains(step), "{step}: {second}");
    }
    let mut whole = first + &second;

    // Each kind of record, server and failure.
    let mut failures = Vec::new();
    for mode in [EchMode::Prefer, EchMode::Require] {
        let client = client(&testbed, mode);
        for case in testbed.cases() {
            let (failed, told) = fetch(&client, case).await;
            assert!(told.contains("ech.test"), "{told}");
            failures.extend(failed);
        }
    }
    for kind in [
        ErrorKind::Name,
        ErrorKind::EchRejected,
        ErrorKind::Certificate,
        ErrorKind::Tls,
    ] {
        assert!(failures.contains(&kind), "{kind}: {failures:?}");
    }
    let rest = log.take();
    assert!(
        rest.contains("connection failed kind=\"ech_required\""),
        "{rest}"
    );
    assert!(rest.contains("DNS query failed kind=HTTPS"), "{rest}");
    whole.push_str(&rest);
    let named: Vec<&str> = whole
        .lines()
        .filter(|line| line.contains("ech.test"))
        .collect();
    assert!(named.is_empty(), "{named:#?}");
}
