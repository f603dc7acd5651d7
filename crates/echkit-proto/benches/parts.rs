//! The parts that every ECH connection pays for: parsing a list, choosing, opening, decoding.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use echkit_proto::config::EchConfigList;
use echkit_proto::hello::{ClientHello, EchExtension};
use echkit_proto::inner::decode_inner;
use echkit_proto::key::{EchKey, KeyParams};
use rustls::client::{EchConfig, EchMode};
use rustls::pki_types::{EchConfigListBytes, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const RECORD_HEADER: usize = 5;

/// A hello that offers ECH under `key`, as rustls makes it.
fn offered(key: &EchKey) -> ClientHello {
    let list = EchConfigList::from(key.config().clone());
    let chosen = list.select().chosen.unwrap();
    let bytes = EchConfigListBytes::from(chosen.single_list());
    let ech = EchConfig::new(bytes, &[chosen.suite]).unwrap();
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
        let mut opener = key.setup_opener(outer.suite, outer.enc).unwrap();
        opener.open(&aad, outer.payload).unwrap()
    };
    let encoded = open();

    c.bench_function("ECHConfigList parse", |b| {
        b.iter(|| EchConfigList::parse(black_box(&bytes)).unwrap());
    });
    c.bench_function("ECHConfigList select", |b| {
        b.iter(|| black_box(&list).select())
    });
    c.bench_function("ClientHello map", |b| {
        b.iter(|| ClientHello::parse(black_box(hello.bytes())).unwrap());
    });
    c.bench_function("hello open (X25519, AES-128-GCM)", |b| b.iter(open));
    c.bench_function("inner decode", |b| {
        b.iter(|| decode_inner(black_box(&encoded), &hello).unwrap());
    });
}

criterion_group!(benches, parts);
criterion_main!(benches);
