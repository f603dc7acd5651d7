//! Where the time goes that ECH adds: each part alone, the fastest batch of each.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit::tls::TlsTarget;
use echkit_proto::client::{Guard, Offering};
use echkit_proto::hello::{ClientHello, EchExtension};
use echkit_proto::hpke::{Suite, setup_receiver, setup_sender};
use echkit_proto::inner::decode_inner;
use rustls::ClientConnection;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::pki_types::ServerName;

use super::{BATCH, Bench, NAME, PUBLIC, micros};

const RECORD_HEADER: usize = 5;

/// Measures the parts in turns, and prints them.
pub(super) fn table(bench: &Bench, rounds: u32) {
    let name = || ServerName::try_from(NAME).unwrap();
    let mut target = TlsTarget::new(name());
    target.offer = bench.published.clone();
    let prepared = bench.ours_client.prepare(&target).unwrap();
    let first = || {
        let config = Arc::clone(&prepared.config);
        let made = prepared
            .scope
            .enter(|| ClientConnection::new(config, name()));
        let mut bytes = Vec::new();
        made.unwrap().write_tls(&mut bytes).unwrap();
        bytes
    };
    let stock_first = || {
        let mut made = ClientConnection::new(Arc::clone(&bench.stock_client), name()).unwrap();
        let mut bytes = Vec::new();
        made.write_tls(&mut bytes).unwrap();
        bytes
    };
    let flight = first();
    let hello = ClientHello::parse(flight[RECORD_HEADER..].to_vec()).unwrap();
    let Ok(Some(EchExtension::Outer(outer))) = hello.ech() else {
        panic!("the hello offers ECH");
    };
    let info = bench.key.config().hpke_info();
    let public = &bench.key.contents().public_key;
    let receiver = echkit_proto::hpke::PrivateKey::generate(Suite::MANDATORY.kem).unwrap();
    let (enc, _) = setup_sender(Suite::MANDATORY, receiver.public_key(), &info).unwrap();
    let aad = hello.outer_aad().unwrap();
    let open = || {
        let mut receiver = bench.key.setup_receiver(outer.suite, outer.enc).unwrap();
        receiver.open(&aad, outer.payload).unwrap()
    };
    let encoded = open();
    let hidden = Offering::Hidden {
        name: Some(NAME.to_owned()),
        outer: PUBLIC.to_owned(),
    };
    let share = X25519.start().unwrap().pub_key().to_vec();

    let mut parts: [Part<'_>; 11] = [
        Part::new("X25519 key pair", || drop(X25519.start().unwrap())),
        Part::new("X25519 key pair and agreement", || {
            drop(X25519.start().unwrap().complete(&share).unwrap());
        }),
        Part::new("client: stock configuration and first hello", || {
            drop(stock_first());
        }),
        Part::new("client: configuration with the offer", || {
            drop(bench.ours_client.prepare(&target).unwrap());
        }),
        Part::new("client: first hello with ECH", || drop(first())),
        Part::new("client: HPKE set-up in it", || {
            drop(setup_sender(Suite::MANDATORY, public, &info).unwrap());
        }),
        Part::new("client: guard", || {
            let mut guard = Guard::new(hidden.clone(), None);
            guard.push(&flight).unwrap();
            drop(black_box(guard));
        }),
        Part::new("server: map of the hello", || {
            drop(ClientHello::parse(black_box(hello.bytes()).to_vec()).unwrap());
        }),
        Part::new("server: HPKE set-up", || {
            drop(setup_receiver(Suite::MANDATORY.sym, &enc, &receiver, &info).unwrap());
        }),
        Part::new(
            "server: opening, HPKE set-up and associated data in it",
            || {
                drop(black_box(hello.outer_aad().unwrap()));
                drop(open());
            },
        ),
        Part::new("server: decoding ClientHelloInner", || {
            drop(decode_inner(black_box(&encoded), &hello).unwrap());
        }),
    ];
    for _ in 0..rounds {
        parts.iter_mut().for_each(Part::turn);
    }
    println!("minimum of {rounds} batches of {BATCH}, microseconds");
    for part in &parts {
        println!("{:<56}{:>8.1}", part.name, micros(part.best));
    }
}

struct Part<'a> {
    name: &'static str,
    run: Box<dyn Fn() + 'a>,
    best: Duration,
}

impl<'a> Part<'a> {
    fn new(name: &'static str, run: impl Fn() + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
            best: Duration::MAX,
        }
    }

    fn turn(&mut self) {
        let start = Instant::now();
        for _ in 0..BATCH {
            (self.run)();
        }
        self.best = self.best.min(start.elapsed() / BATCH);
    }
}
