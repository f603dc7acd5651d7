//! What reports, errors and logs say, and what they keep to themselves.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use echkit::report::{EchStatus, Report};
use echkit::server::EchKeys;
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_test::lab::{self, HIDDEN, PUBLIC, Pki, Relay, ech_key, list, serve_ech};
use tracing_subscriber::fmt::MakeWriter;

fn client(pki: &Pki, relay: &Relay) -> echkit::http::ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
}

async fn fetch(client: &Client) -> Result<Report, Error> {
    let mut response = client.get(&format!("https://{HIDDEN}/")).send().await?;
    assert_eq!(response.bytes().await?, "hello");
    Ok(response.report())
}

#[tokio::test]
async fn every_hello_of_learning_is_in_the_report_and_the_name_shown_is_said() {
    let pki = Pki::new();
    let key = ech_key();
    let keys = EchKeys::new(vec![key.clone()]).unwrap();
    for hello_retry in [false, true] {
        let server = serve_ech(&pki, &[HIDDEN, PUBLIC], hello_retry, keys.clone()).await;
        let relay = Relay::to(server).await;
        let client = client(&pki, &relay).learn(true).build().unwrap();
        let report = fetch(&client).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.ech.outer_sni.as_deref(), Some(PUBLIC));
        let shown: Vec<Vec<_>> = report
            .attempts
            .iter()
            .map(|attempt| {
                let hellos = attempt.hellos.iter();
                hellos
                    .map(|hello| hello.outer_sni.clone().unwrap())
                    .collect()
            })
            .collect();
        let each = if hello_retry { 2 } else { 1 };
        assert_eq!(shown, [vec![HIDDEN; each], vec![PUBLIC; each]]);
        let said = |w: &String| w.contains(HIDDEN) && w.contains("in the clear");
        assert!(report.ech.warnings.iter().any(said), "{:?}", report.ech);
        assert!(relay.shows(HIDDEN), "as was said");
    }
}

#[tokio::test]
async fn a_rejection_that_cannot_be_authenticated_says_what_it_means() {
    let pki = Pki::new();
    let keys = EchKeys::new(vec![ech_key()]).unwrap();
    let server = serve_ech(&pki, &[HIDDEN], false, keys).await;
    let relay = Relay::to(server).await;
    let client = client(&pki, &relay)
        .ech(EchMode::Require)
        .ech_config(list(&ech_key()))
        .build()
        .unwrap();
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Certificate);
    let text = error.to_string();
    let address = relay.address;
    let meaning = format!(
        "{HIDDEN}: the server at {address} does not hold the key of the ECHConfig that was given, and its \
         certificate is not for {PUBLIC} (the hello showed {PUBLIC} outside): "
    );
    assert!(text.starts_with(&meaning), "{text}");
    relay.assert_hidden(HIDDEN);
}

/// A stock server that refuses the outer name.
#[tokio::test]
async fn an_alert_after_an_ech_config_of_the_callers_own_names_the_outer_name() {
    let pki = Pki::new();
    let refuse = |_: usize, _: Vec<u8>| vec![21, 3, 3, 0, 2, 2, 49];
    let server = lab::serve(pki.server(&[HIDDEN])).await;
    let relay = Relay::tampering(server, refuse).await;
    let client = client(&pki, &relay)
        .ech(EchMode::Require)
        .ech_config(list(&ech_key()))
        .outer_sni("cover.test")
        .build()
        .unwrap();
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert!(error.to_string().contains("cover.test"), "{error}");
    relay.assert_hidden(HIDDEN);
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Accepted, retried, resumed and failed connections, at the level that shows most.
#[tokio::test]
async fn no_hidden_name_is_in_what_this_crate_logs_at_any_level() {
    let pki = Pki::new();
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(kept.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!(target: "echkit::tests", "the log begins");
    for (names, known_is_stale) in [
        (&[HIDDEN, PUBLIC][..], false),
        (&[HIDDEN, PUBLIC], true),
        (&[HIDDEN], true),
    ] {
        let key = ech_key();
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let relay = Relay::to(serve_ech(&pki, names, true, keys).await).await;
        let known = if known_is_stale { ech_key() } else { key };
        let client = client(&pki, &relay)
            .ech(EchMode::Require)
            .ech_config(list(&known))
            .build()
            .unwrap();
        for _ in 0..2 {
            let fetched = fetch(&client).await;
            assert_eq!(fetched.is_ok(), names.len() == 2);
        }
        relay.assert_hidden(HIDDEN);
    }
    let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log begins"), "nothing was captured");
    for line in log.lines().filter(|line| line.contains("echkit")) {
        assert!(!line.contains(HIDDEN), "{line}");
    }
    let others: Vec<_> = log.lines().filter(|line| line.contains(HIDDEN)).collect();
    assert!(others.is_empty(), "{others:#?}");
}
