//! ECH servers in memory: every way that an offer can go, with stock rustls clients.

#![allow(clippy::unwrap_used)]

mod server_common;

use std::sync::Arc;

use echkit::server::{EchKeys, EchOutcome, EchServer, HandshakeError, Misbehaviour, RejectReason};
use echkit_proto::hello::record::{HelloReader, wrap_handshake};
use rustls::client::EchStatus;
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion};
use server_common::*;

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
fn rejects_with_retry_configs_under_the_outer_name() {
    let (pki, stale, fresh) = (Pki::new(), ech_key(1), ech_key(2));
    let server = server(pki.server(), vec![fresh.clone()]);
    let client = connect(pki.client(offer(&stale)), SECRET);
    let Err(Failed::Client(error, outcome, conn)) = join(&server, client, 9999) else {
        panic!("the client must not go on");
    };
    let rustls::Error::PeerIncompatible(
        rustls::PeerIncompatible::ServerRejectedEncryptedClientHello(Some(configs)),
    ) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(configs.len(), 1);
    assert_eq!(conn.server_name(), Some(PUBLIC));
    assert_eq!(
        outcome,
        EchOutcome::Rejected {
            outer_sni: Some(PUBLIC.to_owned()),
            reason: RejectReason::UnknownConfigId,
            retry_configs: true,
        }
    );
    // What the client was given leads to acceptance.
    let joined = join(&server, connect(pki.client(offer(&fresh)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
}

#[test]
fn rejects_a_stale_key_with_a_known_id() {
    let (pki, stale, fresh) = (Pki::new(), ech_key(3), ech_key(3));
    let server = server(pki.server(), vec![fresh]);
    let client = connect(pki.client(offer(&stale)), SECRET);
    let Err(Failed::Client(_, outcome, _)) = join(&server, client, 9999) else {
        panic!("the client must not go on");
    };
    let EchOutcome::Rejected { reason, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, RejectReason::NotOpened);
}

#[test]
fn opens_under_a_shared_id_and_by_trial() {
    let (pki, first, second) = (Pki::new(), ech_key(3), ech_key(3));
    let both = server(pki.server(), vec![first, second.clone()]);
    let joined = join(&both, connect(pki.client(offer(&second)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);

    // The client names an id that no key has: only trial decryption can find the key. The id is
    // authenticated, so the attempt fails to open; what is tested is that it was made.
    let renamed = |bytes: Vec<u8>| rename_config_id(bytes, 200);
    for (trial, expected) in [
        (false, RejectReason::UnknownConfigId),
        (true, RejectReason::NotOpened),
    ] {
        let server = both.clone().with_trial_decryption(trial);
        let client = connect(pki.client(offer(&second)), SECRET);
        let Err(Failed::Client(_, outcome, _)) =
            join_through(&server, client, 9999, renamed, |b| b)
        else {
            panic!("the client must not go on");
        };
        let EchOutcome::Rejected { reason, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(reason, expected);
    }
}

/// The config_id lies six bytes into the ECH extension: type, length, ECHClientHelloType, suite.
fn rename_config_id(mut wire: Vec<u8>, id: u8) -> Vec<u8> {
    let at = ech_extension_at(&wire);
    wire[at + 9] = id;
    wire
}

fn ech_extension_at(wire: &[u8]) -> usize {
    let (_, hello) = HelloReader::default().read(wire).unwrap();
    let hello = echkit_proto::hello::ClientHello::parse(hello.unwrap()).unwrap();
    let found = hello
        .extensions()
        .iter()
        .find(|e| e.kind == 0xfe0d)
        .unwrap();
    // One record: its header comes before the message.
    found.whole().start + 5
}

#[test]
fn grease_is_served_by_its_own_name() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key]);
    let joined = join(
        &server,
        connect(pki.client(grease()), "plain.example"),
        9999,
    )
    .unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Grease);
    assert_eq!(joined.server.server_name(), Some("plain.example"));
    assert!(matches!(joined.outcome, EchOutcome::Rejected { .. }));
    assert_same_exporter(&joined);
}

#[test]
fn plain_clients_are_served_as_without_ech() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key]);
    let joined = join(&server, connect(pki.client(None), "plain.example"), 9999).unwrap();
    assert_eq!(joined.outcome, EchOutcome::NotOffered);
    assert_same_exporter(&joined);
}

#[test]
fn tls12_passes_through() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key]);
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS12])
    .unwrap()
    .with_root_certificates(pki.roots())
    .with_no_client_auth();
    let joined = join(&server, connect(config, "plain.example"), 9999).unwrap();
    assert_eq!(
        joined.server.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    assert_eq!(joined.outcome, EchOutcome::NotOffered);
}

#[test]
fn accepts_after_hello_retry_request() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key.clone()]);
    for step in [1, 9999] {
        let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
        let joined = join(&server, client, step).unwrap();
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
fn rejects_after_hello_retry_request() {
    let (pki, stale, fresh) = (Pki::new(), ech_key(1), ech_key(2));
    let server = server(pki.server_with(retrying_server()), vec![fresh]);
    let client = connect(pki.client_with(offer(&stale), retrying_client()), SECRET);
    let Err(Failed::Client(error, outcome, conn)) = join(&server, client, 9999) else {
        panic!("the client must not go on");
    };
    assert!(
        matches!(
            &error,
            rustls::Error::PeerIncompatible(
                rustls::PeerIncompatible::ServerRejectedEncryptedClientHello(Some(_))
            )
        ),
        "{error:?}"
    );
    assert_eq!(
        conn.handshake_kind(),
        Some(HandshakeKind::FullWithHelloRetryRequest)
    );
    assert!(matches!(
        outcome,
        EchOutcome::Rejected {
            retry_configs: true,
            ..
        }
    ));
}

#[test]
fn grease_and_plain_after_hello_retry_request() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key]);
    for mode in [grease(), None] {
        let client = connect(pki.client_with(mode, retrying_client()), "plain.example");
        let joined = join(&server, client, 9999).unwrap();
        assert_same_exporter(&joined);
    }
}

#[test]
fn without_retry_configs_a_rejection_disables_ech() {
    let (pki, stale) = (Pki::new(), ech_key(1));
    let keys = EchKeys::new(vec![ech_key(2)])
        .unwrap()
        .with_retry_configs(None)
        .unwrap();
    let server = EchServer::new(Arc::new(pki.server()), keys).unwrap();
    let client = connect(pki.client(offer(&stale)), SECRET);
    let Err(Failed::Client(error, ..)) = join(&server, client, 9999) else {
        panic!("the client must not go on");
    };
    assert_eq!(
        error,
        rustls::PeerIncompatible::ServerRejectedEncryptedClientHello(None).into()
    );
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
        .with_single_cert(vec![pki.cert.clone()], pki.key.clone_key())
        .unwrap();
    let server = server(config, vec![key.clone()]);
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_ech(offer(&key).unwrap())
    .unwrap()
    .with_root_certificates(pki.roots())
    .with_client_auth_cert(vec![pki.cert.clone()], pki.key.clone_key())
    .unwrap();
    let joined = join(&server, connect(client, SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    assert_eq!(joined.server.peer_certificates().unwrap()[0], pki.cert);
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

#[test]
fn the_longest_retry_configs_fit_beside_a_long_certificate() {
    let pki = Pki::new();
    // 60 configs of about 67 bytes: just under the cap.
    let keys: Vec<_> = (0..60).map(ech_key).collect();
    let mut config = pki.server();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = server(config, keys);
    let mut client = pki.client(offer(&ech_key(100)));
    client.alpn_protocols = vec![b"h2".to_vec()];
    let Err(Failed::Client(error, ..)) = join(&server, connect(client, SECRET), 9999) else {
        panic!("the client must not go on");
    };
    let rustls::Error::PeerIncompatible(
        rustls::PeerIncompatible::ServerRejectedEncryptedClientHello(Some(configs)),
    ) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(configs.len(), 60);
    let too_many: Vec<_> = (0..70).map(ech_key).collect();
    assert!(EchKeys::new(too_many).is_err());
}

/// A front-layer failure, its alert on the wire included.
fn refused(server: &EchServer, bytes: &[u8]) -> (HandshakeError, u8) {
    let mut handshake = server.handshake();
    let error = handshake.read(bytes).unwrap_err();
    let alert = alert_in(&handshake.take_output()).expect("an alert record");
    assert_eq!(handshake.read(&[1]), Err(HandshakeError::Over));
    (error, alert)
}

fn first_flight(client: rustls::ClientConfig) -> Vec<u8> {
    let mut wire = Vec::new();
    connect(client, SECRET).write_tls(&mut wire).unwrap();
    wire
}

/// The hello with its ECH extension's body replaced, lengths corrected.
fn with_ech_body(wire: &[u8], body: &[u8]) -> Vec<u8> {
    let (_, hello) = HelloReader::default().read(wire).unwrap();
    let hello = echkit_proto::hello::ClientHello::parse(hello.unwrap()).unwrap();
    let mut block = Vec::new();
    for extension in hello.extensions() {
        if extension.kind == 0xfe0d {
            block.extend_from_slice(&[0xfe, 0x0d]);
            block.extend_from_slice(&(body.len() as u16).to_be_bytes());
            block.extend_from_slice(body);
        } else {
            block.extend_from_slice(&hello.bytes()[extension.whole()]);
        }
    }
    let start = hello.extensions()[0].whole().start;
    let mut message = hello.bytes()[..start - 2].to_vec();
    message.extend_from_slice(&(block.len() as u16).to_be_bytes());
    message.extend(block);
    let len = message.len() as u32 - 4;
    message[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
    wrap_handshake(&message, 16384)
}

#[test]
fn forbidden_types_get_illegal_parameter_and_malformed_ones_decode_error() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let shared = server(pki.server(), vec![key.clone()]);
    let wire = first_flight(pki.client(offer(&key)));
    let inner = with_ech_body(&wire, &[1]);
    assert_eq!(
        refused(&shared, &inner),
        (HandshakeError::Client(Misbehaviour::InnerFromNetwork), 47)
    );
    let unknown = with_ech_body(&wire, &[2, 0, 0]);
    assert_eq!(
        refused(&shared, &unknown),
        (HandshakeError::Client(Misbehaviour::UnknownType(2)), 47)
    );
    assert_eq!(refused(&shared, &with_ech_body(&wire, &[0, 0])).1, 50);
    assert_eq!(refused(&shared, &with_ech_body(&wire, &[1, 0])).1, 50);

    let backend = EchServer::backend(Arc::new(pki.server())).unwrap();
    assert_eq!(
        refused(&backend, &wire),
        (HandshakeError::Client(Misbehaviour::OuterAtBackend), 47)
    );
}

#[test]
fn the_outer_name_is_checked_only_on_demand() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]).with_outer_sni_check(true);
    let joined = join(&server, connect(pki.client(offer(&key)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
}

#[test]
fn public_name_only_turns_other_names_away() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]).with_public_name_only(true);
    for mode in [grease(), None] {
        let wire = first_flight(pki.client(mode));
        assert_eq!(
            refused(&server, &wire),
            (HandshakeError::NotPublicName, 112)
        );
    }
    join(&server, connect(pki.client(offer(&key)), SECRET), 9999).unwrap();
    join(&server, connect(pki.client(grease()), PUBLIC), 9999).unwrap();
}

#[test]
fn what_is_no_hello_gets_an_alert() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]).with_max_hello(2000);
    let wire = first_flight(pki.client(offer(&key)));
    let alert = |bytes: &[u8]| refused(&server, bytes).1;
    // ChangeCipherSpec first would let a hello slip past the front layer.
    let mut before = vec![20, 3, 3, 0, 1, 1];
    before.extend_from_slice(&wire);
    alert(&before);
    alert(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(alert(&[22, 3, 1, 0, 4, 1, 0, 0xff, 0xff]), 50);
    assert_eq!(alert(&[22, 3, 1, 0, 0]), 10);
    let mut two = wire[5..].to_vec();
    two.extend_from_slice(&[1, 0, 0, 0]);
    assert_eq!(alert(&wrap_handshake(&two, 16384)), 10);
    // Cut inside its fields, yet framed as whole.
    let mut cut = wire[5..205].to_vec();
    cut[1..4].copy_from_slice(&[0, 0, 196]);
    alert(&wrap_handshake(&cut, 16384));
}

#[test]
fn a_backend_confirms_what_a_front_forwards() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for provider in [echkit::server::provider(), retrying_server()] {
        let backend = EchServer::backend(Arc::new(pki.server_with(provider))).unwrap();
        let mut opener = None;
        let forward = |wire: Vec<u8>| forward(&key, &mut opener, wire);
        let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
        let joined = join_through(&backend, client, 9999, forward, |b| b).unwrap();
        assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
        assert_same_exporter(&joined);
        let EchOutcome::Backend { inner_sni } = joined.outcome else {
            panic!("{:?}", joined.outcome);
        };
        assert_eq!(inner_sni.as_deref(), Some(SECRET));
    }
}

type Opener = Option<Box<dyn rustls::crypto::hpke::HpkeOpener>>;

/// A client-facing server of the simplest kind: opens each hello and sends it on.
fn forward(key: &echkit_proto::key::EchKey, opener: &mut Opener, wire: Vec<u8>) -> Vec<u8> {
    use echkit_proto::hello::{ClientHello, EchExtension};
    let start = wire.iter().position(|b| *b == 22).unwrap_or(0);
    // ChangeCipherSpec comes before a second hello.
    let start = if wire[0] == 20 { 6 } else { start };
    let (_, hello) = HelloReader::default().read(&wire[start..]).unwrap();
    let hello = ClientHello::parse(hello.unwrap()).unwrap();
    let Ok(Some(EchExtension::Outer(ech))) = hello.ech() else {
        panic!("no offer");
    };
    let opener = opener.get_or_insert_with(|| key.setup_opener(ech.suite, ech.enc).unwrap());
    let encoded = opener
        .open(&hello.outer_aad().unwrap(), ech.payload)
        .unwrap();
    let inner = echkit_proto::inner::decode_checked(&encoded, &hello).unwrap();
    wrap_handshake(inner.bytes(), 16384)
}

/// RFC 9849 §7.1.1, each rule broken on the way of the second hello.
#[test]
fn second_hellos_that_do_not_continue_the_first_get_their_alerts() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key.clone()]);
    type Break = fn(Vec<u8>) -> Vec<u8>;
    let breaks: [(Break, Misbehaviour, u8); 4] = [
        (|w| rename_config_id(w, 8), Misbehaviour::SecondChanged, 47),
        (
            |mut w| {
                let last = ech_extension_at(&w) + 60;
                w[last] ^= 1;
                w
            },
            Misbehaviour::SecondNotOpened,
            51,
        ),
        (
            |w| with_ech_body(&w, &[0, 0, 1, 0, 1, 7, 0, 1, 9, 0, 1, 5]),
            Misbehaviour::SecondChanged,
            47,
        ),
        (
            |mut w| {
                // Renamed, the extension is one that nobody knows.
                let at = ech_extension_at(&w);
                w[at..at + 2].copy_from_slice(&[0xfe, 0x0e]);
                w
            },
            Misbehaviour::SecondWithout,
            109,
        ),
    ];
    for (change, expected, alert) in breaks {
        let mut flight = 0;
        let up = |wire: Vec<u8>| {
            flight += 1;
            match flight {
                1 => wire,
                _ => change(wire[6..].to_vec()),
            }
        };
        let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
        let Err(Failed::Front(error, output)) = join_through(&server, client, 9999, up, |b| b)
        else {
            panic!("{expected} went unnoticed");
        };
        assert_eq!(error, HandshakeError::Client(expected));
        assert_eq!(alert_in(&output), Some(alert));
    }
}

/// Point 7 of the acceptance list, seen from the client: a ServerHello changed on its way is no
/// acceptance, and a truncated record is no connection.
#[test]
fn a_changed_server_hello_ends_the_handshake() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    let spoil = |mut bytes: Vec<u8>| {
        // The last byte of the random: record header, handshake header, version, random.
        bytes[5 + 37] ^= 1;
        bytes
    };
    let client = connect(pki.client(offer(&key)), SECRET);
    match join_through(&server, client, 9999, |b| b, spoil) {
        Err(Failed::Client(error, ..)) => assert!(
            matches!(
                error,
                rustls::Error::DecryptError | rustls::Error::PeerMisbehaved(_)
            ),
            "{error:?}"
        ),
        other => panic!("{:?}", other.map(|j| j.outcome)),
    }
}

#[test]
fn a_hello_that_the_handshake_cannot_answer_gets_rustls_alert() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let only_p384 = only(
        rustls::crypto::aws_lc_rs::kx_group::SECP384R1,
        &echkit::server::provider(),
    );
    let server = server(pki.server_with(Arc::new(only_p384)), vec![key.clone()]);
    let only_x25519 = only(
        rustls::crypto::aws_lc_rs::kx_group::X25519,
        &rustls::crypto::aws_lc_rs::default_provider(),
    );
    let wire = first_flight(pki.client_with(offer(&key), only_x25519));
    let (error, alert) = refused(&server, &wire);
    assert!(matches!(error, HandshakeError::Tls(_)));
    assert_eq!(alert, u8::from(AlertDescription::HandshakeFailure));
}
