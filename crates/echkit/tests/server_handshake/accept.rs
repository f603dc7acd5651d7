//! Offers that are opened: with every suite, after a HelloRetryRequest, resumed, however delivered.

use std::sync::Arc;

use echkit::server::{EchOutcome, RejectReason};
use rustls::HandshakeKind;
use rustls::client::EchStatus;

use echkit_test::in_memory::disguise::disguised;
use echkit_test::in_memory::*;

#[test]
fn accepts_an_offer() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    let joined = join(&server, connect(pki.client(offer(&key)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    assert_eq!(joined.server.server_name(), Some(SECRET));
    let EchOutcome::Accepted {
        config_id,
        inner_sni,
        outer_sni,
        suite,
    } = &joined.outcome
    else {
        panic!("{:?}", joined.outcome);
    };
    assert_eq!(
        (*config_id, suite.to_string().as_str()),
        (7, "x25519,hkdf-sha256,aes-128-gcm")
    );
    assert_eq!(inner_sni.as_deref(), Some(SECRET));
    assert_eq!(outer_sni.as_deref(), Some(PUBLIC));
    assert!(!contains(&joined.sent, SECRET));
    assert!(!format!("{:?}", joined.outcome).contains(SECRET));
    assert_same_exporter(&joined);
}

#[test]
fn accepts_with_every_tls13_suite() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    for suite in rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES {
        if suite.tls13().is_none() {
            continue;
        }
        for stale in [false, true] {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.cipher_suites = vec![*suite];
            let mode = if stale { grease() } else { offer(&key) };
            let name = if stale { "plain.example" } else { SECRET };
            let client = connect(pki.client_with(mode, provider), name);
            let joined = join(&server, client, 9999).unwrap();
            assert_same_exporter(&joined);
            let expected = if stale {
                EchStatus::Grease
            } else {
                EchStatus::Accepted
            };
            assert_eq!(joined.client.ech_status(), expected, "{suite:?}");
        }
    }
}

#[test]
fn opens_under_a_shared_id() {
    let (pki, first, second) = (Pki::new(), ech_key(3), ech_key(3));
    let both = server(pki.server(), vec![first, second.clone()]);
    let joined = join(&both, connect(pki.client(offer(&second)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
}

/// RFC 9849 §7.1, second method: the hello names an id at random (§10.4), and the key is found.
#[test]
fn opens_by_trial_what_names_another_id() {
    let (pki, first, second) = (Pki::new(), ech_key(3), ech_key(4));
    let keyed = server(pki.server(), vec![first, second.clone()]);
    let random_id = || disguised(&second, |contents| contents.config_id = 200);

    let trying = keyed.clone().with_trial_decryption(true);
    let client = connect(pki.client(random_id()), SECRET);
    let joined = join(&trying, client, 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    assert_same_exporter(&joined);
    // Whose key it was, not what the hello named.
    let EchOutcome::Accepted { config_id, .. } = joined.outcome else {
        panic!("{:?}", joined.outcome);
    };
    assert_eq!(config_id, 4);

    // By the first method, which is the default, no key is tried.
    let client = connect(pki.client(random_id()), SECRET);
    let Err(Failed::Client(_, outcome, _)) = join(&keyed, client, 9999) else {
        panic!("the client must not go on");
    };
    let EchOutcome::Rejected { reason, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, RejectReason::UnknownConfigId);
}

#[test]
fn accepts_by_trial_after_hello_retry_request() {
    let (pki, key) = (Pki::new(), ech_key(4));
    let server =
        server(pki.server_with(retrying_server()), vec![key.clone()]).with_trial_decryption(true);
    let mode = disguised(&key, |contents| contents.config_id = 200);
    let client = connect(pki.client_with(mode, retrying_client()), SECRET);
    let joined = join(&server, client, 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    assert_same_exporter(&joined);
}

#[test]
fn accepts_after_hello_retry_request() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key.clone()]);
    for step in [1, 9999] {
        let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
        let mut records = Vec::new();
        let down = |bytes: Vec<u8>| {
            records.extend(kinds(&bytes));
            bytes
        };
        let joined = join_through(&server, client, step, |b| b, down).unwrap();
        // HelloRetryRequest, ChangeCipherSpec, ServerHello: as without ECH, each is one record.
        assert_eq!(records[..3], [22, 20, 22]);
        assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
        assert_eq!(
            joined.server.handshake_kind(),
            Some(HandshakeKind::FullWithHelloRetryRequest)
        );
        assert!(!contains(&joined.sent, SECRET));
        assert_same_exporter(&joined);
    }
}

#[test]
fn resumes_accepted_sessions() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    let config = Arc::new(pki.client(offer(&key)));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let joined = join(&server, connect_shared(&config, SECRET), 9999).unwrap();
        assert_eq!(joined.server.handshake_kind(), Some(expected));
        assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
        assert_same_exporter(&joined);
    }
}

#[test]
fn early_data_of_accepted_sessions_arrives() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let mut config = pki.server();
    config.max_early_data_size = 10_000;
    config.send_half_rtt_data = false;
    let server = server(config, vec![key.clone()]);
    let mut config = pki.client(offer(&key));
    config.enable_early_data = true;
    let config = Arc::new(config);
    join(&server, connect_shared(&config, SECRET), 9999).unwrap();
    for step in [9999, 1] {
        let mut client = connect_shared(&config, SECRET);
        std::io::Write::write_all(&mut client.early_data().unwrap(), b"early").unwrap();
        let mut joined = join(&server, client, step).unwrap();
        assert!(joined.client.is_early_data_accepted());
        let mut got = Vec::new();
        let mut early = joined.server.early_data().unwrap();
        std::io::Read::read_to_end(&mut early, &mut got).unwrap();
        assert_eq!(got, b"early");
    }
}

#[test]
fn client_certificates_work_inside() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let roots = Arc::new(pki.roots());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        roots,
        echkit::server::provider(),
    )
    .build()
    .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(echkit::server::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![pki.site.cert.clone()], pki.site.key.clone_key())
        .unwrap();
    let server = server(config, vec![key.clone()]);
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_ech(offer(&key).unwrap())
    .unwrap()
    .with_root_certificates(pki.roots())
    .with_client_auth_cert(vec![pki.site.cert.clone()], pki.site.key.clone_key())
    .unwrap();
    let joined = join(&server, connect(client, SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    assert_eq!(joined.server.peer_certificates().unwrap()[0], pki.site.cert);
}

#[test]
fn delivery_a_byte_at_a_time_changes_nothing() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    for (mode, name) in [(offer(&key), SECRET), (grease(), PUBLIC), (None, PUBLIC)] {
        let joined = join(&server, connect(pki.client(mode), name), 1).unwrap();
        assert_same_exporter(&joined);
    }
}

#[test]
fn small_fragments_change_nothing() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let mut config = pki.server();
    config.max_fragment_size = Some(32);
    let server = server(config, vec![key.clone()]);
    for (mode, name) in [(offer(&key), SECRET), (grease(), PUBLIC), (None, PUBLIC)] {
        let mut config = pki.client(mode);
        config.max_fragment_size = Some(32);
        let joined = join(&server, connect(config, name), 9999).unwrap();
        assert_same_exporter(&joined);
    }
}
