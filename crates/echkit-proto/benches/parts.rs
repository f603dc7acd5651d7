//! The parts that every ECH connection pays for: parsing a list, choosing, opening, decoding.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use echkit_proto::config::EchConfigList;
use echkit_proto::hello::{ClientHello, EchExtension};
use echkit_proto::hpke::{Kem, PrivateKey, Suite, setup_receiver, setup_sender};
use echkit_proto::inner::decode_inner;
use echkit_proto::key::{EchKey, KeyParams};
use hpke::aead::AesGcm128;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, OpModeR, OpModeS};
use rustls::client::{EchConfig, EchMode};
use rustls::pki_types::{EchConfigListBytes, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const RECORD_HEADER: usize = 5;

/// A hello that offers ECH under `key`, as rustls makes it.
fn offered(key: &EchKey) -> ClientHello {
    let list = EchConfigList::from(key.config().clone());
    let chosen = list.select().chosen.unwrap();
    let bytes = EchConfigListBytes::from(chosen.single_list());
    let suites = rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES;
    let ech = EchConfig::new(bytes, suites).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_ech(EchMode::Enable(ech))
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("secret.example").unwrap();
    let mut connection = ClientConnection::new(config.into(), name).unwrap();
    let mut record = Vec::new();
    connection.write_tls(&mut record).unwrap();
    ClientHello::parse(record.split_off(RECORD_HEADER)).unwrap()
}

fn parts(c: &mut Criterion) {
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    let list = EchConfigList::from(key.config().clone());
    let bytes = list.encode();
    let hello = offered(&key);
    let Ok(Some(EchExtension::Outer(outer))) = hello.ech() else {
        panic!("the hello offers ECH");
    };
    let aad = hello.outer_aad().unwrap();
    let open = || {
        let mut receiver = key.setup_receiver(outer.suite, outer.enc).unwrap();
        receiver.open(&aad, outer.payload).unwrap()
    };
    let encoded = open();
    let many = many_p384_configs();

    c.bench_function("ECHConfigList parse", |b| {
        b.iter(|| EchConfigList::parse(black_box(&bytes)).unwrap());
    });
    c.bench_function("ECHConfigList select", |b| {
        b.iter(|| black_box(&list).select())
    });
    c.bench_function("ECHConfigList select, 64 KB of P-384", |b| {
        b.iter(|| black_box(&many).select())
    });
    c.bench_function("ClientHello map", |b| {
        b.iter(|| ClientHello::parse(black_box(hello.bytes())).unwrap());
    });
    c.bench_function("hello open (X25519, AES-128-GCM)", |b| b.iter(open));
    c.bench_function("inner decode", |b| {
        b.iter(|| decode_inner(black_box(&encoded), &hello).unwrap());
    });
}

/// As many P-384 configs as fit into a list.
fn many_p384_configs() -> EchConfigList {
    let params = KeyParams::new("a.example").unwrap().with_kem(Kem::P384);
    let config = EchKey::generate(&params).unwrap().config().clone();
    let count = usize::from(u16::MAX) / config.encoded().len();
    EchConfigList::from_configs(vec![config; count]).unwrap()
}

/// Ours beside the crate `hpke`: both set-ups with one message, each under the mandatory suite.
fn hpke_set_ups(c: &mut Criterion) {
    const INFO: &[u8] = &[7; 70];
    const MESSAGE: &[u8] = &[7; 250];
    let suite = Suite::MANDATORY;
    let key = PrivateKey::generate(suite.kem).unwrap();
    let seal = || {
        let (enc, mut sender) = setup_sender(suite, key.public_key(), INFO).unwrap();
        (enc, sender.seal(b"", MESSAGE).unwrap())
    };
    let (enc, sealed) = seal();
    c.bench_function("HPKE seal, ours", |b| b.iter(seal));
    c.bench_function("HPKE open, ours", |b| {
        b.iter(|| {
            let mut receiver = setup_receiver(suite.sym, &enc, &key, INFO).unwrap();
            receiver.open(b"", &sealed).unwrap()
        });
    });

    type PublicKey = <X25519HkdfSha256 as hpke::kem::Kem>::PublicKey;
    type Private = <X25519HkdfSha256 as hpke::kem::Kem>::PrivateKey;
    type Enc = <X25519HkdfSha256 as hpke::kem::Kem>::EncappedKey;
    let public = PublicKey::from_bytes(key.public_key()).unwrap();
    let private = Private::from_bytes(&key.to_bytes().unwrap()).unwrap();
    let their_enc = Enc::from_bytes(&enc).unwrap();
    c.bench_function("HPKE seal, crate hpke", |b| {
        b.iter(|| {
            let (enc, mut sender) = hpke::setup_sender::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &public,
                INFO,
            )
            .unwrap();
            (enc, sender.seal(MESSAGE, b"").unwrap())
        });
    });
    c.bench_function("HPKE open, crate hpke", |b| {
        b.iter(|| {
            let mut receiver = hpke::setup_receiver::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &private,
                &their_enc,
                INFO,
            )
            .unwrap();
            receiver.open(&sealed, b"").unwrap()
        });
    });
}

/// What a hello costs a server that names one of its keys, before anything is known of the client.
fn opens_by_kem(c: &mut Criterion) {
    const INFO: &[u8] = &[7; 70];
    const MESSAGE: &[u8] = &[7; 250];
    for kem in Kem::ALL {
        let suite = Suite {
            kem: *kem,
            sym: Suite::MANDATORY.sym,
        };
        if !suite.is_supported() {
            continue;
        }
        let key = PrivateKey::generate(suite.kem).unwrap();
        let (enc, mut sender) = setup_sender(suite, key.public_key(), INFO).unwrap();
        let sealed = sender.seal(b"", MESSAGE).unwrap();
        c.bench_function(&format!("open under {kem}"), |b| {
            b.iter(|| {
                let mut receiver = setup_receiver(suite.sym, &enc, &key, INFO).unwrap();
                receiver.open(b"", &sealed).unwrap()
            });
        });
    }
}

criterion_group!(benches, parts, hpke_set_ups, opens_by_kem);
criterion_main!(benches);
