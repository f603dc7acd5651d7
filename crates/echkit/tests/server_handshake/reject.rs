//! Offers that are not opened, GREASE among them, and hellos without one: served by the outer name.

use std::sync::Arc;

use echkit::server::{EchKeys, EchOutcome, EchServer, HandshakeError, Misbehaviour, RejectReason};
use rustls::client::EchStatus;
use rustls::{HandshakeKind, ProtocolVersion};

use echkit_test::in_memory::edit::{with_added_ech, without_ech};
use echkit_test::in_memory::*;
use echkit_test::sealed::{SUITE, SecretLog};

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

/// A server that asks for a second hello, and a log of its secrets.
fn logging_server(pki: &Pki, keys: EchKeys) -> (EchServer, Arc<SecretLog>) {
    let mut provider = (*retrying_server()).clone();
    provider
        .cipher_suites
        .retain(|s| s.suite() == SUITE.suite());
    let mut config = pki.server_with(Arc::new(provider));
    let log = Arc::new(SecretLog::default());
    config.key_log = log.clone();
    (EchServer::new(Arc::new(config), keys).unwrap(), log)
}

/// The server's extension in EncryptedExtensions, and the outcome, when the second hello is changed. The client
/// can read neither, since its transcript is another: so the records are opened with the server's
/// own secrets.
fn changed_second(
    (server, log): &(EchServer, Arc<SecretLog>),
    client: rustls::ClientConfig,
    change: impl FnOnce(&[u8]) -> Vec<u8>,
) -> (Option<Vec<u8>>, EchOutcome) {
    let mut client = connect(client, PUBLIC);
    let mut handshake = server.handshake();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    handshake.read(&wire).unwrap();
    let retry = handshake.take_output();
    client.read_tls(&mut &retry[..]).unwrap();
    client.process_new_packets().unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    // After ChangeCipherSpec.
    handshake.read(&change(&wire[6..])).unwrap();
    let flight = handshake.take_output();
    let extensions = log
        .open_server(&flight)
        .into_iter()
        .find(|(_, body)| body[0] == 8)
        .unwrap()
        .1;
    let (conn, outcome) = handshake.finish().unwrap();
    assert!(conn.is_handshaking());
    (ech_in(&extensions), outcome)
}

/// The body of the ECH extension in EncryptedExtensions, other messages after it or not.
fn ech_in(message: &[u8]) -> Option<Vec<u8>> {
    let len = |at: &[u8]| usize::from(u16::from_be_bytes([at[0], at[1]]));
    let mut rest = &message[6..6 + len(&message[4..])];
    while !rest.is_empty() {
        let (kind, body) = (len(rest), &rest[4..4 + len(&rest[2..])]);
        if kind == 0xfe0d {
            return Some(body.to_vec());
        }
        rest = &rest[4 + body.len()..];
    }
    None
}

/// RFC 9849 §7.1.1: what comes first in the second hello is not opened, and is answered with
/// retry_configs.
#[test]
fn a_late_offer_is_answered_with_retry_configs() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let keys = EchKeys::new(vec![key]).unwrap();
    let list = keys.retry_configs().unwrap().encode();
    let server = logging_server(&pki, keys);
    let plain = || pki.client_with(None, retrying_client());
    let outer = [0, 0, 1, 0, 1, 7, 0, 0, 0, 1, 5];
    let (extension, outcome) = changed_second(&server, plain(), |w| with_added_ech(w, &outer));
    assert_eq!(extension, Some(list));
    assert_eq!(
        outcome,
        EchOutcome::Rejected {
            outer_sni: Some(PUBLIC.to_owned()),
            reason: RejectReason::OfferedLate,
            retry_configs: true,
        }
    );
    // And nothing is sent that the hello did not ask for.
    let (extension, outcome) = changed_second(&server, plain(), <[u8]>::to_vec);
    assert_eq!((extension, outcome), (None, EchOutcome::NotOffered));
}

/// RFC 8446 §4.2: no extension in EncryptedExtensions that the answered hello lacks.
#[test]
fn an_offer_that_the_second_hello_lacks_is_not_answered() {
    let (pki, stale) = (Pki::new(), ech_key(1));
    let server = logging_server(&pki, EchKeys::new(vec![ech_key(2)]).unwrap());
    let client = || pki.client_with(offer(&stale), retrying_client());
    let (extension, outcome) = changed_second(&server, client(), without_ech);
    assert_eq!(extension, None);
    assert!(
        matches!(
            outcome,
            EchOutcome::Rejected {
                retry_configs: false,
                reason: RejectReason::UnknownConfigId,
                ..
            }
        ),
        "{outcome:?}"
    );
    let (extension, _) = changed_second(&server, client(), <[u8]>::to_vec);
    assert!(extension.is_some());
}

/// What no client may send is refused in the second hello too, whatever the first one was.
#[test]
fn forbidden_types_are_refused_in_the_second_hello() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key]);
    for (body, expected) in [
        (&[1][..], Misbehaviour::InnerFromNetwork),
        (&[2][..], Misbehaviour::UnknownType(2)),
    ] {
        for mode in [grease(), None] {
            let mut flight = 0;
            let up = |wire: Vec<u8>| {
                flight += 1;
                match flight {
                    1 => wire,
                    _ => with_added_ech(&without_ech(&wire[6..]), body),
                }
            };
            let client = connect(pki.client_with(mode, retrying_client()), PUBLIC);
            let Err(Failed::Front(error, output)) = join_through(&server, client, 9999, up, |b| b)
            else {
                panic!("{expected} went unnoticed");
            };
            assert_eq!(error, HandshakeError::Client(expected));
            assert_eq!(alert_in(&output), Some(47));
        }
    }
}
