//! The client against an ECH server: accept, retry, disable, HelloRetryRequest, resumption, and
//! in each case the bytes that an eavesdropper next to the client has.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use echkit::report::{EchSource, EchStatus, Report};
use echkit::server::{EchKeyHandle, EchKeys};
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_proto::config::EchConfig;
use echkit_proto::hpke::{Aead, Kdf, Kem, SymmetricSuite};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::tls_record::RecordHeader;
use echkit_test::lab::{
    HIDDEN, PUBLIC, Pki, Relay, ech_key, list, serve_ech as serve, serve_ech_by_turns,
};

const BOTH: [EchMode; 2] = [EchMode::Prefer, EchMode::Require];

struct Setup {
    client: Client,
    relay: Relay,
}

async fn setup(pki: &Pki, server: SocketAddr, mode: EchMode, known: &EchKey) -> Setup {
    setup_with(pki, server, mode, known, None).await
}

async fn setup_with(
    pki: &Pki,
    server: SocketAddr,
    mode: EchMode,
    known: &EchKey,
    outer_sni: Option<&str>,
) -> Setup {
    let relay = Relay::to(server).await;
    let mut builder = Client::builder()
        .tls(pki.tls())
        .ech(mode)
        .ech_config(list(known))
        .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port());
    if let Some(name) = outer_sni {
        builder = builder.outer_sni(name);
    }
    let client = builder.build().unwrap();
    Setup { client, relay }
}

async fn fetch(client: &Client) -> Result<Report, Error> {
    let mut response = client.get(&format!("https://{HIDDEN}/")).send().await?;
    assert_eq!(response.bytes().await?, "hello");
    Ok(response.report())
}

#[tokio::test]
async fn an_offer_is_accepted_and_the_name_hidden() {
    let pki = Pki::new();
    for mode in BOTH {
        for hello_retry in [false, true] {
            let key = ech_key();
            let keys = EchKeys::new(vec![key.clone()]).unwrap();
            let server = serve(&pki, &[HIDDEN, PUBLIC], hello_retry, keys).await;
            let Setup { client, relay } = setup(&pki, server, mode, &key).await;
            let report = fetch(&client).await.unwrap();
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.ech.source, EchSource::Manual);
            assert_eq!(report.ech.config_id, Some(key.config_id()));
            assert_eq!(report.ech.inner_sni.as_deref(), Some(HIDDEN));
            assert_eq!(report.ech.outer_sni.as_deref(), Some(PUBLIC));
            assert_eq!(report.ech.retries, 0);
            let tls = report.tls.unwrap();
            assert_eq!(tls.hello_retry, hello_retry);
            assert!(!tls.resumed);
            relay.assert_hidden(HIDDEN);
            assert!(relay.shows(PUBLIC));
        }
    }
}

#[tokio::test]
async fn a_stale_key_is_followed_by_the_servers_own() {
    let pki = Pki::new();
    for mode in BOTH {
        for hello_retry in [false, true] {
            let key = ech_key();
            let keys = EchKeys::new(vec![key.clone()]).unwrap();
            let server = serve(&pki, &[HIDDEN, PUBLIC], hello_retry, keys).await;
            let Setup { client, relay } = setup(&pki, server, mode, &ech_key()).await;
            let report = fetch(&client).await.unwrap();
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.ech.source, EchSource::Retry);
            assert_eq!(report.ech.retries, 1);
            assert_eq!(report.ech.config_id, Some(key.config_id()));
            assert_eq!(report.ech.retry_configs, Some(list(&key).to_base64()));
            assert_eq!(report.attempts.len(), 2);
            relay.assert_hidden(HIDDEN);
        }
    }
}

#[tokio::test]
async fn retry_configs_of_a_stranger_are_not_used() {
    let pki = Pki::new();
    for mode in BOTH {
        for hello_retry in [false, true] {
            let keys = EchKeys::new(vec![ech_key()]).unwrap();
            let server = serve(&pki, &[HIDDEN], hello_retry, keys).await;
            let Setup { client, relay } = setup(&pki, server, mode, &ech_key()).await;
            let error = fetch(&client).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Certificate);
            let ech = &error.report().unwrap().ech;
            assert_eq!(ech.status, EchStatus::Failed);
            assert_eq!(ech.retries, 0);
            assert_eq!(ech.retry_configs, None);
            relay.assert_hidden(HIDDEN);
        }
    }
}

#[tokio::test]
async fn rejected_again_with_retry_configs_is_an_error_and_no_loop() {
    let pki = Pki::new();
    for mode in BOTH {
        // It opens with one key and publishes another.
        let keys = EchKeys::new(vec![ech_key()])
            .unwrap()
            .with_retry_configs(Some(list(&ech_key())))
            .unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys).await;
        let Setup { client, relay } = setup(&pki, server, mode, &ech_key()).await;
        let error = fetch(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EchRejected);
        assert!(error.to_string().contains("misconfigured"), "{error}");
        let report = error.report().unwrap();
        assert_eq!(report.ech.status, EchStatus::Rejected);
        assert_eq!(report.ech.retries, 1);
        assert_eq!(report.attempts.len(), 2);
        relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn retry_configs_without_a_known_suite_are_no_reason_to_drop_ech() {
    let pki = Pki::new();
    let mut contents = ech_key().contents().clone();
    contents.kem = Kem(0x7777);
    let unusable =
        echkit_proto::config::EchConfigList::from(EchConfig::try_from(contents).unwrap());
    let keys = || {
        EchKeys::new(vec![ech_key()])
            .unwrap()
            .with_retry_configs(Some(unusable.clone()))
            .unwrap()
    };
    let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys()).await;
    let Setup { client, relay } = setup(&pki, server, EchMode::Require, &ech_key()).await;
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired);
    assert!(error.to_string().contains("0x7777"), "{error}");
    relay.assert_hidden(HIDDEN);

    let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys()).await;
    let Setup { client, .. } = setup(&pki, server, EchMode::Prefer, &ech_key()).await;
    let report = fetch(&client).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Grease);
    assert!(report.ech.warnings.iter().any(|w| w.contains("0x7777")));
}

#[tokio::test]
async fn securely_disabled_means_without_in_prefer_and_an_error_in_require() {
    let pki = Pki::new();
    let keys = || {
        EchKeys::new(vec![ech_key()])
            .unwrap()
            .with_retry_configs(None)
            .unwrap()
    };
    for hello_retry in [false, true] {
        let server = serve(&pki, &[HIDDEN, PUBLIC], hello_retry, keys()).await;
        let Setup { client, relay } = setup(&pki, server, EchMode::Require, &ech_key()).await;
        let error = fetch(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EchRequired);
        assert_eq!(error.report().unwrap().ech.status, EchStatus::Rejected);
        relay.assert_hidden(HIDDEN);

        let server = serve(&pki, &[HIDDEN, PUBLIC], hello_retry, keys()).await;
        let Setup { client, .. } = setup(&pki, server, EchMode::Prefer, &ech_key()).await;
        let report = fetch(&client).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::Disabled);
    }
}

#[tokio::test]
async fn an_outer_sni_is_shown_and_the_offer_still_opens() {
    let pki = Pki::new();
    for known_is_stale in [false, true] {
        let key = ech_key();
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let known = match known_is_stale {
            false => key,
            true => ech_key(),
        };
        let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys).await;
        let Setup { client, relay } =
            setup_with(&pki, server, EchMode::Require, &known, Some("cover.test")).await;
        let report = fetch(&client).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.ech.retries, u32::from(known_is_stale));
        assert_eq!(report.ech.outer_sni.as_deref(), Some("cover.test"));
        assert_eq!(report.ech.public_name.as_deref(), Some(PUBLIC));
        relay.assert_hidden(HIDDEN);
        assert!(relay.shows("cover.test"));
        assert!(!relay.shows(PUBLIC));
    }
}

#[tokio::test]
async fn sessions_are_resumed_within_ech() {
    let pki = Pki::new();
    for outer_sni in [None, Some("cover.test")] {
        let key = ech_key();
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys).await;
        let Setup { client, relay } =
            setup_with(&pki, server, EchMode::Require, &key, outer_sni).await;
        assert!(!fetch(&client).await.unwrap().tls.unwrap().resumed);
        let report = fetch(&client).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert!(report.tls.unwrap().resumed);
        relay.assert_hidden(HIDDEN);
    }
}

/// With a ticket in store, a HelloRetryRequest that rejects makes rustls 0.23.46 show it. The
/// client reconnects without it, and no byte of the ticket's connection shows a ticket.
#[tokio::test]
async fn a_ticket_is_not_shown_after_a_rejecting_hello_retry_request() {
    let pki = Pki::new();
    let key = ech_key();
    let handle = EchKeyHandle::new(EchKeys::new(vec![key.clone()]).unwrap());
    let names = [HIDDEN, PUBLIC];
    let server = serve_ech_by_turns(&pki, &names, &[false, true], handle.clone()).await;
    let Setup { client, relay } = setup(&pki, server, EchMode::Require, &key).await;
    fetch(&client).await.unwrap();
    // From now on the server has another key, and asks for another hello.
    let fresh = ech_key();
    handle.store(EchKeys::new(vec![fresh.clone()]).unwrap());
    let report = fetch(&client).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Accepted);
    assert_eq!(report.ech.config_id, Some(fresh.config_id()));
    assert!(
        report.ech.warnings.iter().any(|w| w.contains("ticket")),
        "{:?}",
        report.ech.warnings
    );
    // stopped, rejected, accepted
    assert_eq!(report.attempts.len(), 3, "{:#?}", report.attempts);
    relay.assert_hidden(HIDDEN);
    // The stopped connection sent one hello and nothing after it.
    let stopped = &relay.captured()[1];
    let header = RecordHeader::read(stopped).unwrap();
    assert_eq!(stopped.len(), header.record_len());
}

/// On a worker of tokio, whose stack is small: post-quantum keys are large.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keys_of_every_kem_and_symmetric_suite_are_used() {
    for kem in Kem::ALL.iter().copied() {
        for (kdf, aead) in [
            (Kdf::HKDF_SHA256, Aead::AES_128_GCM),
            (Kdf::HKDF_SHA384, Aead::CHACHA20_POLY1305),
            (Kdf::HKDF_SHA512, Aead::AES_256_GCM),
        ] {
            let params = KeyParams::new(PUBLIC)
                .unwrap()
                .with_kem(kem)
                .with_suites(vec![SymmetricSuite::new(kdf, aead)]);
            let key = EchKey::generate(&params).unwrap();
            let work = async move {
                let pki = Pki::new();
                let keys = EchKeys::new(vec![key.clone()]).unwrap();
                let server = serve(&pki, &[HIDDEN, PUBLIC], true, keys).await;
                let Setup { client, relay } = setup(&pki, server, EchMode::Require, &key).await;
                let report = fetch(&client).await.unwrap();
                relay.assert_hidden(HIDDEN);
                report
            };
            let report = tokio::spawn(work).await.unwrap();
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.ech.suite, Some(format!("{kem},{kdf},{aead}")));
        }
    }
}

/// X25519 shares no secret with a point of low order, which shows when the offer is made.
#[tokio::test]
async fn a_config_whose_key_cannot_be_encapsulated_to_is_followed_by_the_next() {
    let pki = Pki::new();
    let key = ech_key();
    let keys = EchKeys::new(vec![key.clone()]).unwrap();
    let server = serve(&pki, &[HIDDEN, PUBLIC], false, keys).await;
    let mut contents = key.contents().clone();
    contents.config_id = key.config_id().wrapping_add(1);
    contents.public_key = vec![0; 32];
    let unusable = EchConfig::try_from(contents).unwrap();
    let configs = vec![unusable, key.config().clone()];
    let list = echkit_proto::config::EchConfigList::from_configs(configs).unwrap();
    let relay = Relay::to(server).await;
    let client = Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .ech_config(list)
        .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
        .build()
        .unwrap();
    let report = fetch(&client).await.unwrap();
    assert_eq!(report.ech.status, EchStatus::Accepted);
    assert_eq!(report.ech.config_id, Some(key.config_id()));
    relay.assert_hidden(HIDDEN);
}
