#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::client::{EchConfig, EchMode};
use rustls::pki_types::EchConfigListBytes;

use super::*;
use crate::config::EchConfigList;
use crate::key::{EchKey, KeyParams};

/// The first hello of a stock rustls client, as a handshake message.
pub(crate) fn rustls_hello(mode: Option<EchMode>, name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = match mode {
        Some(mode) => builder.with_ech(mode).unwrap(),
        None => builder.with_safe_default_protocol_versions().unwrap(),
    };
    let mut config = builder
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let (taken, hello) = HelloReader::default().read(&wire).unwrap();
    assert_eq!(taken, wire.len());
    hello.unwrap()
}

/// A client's real offer under `key`.
pub(crate) fn offer(key: &EchKey) -> EchMode {
    let list = EchConfigList::from_configs(vec![key.config().clone()]).unwrap();
    let suites = rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES;
    EchConfig::new(EchConfigListBytes::from(list.encode()), suites)
        .unwrap()
        .into()
}

#[test]
fn maps_a_plain_hello() {
    let hello = ClientHello::parse(rustls_hello(None, "plain.example")).unwrap();
    assert_eq!(hello.legacy_version(), 0x0303);
    assert_eq!(hello.session_id().len(), 32);
    assert_eq!(hello.compression_methods(), [0]);
    assert_eq!(hello.server_name(), Some("plain.example"));
    assert_eq!(hello.alpn().unwrap(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.supported_versions().unwrap(), [0x0304, 0x0303]);
    assert!(hello.key_share_groups().unwrap().contains(&0x001d));
    assert!(hello.cipher_suites().any(|s| s == 0x1301));
    assert!(!hello.has_pre_shared_key());
    assert_eq!(hello.ech(), Ok(None));
    assert_eq!(hello.outer_aad(), None);
}

#[test]
fn maps_an_ech_offer() {
    let mut params = KeyParams::new("public.example").unwrap();
    params.config_id = Some(42);
    let key = EchKey::generate(&params).unwrap();
    let hello = ClientHello::parse(rustls_hello(Some(offer(&key)), "secret.example")).unwrap();
    assert_eq!(hello.server_name(), Some("public.example"));
    let Ok(Some(EchExtension::Outer(outer))) = hello.ech() else {
        panic!("no outer extension");
    };
    assert_eq!(outer.config_id, 42);
    assert_eq!(outer.suite, SymmetricSuite::MANDATORY);
    assert_eq!(outer.enc.len(), 32);
    assert_eq!(outer.payload, &hello.bytes()[outer.payload_range.clone()]);
    assert!(!hello.bytes().windows(6).any(|w| w == b"secret"));
}

#[test]
fn aad_is_what_the_client_sealed_with() {
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    let hello = ClientHello::parse(rustls_hello(Some(offer(&key)), "secret.example")).unwrap();
    let Ok(Some(EchExtension::Outer(outer))) = hello.ech() else {
        panic!("no outer extension");
    };
    let mut receiver = key.setup_receiver(outer.suite, outer.enc).unwrap();
    let inner = receiver
        .open(&hello.outer_aad().unwrap(), outer.payload)
        .unwrap();
    assert!(inner.windows(14).any(|w| w == b"secret.example"));
}

/// A hello made by hand: one suite, null compression, the given extension block.
fn by_hand(block: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend_from_slice(block);
    let mut message = vec![1, 0];
    message.extend_from_slice(&(body.len() as u16).to_be_bytes());
    message.extend_from_slice(&body);
    message
}

#[test]
fn refuses_what_is_no_hello() {
    let whole = by_hand(&[]);
    assert!(ClientHello::parse(whole.clone()).is_ok());
    for cut in 0..whole.len() {
        assert!(ClientHello::parse(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(
        ClientHello::parse(longer).unwrap_err(),
        HelloError::Length("handshake message")
    );
    let mut other = whole;
    other[0] = 2;
    assert_eq!(
        ClientHello::parse(other).unwrap_err(),
        HelloError::NotClientHello
    );
}

#[test]
fn refuses_duplicate_extensions() {
    let block = [0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0xab, 0xcd, 0, 0];
    assert_eq!(
        ClientHello::parse(by_hand(&block)).unwrap_err(),
        HelloError::DuplicateExtension(0xabcd)
    );
}

#[test]
fn reads_each_kind_of_ech_extension() {
    let ech = |body: &[u8]| {
        let mut block = vec![0xfe, 0x0d, 0, body.len() as u8];
        block.extend_from_slice(body);
        ClientHello::parse(by_hand(&block)).unwrap()
    };
    assert_eq!(ech(&[1]).ech(), Ok(Some(EchExtension::Inner)));
    assert_eq!(ech(&[1, 0]).ech(), Err(HelloError::Trailing));
    assert_eq!(ech(&[2, 9]).ech(), Ok(Some(EchExtension::Unknown(2))));
    assert_eq!(ech(&[]).ech(), Err(HelloError::Short));
    assert!(ech(&[0, 0, 1, 0, 1, 9, 0, 0, 0, 1, 5]).ech().is_ok());
    assert_eq!(
        ech(&[0, 0, 1, 0, 1, 9, 0, 0, 0, 0]).ech(),
        Err(HelloError::Length("ECH payload"))
    );
}
