//! The lengths of a server's records, which must not tell what became of an offer.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use echkit::server::{EchKeys, EchServer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{EchMode, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, DigitallySignedStruct, SignatureScheme};

use echkit_test::in_memory::*;

/// The lengths of records, headers included.
fn lengths(records: &[u8]) -> Vec<usize> {
    records_in(records)
        .iter()
        .map(|record| record.bytes.len())
        .collect()
}

/// RFC 9849 §10.10.4: for as long as the connection lasts.
#[test]
fn records_are_as_long_on_accepted_connections_as_on_all_others() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for size in [None, Some(517), Some(4000)] {
        let mut config = pki.server();
        config.max_fragment_size = size;
        let server = server(config, vec![key.clone()]);
        let cases: [(&str, Option<EchMode>, &str); 3] = [
            ("accepted", offer(&key), SECRET),
            ("GREASE", grease(), PUBLIC),
            ("no ECH", None, PUBLIC),
        ];
        let mut seen = BTreeMap::new();
        for (what, mode, name) in cases {
            let joined = join(&server, connect(pki.client(mode), name), 9999).unwrap();
            let mut conn = joined.server;
            conn.set_buffer_limit(None);
            conn.writer().write_all(&[7; 50_000]).unwrap();
            let mut wire = Vec::new();
            while conn.wants_write() {
                conn.write_tls(&mut wire).unwrap();
            }
            seen.insert(what, lengths(&wire));
        }
        let plain = &seen["no ECH"];
        assert!(plain.len() > 1 && plain[0] > 100, "{plain:?}");
        assert!(seen.values().all(|lengths| lengths == plain), "{seen:?}");
    }
}

/// The record that grows by the retry_configs stays within what the operator asked for.
#[test]
fn rejections_keep_to_the_operators_max_fragment_size() {
    let pki = Pki::new();
    for published in [1, 4] {
        let keys = || (1..=published).map(ech_key).collect::<Vec<_>>();
        for max in [517, 700, 1400, 16_389] {
            let mut config = pki.server();
            config.max_fragment_size = Some(max);
            let server = EchServer::new(Arc::new(config), EchKeys::new(keys()).unwrap()).unwrap();
            let mut longest = 0;
            let client = connect(pki.client(offer(&ech_key(99))), SECRET);
            let _ = join_through(
                &server,
                client,
                9999,
                |bytes| bytes,
                |bytes| {
                    longest = longest.max(lengths(&bytes).into_iter().max().unwrap_or(0));
                    bytes
                },
            );
            // Content type and tag of the AEAD come on top, as in every record.
            assert!(
                longest > 100 && longest <= max + 1 + 16,
                "{longest} > {max}"
            );
        }
    }
}

/// Verifies as usual, and offers schemes that no ECDSA key has.
#[derive(Debug)]
struct RsaAlone(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for RsaAlone {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PSS_SHA256]
    }
}

/// RFC 8446 §4.4.3: with an offer, accepted or not, as without.
#[test]
fn no_common_signature_scheme_is_handshake_failure_whatever_was_offered() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    for mode in [offer(&key), offer(&ech_key(8)), grease(), None] {
        let mut config = pki.client(mode);
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(pki.roots()),
            config.crypto_provider().clone(),
        );
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(RsaAlone(verifier.build().unwrap())));
        let mut client = connect(config, SECRET);
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let mut handshake = server.handshake();
        let error = handshake.read(&hello).unwrap_err();
        assert!(
            error.to_string().contains("NoSignatureSchemesInCommon"),
            "{error}"
        );
        let output = handshake.take_output();
        let mut output = output.as_slice();
        client.read_tls(&mut output).unwrap();
        assert_eq!(
            client.process_new_packets().unwrap_err(),
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)
        );
    }
}
