//! What is refused, and with which alert.

use std::sync::Arc;

use echkit::server::{EchOutcome, EchServer, HandshakeError, Misbehaviour, provider};
use echkit_proto::config::PublicName;
use echkit_proto::hello::HelloReadError;
use echkit_proto::tls_record::wrap_handshake;
use rustls::client::EchStatus;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, ResolvesServerCertUsingSni};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{AlertDescription, ServerConfig, SignatureAlgorithm, SignatureScheme};

use echkit_test::in_memory::disguise::disguised;
use echkit_test::in_memory::edit::{
    ech_extension_at, first_flight, rename_config_id, with_ech_body,
};
use echkit_test::in_memory::*;

/// A front-layer failure, its alert on the wire included.
fn refused(server: &EchServer, bytes: &[u8]) -> (HandshakeError, u8) {
    let mut handshake = server.handshake();
    let error = handshake.read(bytes).unwrap_err();
    let alert = alert_in(&handshake.take_output()).expect("an alert record");
    assert_eq!(handshake.read(&[1]), Err(HandshakeError::Over));
    (error, alert)
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

/// The optional check of RFC 9849 §7.1.
#[test]
fn the_outer_name_is_checked_only_on_demand() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let lenient = server(pki.server(), vec![key.clone()]);
    let strict = lenient.clone().with_outer_sni_check(true);
    let covered = || {
        disguised(&key, |c| {
            c.public_name = PublicName::new("cover.example").unwrap()
        })
    };

    let joined = join(&strict, connect(pki.client(offer(&key)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    let joined = join(&lenient, connect(pki.client(covered()), SECRET), 9999).unwrap();
    let EchOutcome::Accepted { outer_sni, .. } = joined.outcome else {
        panic!("{:?}", joined.outcome);
    };
    assert_eq!(outer_sni.as_deref(), Some("cover.example"));
    assert_eq!(
        refused(&strict, &first_flight(pki.client(covered()))),
        (HandshakeError::Client(Misbehaviour::OuterName), 47)
    );
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

/// A configuration of stock rustls that has a certificate for some names and for no other.
fn serving(pki: &Pki, provider: Arc<CryptoProvider>, names: &[&str]) -> ServerConfig {
    let key = provider
        .key_provider
        .load_private_key(pki.site.key.clone_key());
    let certified = CertifiedKey::new(vec![pki.site.cert.clone()], key.unwrap());
    let mut resolver = ResolvesServerCertUsingSni::new();
    for name in names {
        resolver.add(name, certified.clone()).unwrap();
    }
    let mut config = pki.server_with(provider);
    config.cert_resolver = Arc::new(resolver);
    config
}

const ACCESS_DENIED: u8 = 49;
const MISSING_EXTENSION: u8 = 109;
const UNRECOGNIZED_NAME: u8 = 112;

#[test]
fn an_accepted_hello_with_an_unknown_name_gets_unrecognized_name_and_one_without_missing_extension()
{
    let (pki, key) = (Pki::new(), ech_key(7));
    let config = serving(&pki, provider(), &[PUBLIC, "plain.example"]);
    let shared = server(config.clone(), vec![key.clone()]);
    for (name, expected) in [
        (SECRET, (HandshakeError::UnknownName, UNRECOGNIZED_NAME)),
        // An address is no server name: the hello has none.
        ("192.0.2.1", (HandshakeError::NoName, MISSING_EXTENSION)),
    ] {
        let mut wire = Vec::new();
        let mut client = connect(pki.client(offer(&key)), name);
        client.write_tls(&mut wire).unwrap();
        let mut handshake = shared.handshake();
        let error = handshake.read(&wire).unwrap_err();
        let output = handshake.take_output();
        // The alert, and nothing of what rustls wrote.
        assert_eq!(output, [21, 3, 3, 0, 2, 2, expected.1], "{name}");
        assert_eq!(error, expected.0, "{name}");
        let told = client.read_tls(&mut output.as_slice());
        told.unwrap();
        let told = client.process_new_packets().unwrap_err();
        let alert = match expected.1 {
            UNRECOGNIZED_NAME => AlertDescription::UnrecognisedName,
            _ => AlertDescription::MissingExtension,
        };
        assert_eq!(told, rustls::Error::AlertReceived(alert), "{name}");

        // So where the configuration is chosen once the hello is known.
        let site = server(config.clone(), Vec::new());
        let mut handshake = shared.handshake_with_choice();
        handshake.read(&wire).unwrap();
        assert_eq!(handshake.answer(&site), Err(expected.0.clone()));
        assert_eq!(alert_in(&handshake.take_output()), Some(expected.1));
    }
    // A name that is served is answered.
    let all = serving(&pki, provider(), &[PUBLIC, SECRET]);
    let all = server(all, vec![key.clone()]);
    let joined = join(&all, connect(pki.client(offer(&key)), SECRET), 9999).unwrap();
    assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
}

#[test]
fn an_unknown_name_gets_unrecognized_name_where_another_group_would_be_asked_for() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let config = serving(&pki, retrying_server(), &[PUBLIC]);
    let server = server(config, vec![key.clone()]);
    let wire = first_flight(pki.client_with(offer(&key), retrying_client()));
    assert_eq!(
        refused(&server, &wire),
        (HandshakeError::UnknownName, UNRECOGNIZED_NAME)
    );
}

#[test]
fn names_in_the_clear_are_answered_as_without_ech() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let config = serving(&pki, provider(), &[PUBLIC, "plain.example"]);
    let stale = ech_key(7);
    let server = server(config, vec![key.clone()]);
    // The public name works for offers that cannot be opened, and so does every other for GREASE.
    let client = connect(pki.client(offer(&stale)), SECRET);
    let Err(Failed::Client(error, outcome, _)) = join(&server, client, 9999) else {
        panic!("the client must not go on");
    };
    assert!(
        matches!(outcome, EchOutcome::Rejected { .. }),
        "{outcome:?}"
    );
    let told = error.to_string();
    assert!(
        told.contains("ServerRejectedEncryptedClientHello"),
        "authenticated: {told}"
    );
    for (mode, name) in [
        (grease(), "plain.example"),
        (None, "plain.example"),
        (None, PUBLIC),
    ] {
        join(&server, connect(pki.client(mode), name), 9999).unwrap();
    }
    // rustls' own word where it has no certificate.
    for mode in [grease(), None] {
        let wire = first_flight(pki.client(mode));
        let (error, alert) = refused(&server, &wire);
        assert!(matches!(error, HandshakeError::Tls(_)), "{error:?}");
        assert_eq!(alert, ACCESS_DENIED);
    }
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
    // RFC 8446 §5.1: longer than any record may be.
    let error = HandshakeError::Records(HelloReadError::Overflow(16385));
    assert_eq!(refused(&server, &[22, 3, 1, 0x40, 1]), (error, 22));
    let mut two = wire[5..].to_vec();
    two.extend_from_slice(&[1, 0, 0, 0]);
    assert_eq!(alert(&wrap_handshake(&two, 16384)), 10);
    // Cut inside its fields, yet framed as whole.
    let mut cut = wire[5..205].to_vec();
    cut[1..4].copy_from_slice(&[0, 0, 196]);
    alert(&wrap_handshake(&cut, 16384));
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
                // Renamed, the extension is an unknown one.
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

/// While the second hello is awaited, early data passes by, in records as long as any may be.
#[test]
fn an_oversized_record_before_the_second_hello_is_refused() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key.clone()]);
    for (mode, name) in [(offer(&key), SECRET), (None, PUBLIC)] {
        let mut client = connect(pki.client_with(mode, retrying_client()), name);
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let mut handshake = server.handshake();
        handshake.read(&wire).unwrap();
        handshake.take_output();
        let error = handshake.read(&[23, 3, 3, 0x41, 1]).unwrap_err();
        assert_eq!(
            error,
            HandshakeError::Records(HelloReadError::Overflow(16641))
        );
        assert_eq!(handshake.take_output(), [21, 3, 3, 0, 2, 2, 22]);
    }
}

/// A client that closes its side before a ClientHello is complete, the second one included.
#[test]
fn a_hello_cut_short_by_the_end_gets_decode_error() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server_with(retrying_server()), vec![key.clone()]);
    let mut client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
    let mut first = Vec::new();
    client.write_tls(&mut first).unwrap();
    let mut handshake = server.handshake();
    handshake.read(&first).unwrap();
    let retry = handshake.take_output();
    client.read_tls(&mut &retry[..]).unwrap();
    client.process_new_packets().unwrap();
    let mut second = Vec::new();
    client.write_tls(&mut second).unwrap();

    // ChangeCipherSpec, six bytes, comes before the second hello.
    for (second_len, cut) in [(0, false), (3, true), (6, false), (8, true), (100, true)] {
        let mut handshake = server.handshake();
        handshake.read(&first).unwrap();
        handshake.take_output();
        handshake.read(&second[..second_len]).unwrap();
        let expected = match cut {
            true => (Err(HandshakeError::Truncated), vec![21, 3, 3, 0, 2, 2, 50]),
            false => (Ok(()), Vec::new()),
        };
        let got = (handshake.end(), handshake.take_output());
        assert_eq!(got, expected, "cut at {second_len}");
        assert_eq!(handshake.read(&[1]), Err(HandshakeError::Over));
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

/// A certificate whose key does not sign.
#[derive(Debug)]
struct Broken(Arc<CertifiedKey>);

impl ResolvesServerCert for Broken {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::new(CertifiedKey::new(
            self.0.cert.clone(),
            Arc::new(BrokenKey(self.0.key.clone())),
        )))
    }
}

#[derive(Debug)]
struct BrokenKey(Arc<dyn SigningKey>);

impl SigningKey for BrokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = self.0.choose_scheme(offered)?;
        Some(Box::new(BrokenSigner(signer.scheme())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct BrokenSigner(SignatureScheme);

impl Signer for BrokenSigner {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Err(rustls::Error::General("the key is out of reach".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}

/// rustls itself says nothing, and leaves a ServerHello that nothing follows.
#[test]
fn a_key_that_does_not_sign_is_internal_error() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for provider in [echkit::server::provider(), retrying_server()] {
        let certified = CertifiedKey::from_der(
            vec![pki.site.cert.clone()],
            pki.site.key.clone_key(),
            &provider,
        )
        .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Broken(Arc::new(certified))));
        let server = server(config, vec![key.clone()]);
        for mode in [offer(&key), grease(), None] {
            let client = connect(pki.client_with(mode, retrying_client()), SECRET);
            let Err(Failed::Front(error, output)) = join(&server, client, 9999) else {
                panic!("nobody signed");
            };
            assert!(matches!(error, HandshakeError::Tls(_)), "{error}");
            assert_eq!(output, [21, 3, 3, 0, 2, 2, 80]);
        }
    }
}
