//! Every kind of server, met by a stock rustls client.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use data_encoding::BASE64;
use echkit_proto::config::EchConfigList;
use echkit_testbed::{Case, Page, ServerWord, Testbed};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::client::{EchConfig, EchGreaseConfig, EchMode, EchStatus};
use rustls::crypto::hpke::HpkePublicKey;
use rustls::pki_types::EchConfigListBytes;
use rustls::{ClientConfig, Error, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a client came to.
struct Visit {
    page: Page,
    ech: EchStatus,
    kind: HandshakeKind,
}

fn roots(testbed: &Testbed) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(testbed.ca_der()).unwrap();
    roots
}

fn plain(testbed: &Testbed) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(testbed))
        .with_no_client_auth()
}

fn with(testbed: &Testbed, mode: EchMode) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_ech(mode)
        .unwrap()
        .with_root_certificates(roots(testbed))
        .with_no_client_auth()
}

fn grease(testbed: &Testbed, list: &[u8]) -> ClientConfig {
    let chosen = EchConfigList::parse(list).unwrap().select().chosen.unwrap();
    let key = HpkePublicKey(chosen.contents().public_key.clone());
    let hpke = echkit::tls::hpke::find(chosen.suite()).unwrap();
    with(testbed, EchGreaseConfig::new(hpke, key).into())
}

/// A client that offers the first usable config of `list`, as a correct client does.
fn offering(testbed: &Testbed, list: &[u8]) -> ClientConfig {
    let chosen = EchConfigList::parse(list)
        .unwrap()
        .select()
        .chosen
        .expect("a usable config");
    let list = chosen.single_list();
    let suites = echkit::tls::hpke::all();
    let config = EchConfig::new(EchConfigListBytes::from(list), suites).unwrap();
    with(testbed, config.into())
}

/// The list in the case's last HTTPS record that has one.
fn published(case: &Case) -> Vec<u8> {
    let ech = |data: &str| {
        data.split(' ')
            .find_map(|p| p.strip_prefix("ech=").map(str::to_owned))
    };
    let list = case
        .zone
        .iter()
        .rev()
        .find_map(|record| ech(&record.data))
        .unwrap();
    BASE64.decode(list.as_bytes()).unwrap()
}

async fn visit(case: &Case, config: ClientConfig) -> Result<Visit, Error> {
    let tcp = TcpStream::connect(("127.0.0.1", case.port)).await.unwrap();
    let name = case.host.clone().try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await;
    let stream = stream.map_err(|e| {
        let inner = e.into_inner().expect("a TLS error");
        *inner.downcast::<Error>().expect("a TLS error")
    })?;
    let tls = stream.get_ref().1;
    let (ech, kind) = (tls.ech_status(), tls.handshake_kind().unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/?format=json")
        .header("host", &case.host)
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    let _ = connection.await;
    let page = serde_json::from_slice(&body).unwrap();
    Ok(Visit { page, ech, kind })
}

/// The retry_configs of a rejection that was authenticated; `None` where there are none.
fn rejected(result: Result<Visit, Error>) -> Option<Vec<u8>> {
    match result.map(|visit| visit.page) {
        Err(error) => echkit_tls::client::retry_configs(&error).expect("a rejection"),
        other => panic!("not a rejection: {other:?}"),
    }
}

#[tokio::test]
async fn published_keys_are_accepted() {
    let testbed = Testbed::start().await.unwrap();
    let accepted = |case: &&Case| {
        let expect = &case.expect.prefer;
        (expect.server, expect.retries) == (Some(ServerWord::Accepted), 0)
    };
    let cases: Vec<&Case> = testbed.cases().iter().filter(accepted).collect();
    assert!(cases.len() > 10);
    for case in cases.into_iter().filter(|case| {
        // Its last record is for those that ignore the order.
        case.name != "several" && case.name != "h2-only"
    }) {
        let list = published(case);
        let visit = visit(case, offering(&testbed, &list)).await;
        let visit = visit.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(visit.ech, EchStatus::Accepted, "{}", case.name);
        let Page { ech, tls, http, .. } = &visit.page;
        assert_eq!(ech.status, ServerWord::Accepted, "{}", case.name);
        assert_eq!(ech.inner_sni.as_deref(), Some(case.host.as_str()));
        assert_eq!(ech.outer_sni.as_deref(), Some("public.ech.test"));
        assert_eq!(http.host.as_deref(), Some(case.host.as_str()));
        let chosen = EchConfigList::parse(&list)
            .unwrap()
            .select()
            .chosen
            .unwrap();
        assert_eq!(ech.config_id, Some(chosen.contents().config_id));
        let suite = chosen.suite().to_string();
        assert_eq!(ech.suite.as_ref(), Some(&suite));
        assert!(!ech.retry_configs);
        assert_eq!(tls.version.as_deref(), Some("TLSv1.3"));
        assert_eq!(
            tls.hello_retry, case.expect.prefer.hello_retry,
            "{}",
            case.name
        );
        let seen = visit.kind == HandshakeKind::FullWithHelloRetryRequest;
        assert_eq!(seen, tls.hello_retry, "both ends tell the same story");
    }
    testbed.quiet().await;
    for capture in testbed.captures() {
        let host = &testbed.case(&capture.case).unwrap().host;
        assert!(!capture.contains(host), "{host} went in the clear");
        assert!(capture.contains("public.ech.test"));
    }
}

#[tokio::test]
async fn stale_keys_are_rejected_with_the_key_that_works() {
    let testbed = Testbed::builder()
        .only(["stale", "stale-hrr"])
        .start()
        .await
        .unwrap();
    for case in testbed.cases() {
        let retry = rejected(visit(case, offering(&testbed, &published(case))).await);
        let retry = retry.expect("retry_configs");
        let visit = visit(case, offering(&testbed, &retry)).await.unwrap();
        assert_eq!(visit.page.ech.status, ServerWord::Accepted);
        assert_eq!(visit.page.tls.hello_retry, case.expect.prefer.hello_retry);
    }
    testbed.quiet().await;
    assert_eq!(testbed.captures().len(), 4);
    for capture in testbed.captures() {
        assert!(!capture.contains(&testbed.case(&capture.case).unwrap().host));
    }
}

#[tokio::test]
async fn a_stale_retry_is_stale_each_time() {
    let testbed = Testbed::builder()
        .only(["stale-retry"])
        .start()
        .await
        .unwrap();
    let case = &testbed.cases()[0];
    let mut list = published(case);
    for _ in 0..3 {
        let retry = rejected(visit(case, offering(&testbed, &list)).await).unwrap();
        assert_ne!(retry, list);
        list = retry;
    }
}

#[tokio::test]
async fn bad_public_certificates_fail_as_certificates() {
    let names = ["stale-wrong-name", "stale-untrusted", "stale-expired"];
    let testbed = Testbed::builder().only(names).start().await.unwrap();
    for case in testbed.cases() {
        let error = visit(case, offering(&testbed, &published(case)))
            .await
            .err();
        assert!(
            matches!(error, Some(Error::InvalidCertificate(_))),
            "{}: {error:?}",
            case.name
        );
    }
}

#[tokio::test]
async fn a_server_that_has_switched_ech_off_says_nothing_of_retries() {
    let testbed = Testbed::builder().only(["disabled"]).start().await.unwrap();
    let case = &testbed.cases()[0];
    assert_eq!(
        rejected(visit(case, offering(&testbed, &published(case))).await),
        None
    );
    let page = visit(case, plain(&testbed)).await.unwrap().page;
    assert_eq!(page.ech.status, ServerWord::Off);
    assert_eq!(page.ech.outer_sni.as_deref(), Some(case.host.as_str()));
}

#[tokio::test]
async fn tls12_alone_cannot_be_offered_ech() {
    let testbed = Testbed::builder().only(["tls12"]).start().await.unwrap();
    let case = &testbed.cases()[0];
    let error = visit(case, offering(&testbed, &published(case)))
        .await
        .err();
    assert!(
        matches!(
            error,
            Some(Error::AlertReceived(_) | Error::PeerIncompatible(_))
        ),
        "{error:?}"
    );
    let page = visit(case, plain(&testbed)).await.unwrap().page;
    assert_eq!(page.tls.version.as_deref(), Some("TLSv1.2"));
}

#[tokio::test]
async fn without_a_record_the_page_says_what_was_offered() {
    let testbed = Testbed::builder()
        .only(["nominal", "no-ech"])
        .start()
        .await
        .unwrap();
    let case = testbed.case("nominal").unwrap();
    let list = published(case);

    let page = visit(case, plain(&testbed)).await.unwrap().page;
    assert_eq!(page.ech.status, ServerWord::NotOffered);

    // GREASE is rejected and served as the site that it names outside (RFC 9849 §7.1, §6.2).
    let visited = visit(case, grease(&testbed, &list)).await.unwrap();
    assert_eq!(visited.ech, EchStatus::Grease);
    assert_eq!(visited.page.ech.status, ServerWord::Rejected);
    assert_eq!(
        visited.page.ech.outer_sni.as_deref(),
        Some(case.host.as_str())
    );
    assert!(visited.page.ech.retry_configs);

    let page = visit(testbed.case("no-ech").unwrap(), grease(&testbed, &list))
        .await
        .unwrap()
        .page;
    assert_eq!(page.ech.status, ServerWord::Off);

    testbed.quiet().await;
    let hidden = |c: &echkit_testbed::Capture| {
        let host = &testbed.case(&c.case).unwrap().host;
        !c.contains(host)
    };
    assert!(
        !testbed.captures().iter().any(hidden),
        "the captures would show a name"
    );
}

#[tokio::test]
async fn nothing_is_left_when_a_testbed_is_dropped() {
    let testbed = Testbed::builder().only(["no-ech"]).start().await.unwrap();
    let case = testbed.cases()[0].clone();
    let dns = testbed.dns_address();
    visit(&case, plain(&testbed)).await.unwrap();
    drop(testbed);
    // Sockets close when the runtime has dropped the tasks; the ports can be had again then.
    for port in [case.port, dns.port()] {
        while std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn stable_ports_are_the_same_whichever_cases_are_chosen() {
    // Somewhere above the ephemeral range, so that the other tests do not take them.
    let first = 61_300;
    let builder = || Testbed::builder().ports(echkit_testbed::Ports::From(first));
    let nominal = builder().only(["nominal"]).start().await.unwrap();
    assert_eq!(nominal.dns_address().port(), first);
    assert_eq!(nominal.doh_address().port(), first + 1);
    assert_eq!(nominal.cases()[0].port, first + 10);
    nominal.shutdown().await;
    let stale = builder().only(["stale"]).start().await.unwrap();
    assert!(stale.cases()[0].port > first + 10);
    let error = builder()
        .only(["stale"])
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:"), "{error}");
    let high = Testbed::builder()
        .ports(echkit_testbed::Ports::From(65_530))
        .start()
        .await;
    assert!(high.unwrap_err().to_string().contains("do not fit"));
}

/// RFC 9849 §6.1.6: what a client may conclude depends on whether its outer hello offers TLS 1.2.
#[tokio::test]
async fn the_case_of_tls12_has_a_second_right_outcome_for_clients_that_offer_it_outside() {
    let testbed = Testbed::builder().only(["tls12"]).start().await.unwrap();
    let case = &testbed.cases()[0];
    let other = case.expect.prefer_with_tls12.unwrap();
    assert_eq!(other.status, echkit_testbed::ExpectedStatus::Disabled);
    assert_eq!((other.exit_code, other.hidden), (0, false));
    let listed = serde_json::to_value(case).unwrap();
    assert_eq!(listed["expect"]["prefer_with_tls12"]["status"], "disabled");

    // The server proves the public_name over TLS 1.2, and then serves the page without ECH.
    let mut public = case.clone();
    public.host.clone_from(&case.public_name);
    for case in [&public, case] {
        let visit = visit(case, plain(&testbed)).await.unwrap();
        assert_eq!(visit.page.ech.status, other.server.unwrap());
        assert_eq!(visit.page.tls.version.as_deref(), Some("TLSv1.2"));
    }

    // Other cases have one outcome for all.
    let testbed = Testbed::builder().only(["stale"]).start().await.unwrap();
    assert_eq!(testbed.cases()[0].expect.prefer_with_tls12, None);
}
