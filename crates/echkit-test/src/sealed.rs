//! What encrypted records say, opened with the secrets of a key log: alerts as they were sent.

use std::sync::Mutex;

use echkit_proto::tls_record::whole_records;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::cipher::{AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter};
use rustls::crypto::tls13::OkmBlock;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ContentType, KeyLog, ProtocolVersion, SupportedCipherSuite};

/// The suite to use with [`SecretLog`]: its keys are as long as rustls lets us make them.
pub const SUITE: SupportedCipherSuite = TLS13_CHACHA20_POLY1305_SHA256;

/// A provider with [`SUITE`] alone.
pub fn one_suite() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![SUITE],
        ..aws_lc_rs::default_provider()
    }
}

/// Keeps the secrets of the last connection.
#[derive(Debug, Default)]
pub struct SecretLog(Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for SecretLog {
    fn log(&self, label: &str, _random: &[u8], secret: &[u8]) {
        let entry = (label.to_owned(), secret.to_vec());
        self.0.lock().unwrap().push(entry);
    }
}

impl SecretLog {
    /// What the client's records say.
    pub fn open_client(&self, wire: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        self.open(
            wire,
            ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"],
        )
    }

    /// What the server's records say.
    pub fn open_server(&self, wire: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        self.open(
            wire,
            ["SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"],
        )
    }

    /// Each record, those in the plain included. The second secret follows when the first one
    /// opens no more.
    fn open(&self, wire: &[u8], labels: [&str; 2]) -> Vec<(ContentType, Vec<u8>)> {
        let log = self.0.lock().unwrap();
        let secret = |label: &str| log.iter().rev().find(|(l, _)| l == label);
        let mut keys: Vec<_> = labels
            .iter()
            .filter_map(|label| secret(label))
            .map(|(_, secret)| decrypter(secret))
            .collect();
        keys.reverse();
        let mut seq = 0;
        let mut records = Vec::new();
        let mut wire = whole_records(wire);
        for record in &mut wire {
            let typ = ContentType::from(record.header.content_type);
            if typ != ContentType::ApplicationData {
                records.push((typ, record.content().to_vec()));
                continue;
            }
            let opened = loop {
                let key = keys.last_mut().expect("a secret that opens the record");
                let mut sealed = record.content().to_vec();
                let message = InboundOpaqueMessage::new(typ, ProtocolVersion::TLSv1_2, &mut sealed);
                if let Ok(plain) = key.decrypt(message, seq) {
                    break (plain.typ, plain.payload.to_vec());
                }
                keys.pop();
                seq = 0;
            };
            seq += 1;
            records.push(opened);
        }
        assert!(wire.rest().is_empty(), "a record was cut short");
        records
    }
}

/// The alert among opened records: fatal, and the last of them.
pub fn alert_of(records: &[(ContentType, Vec<u8>)]) -> Option<u8> {
    match records.last()? {
        (ContentType::Alert, body) if body[0] == 2 => Some(body[1]),
        _ => None,
    }
}

fn decrypter(secret: &[u8]) -> Box<dyn MessageDecrypter> {
    let suite = SUITE.tls13().unwrap();
    let expand = |label: &[u8], out: &mut [u8]| {
        let len = (out.len() as u16).to_be_bytes();
        let label = [b"tls13 ", label].concat();
        suite
            .hkdf_provider
            .expander_for_okm(&OkmBlock::new(secret))
            .expand_slice(&[&len, &[label.len() as u8], &label, &[0]], out)
            .unwrap();
    };
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    expand(b"key", &mut key);
    expand(b"iv", &mut iv);
    suite.aead_alg.decrypter(AeadKey::from(key), Iv::new(iv))
}
