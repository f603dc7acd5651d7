//! The client against servers that know nothing of ECH.
#![allow(clippy::unwrap_used)]

use echkit::error::Cause;
use echkit::report::{AttemptResult, EchSource, EchStatus, Report};
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_test::contains;
use echkit_test::lab::{
    HIDDEN, PUBLIC, Pki, Relay, ech_key, hello_retry_provider, list, provider, serve,
};

/// A client whose connections to the hidden name go to the relay.
fn client(pki: &Pki, relay: &Relay, mode: EchMode, offer: bool) -> Client {
    let mut builder = Client::builder().tls(pki.tls()).ech(mode).connect_to(
        HIDDEN,
        443,
        "127.0.0.1",
        relay.address.port(),
    );
    if offer {
        builder = builder.ech_config(list(&ech_key()));
    }
    builder.build().unwrap()
}

async fn fetch(client: &Client) -> Result<(String, Report), Error> {
    let mut response = client.get(&format!("https://{HIDDEN}/")).send().await?;
    let body = response.bytes().await?;
    Ok((String::from_utf8(body.to_vec()).unwrap(), response.report()))
}

#[tokio::test]
async fn prefer_goes_on_without_ech_when_an_authenticated_server_has_none() {
    let pki = Pki::new();
    let relay = Relay::to(serve(pki.server(&[HIDDEN, PUBLIC])).await).await;
    let client = client(&pki, &relay, EchMode::Prefer, true);
    let (body, report) = fetch(&client).await.unwrap();
    assert_eq!(body, "hello");
    assert_eq!(report.ech.status, EchStatus::Disabled);
    assert_eq!(report.ech.retries, 0);
    assert_eq!(report.ech.outer_sni.as_deref(), Some(HIDDEN));
    assert_eq!(report.attempts.len(), 2);
    assert_eq!(report.attempts[0].result, AttemptResult::Failed);
    assert_eq!(report.attempts[1].result, AttemptResult::Won);
    assert!(
        report
            .ech
            .warnings
            .iter()
            .any(|w| w.contains("has disabled ECH"))
    );
    // the first connection hides the name, the second shows it on purpose
    let captured = relay.captured();
    assert!(!contains(&captured[0], HIDDEN));
    assert!(contains(&captured[0], PUBLIC));
    assert!(contains(&captured[1], HIDDEN));
}

#[tokio::test]
async fn require_stops_when_an_authenticated_server_has_no_ech() {
    let pki = Pki::new();
    for hello_retry in [false, true] {
        let config = match hello_retry {
            false => pki.server(&[HIDDEN, PUBLIC]),
            true => pki.server_with(
                &[HIDDEN, PUBLIC],
                hello_retry_provider(),
                rustls::ALL_VERSIONS,
            ),
        };
        let relay = Relay::to(serve(config).await).await;
        let client = client(&pki, &relay, EchMode::Require, true);
        let error = fetch(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EchRequired);
        assert!(error.to_string().contains(HIDDEN), "{error}");
        let report = error.report().unwrap();
        assert_eq!(report.ech.status, EchStatus::Rejected);
        assert_eq!(report.ech.source, EchSource::Manual);
        assert_eq!(report.ech.outer_sni.as_deref(), Some(PUBLIC));
        assert_eq!(report.ech.public_name.as_deref(), Some(PUBLIC));
        assert_eq!(report.ech.inner_sni.as_deref(), Some(HIDDEN));
        assert_eq!(report.attempts.len(), 1);
        relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn a_rejection_that_is_not_authenticated_never_drops_ech() {
    let pki = Pki::new();
    for mode in [EchMode::Prefer, EchMode::Require] {
        // Good for the origin, not for the public_name.
        let relay = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
        let error = fetch(&client(&pki, &relay, mode, true)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Certificate);
        let Cause::Certificate {
            name, public_name, ..
        } = error.cause()
        else {
            panic!("{error}");
        };
        assert!(*public_name);
        assert_eq!(name, PUBLIC);
        let report = error.report().unwrap();
        assert_eq!(report.ech.status, EchStatus::Failed);
        assert_eq!(report.attempts.len(), 1);
        relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn tls_1_2_behind_an_ech_record_is_a_failure_never_disabled() {
    let pki = Pki::new();
    for mode in [EchMode::Prefer, EchMode::Require] {
        let config = pki.server_with(&[HIDDEN, PUBLIC], provider(), &[&rustls::version::TLS12]);
        let relay = Relay::to(serve(config).await).await;
        let error = fetch(&client(&pki, &relay, mode, true)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls);
        assert_eq!(error.report().unwrap().ech.status, EchStatus::Failed);
        assert_eq!(error.report().unwrap().attempts.len(), 1);
        relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn without_a_config_prefer_sends_grease() {
    let pki = Pki::new();
    for mode in [EchMode::Prefer, EchMode::Grease] {
        let relay = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
        let (_, report) = fetch(&client(&pki, &relay, mode, false)).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::Grease);
        assert_eq!(report.ech.source, EchSource::None);
        assert!(report.ech.config_id.is_some());
        assert_eq!(report.ech.inner_sni, None);
        assert_eq!(report.ech.outer_sni.as_deref(), Some(HIDDEN));
        let alpn = report.ech.outer_alpn.unwrap();
        assert_eq!(alpn, ["h2", "http/1.1"]);
        let tls = report.tls.unwrap();
        assert_eq!(tls.version, "TLSv1.3");
        assert_eq!(tls.alpn.as_deref(), Some("http/1.1"));
        assert_eq!(tls.group.as_deref(), Some("X25519MLKEM768"));
        assert_eq!(tls.certificate.unwrap().subject_alt_names, [HIDDEN]);
        assert!(report.bytes.sent > 500 && report.bytes.received > 500);
        // A fixed place still has the ECHConfigs of its records, where ECH is wanted.
        assert_eq!(report.dns.is_some(), mode == EchMode::Prefer);
    }
}

#[tokio::test]
async fn grease_refused_by_a_tls_1_2_server_is_followed_by_tls_1_2() {
    let pki = Pki::new();
    let config = pki.server_with(&[HIDDEN], provider(), &[&rustls::version::TLS12]);
    let relay = Relay::to(serve(config).await).await;
    let client = client(&pki, &relay, EchMode::Prefer, false);
    let (body, report) = fetch(&client).await.unwrap();
    assert_eq!(body, "hello");
    assert_eq!(report.tls.unwrap().version, "TLSv1.2");
    assert_eq!(report.ech.status, EchStatus::NotOffered);
    assert_eq!(report.ech.config_id, None);
    assert_eq!(report.attempts.len(), 2);
}

#[tokio::test]
async fn off_sends_no_extension() {
    let pki = Pki::new();
    let relay = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let (_, report) = fetch(&client(&pki, &relay, EchMode::Off, false))
        .await
        .unwrap();
    assert_eq!(report.ech.status, EchStatus::NotOffered);
    assert_eq!(report.ech.config_id, None);
    assert_eq!(report.ech.outer_sni.as_deref(), Some(HIDDEN));
}

#[tokio::test]
async fn require_without_a_config_sends_nothing() {
    let pki = Pki::new();
    let relay = Relay::to(serve(pki.server(&[HIDDEN])).await).await;
    let error = fetch(&client(&pki, &relay, EchMode::Require, false))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired);
    assert!(relay.captured().is_empty());
    let error = Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .connect_to(HIDDEN, 80, "127.0.0.1", relay.address.port())
        .build()
        .unwrap()
        .get(&format!("http://{HIDDEN}/"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired);
    assert!(relay.captured().is_empty());
}

#[tokio::test]
async fn an_outer_sni_is_shown_and_the_rejection_authenticated_for_the_public_name() {
    let pki = Pki::new();
    for (names, kind) in [
        (&[PUBLIC][..], ErrorKind::EchRequired),
        // A certificate for what was shown proves nothing (RFC 9849 §6.1.7).
        (&["cover.test"][..], ErrorKind::Certificate),
    ] {
        let relay = Relay::to(serve(pki.server(names)).await).await;
        let error = Client::builder()
            .tls(pki.tls())
            .ech(EchMode::Require)
            .ech_config(list(&ech_key()))
            .outer_sni("cover.test")
            .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
            .build()
            .unwrap()
            .get(&format!("https://{HIDDEN}/"))
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let ech = &error.report().unwrap().ech;
        assert_eq!(ech.outer_sni.as_deref(), Some("cover.test"));
        assert_eq!(ech.public_name.as_deref(), Some(PUBLIC));
        relay.assert_hidden(HIDDEN);
        assert!(!relay.shows(PUBLIC));
    }
}

#[tokio::test]
async fn an_outer_sni_that_is_the_origin_is_refused_before_anything_is_sent() {
    let pki = Pki::new();
    let relay = Relay::to(serve(pki.server(&[HIDDEN, PUBLIC])).await).await;
    let error = Client::builder()
        .tls(pki.tls())
        .ech_config(list(&ech_key()))
        .outer_sni(HIDDEN)
        .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
        .build()
        .unwrap()
        .get(&format!("https://{HIDDEN}/"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(relay.captured().is_empty());
}

#[tokio::test]
async fn errors_have_kinds_and_reports() {
    let pki = Pki::new();
    // Nobody listens.
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    // Somebody who speaks no TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(b"SSH-2.0-nobody here speaks TLS\r\n").await;
        }
    });
    // A server with an untrusted certificate.
    let stranger = serve(Pki::new().server(&[HIDDEN])).await;
    for (address, kind) in [
        (closed, ErrorKind::Connect),
        (plain, ErrorKind::Tls),
        (stranger, ErrorKind::Certificate),
    ] {
        let client = Client::builder()
            .tls(pki.tls())
            .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
            .build()
            .unwrap();
        let error = fetch(&client).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let report = error.report().unwrap();
        assert_eq!(report.error, Some(error.to_string()));
        assert_eq!(report.attempts[0].result, AttemptResult::Failed);
        assert_eq!(report.url, Some(format!("https://{HIDDEN}/")));
    }
    let client = Client::builder().tls(pki.tls()).build().unwrap();
    for (url, kind) in [
        ("nothing", ErrorKind::Url),
        ("ftp://a.example/", ErrorKind::Url),
    ] {
        let error = client.get(url).send().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}
