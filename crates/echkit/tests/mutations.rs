//! Mutated first flights at the front layer: no panic, and never silence.

#![allow(clippy::unwrap_used)]

use echkit::server::HandshakeError;
use echkit_proto::accept::is_hello_retry_request;
use echkit_test::in_memory::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn count() -> u64 {
    let text = std::env::var("ECHKIT_MUTATIONS");
    text.map_or(3_000, |n| n.parse().expect("ECHKIT_MUTATIONS is a number"))
}

fn mutate(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..out.len());
        match rng.random_range(0..5) {
            0 => out[at] ^= 1 << rng.random_range(0..8),
            1 => out[at] = rng.random(),
            2 => out.truncate(at.max(1)),
            3 => {
                let end = rng.random_range(at..=out.len().min(at + 64));
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            _ => {
                out.drain(at..(at + rng.random_range(1..=8)).min(out.len()));
                out.push(0);
            }
        }
    }
    out
}

#[test]
fn mutated_first_flights_end_in_a_connection_an_alert_or_waiting() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let server = server(pki.server(), vec![key.clone()]);
    let flights =
        [(offer(&key), SECRET), (grease(), PUBLIC), (None, PUBLIC)].map(|(mode, name)| {
            let mut wire = Vec::new();
            connect(pki.client(mode), name)
                .write_tls(&mut wire)
                .unwrap();
            wire
        });
    let (mut done, mut refused, mut waiting) = (0_u64, 0_u64, 0_u64);
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let wire = mutate(&flights[rng.random_range(0..flights.len())], &mut rng);
        let mut handshake = server.handshake();
        let mut failed = None;
        for chunk in wire.chunks(rng.random_range(1..3000)) {
            if let Err(error) = handshake.read(chunk) {
                failed = Some(error);
                break;
            }
        }
        let output = handshake.take_output();
        match (failed, handshake.is_done()) {
            (Some(error), _) => {
                let last_word =
                    matches!(error, HandshakeError::Tls(rustls::Error::AlertReceived(_)));
                // In the plain, or as a record under the handshake keys.
                let sealed = has_sealed_record(&output);
                assert!(
                    alert_in(&output).is_some() || sealed || last_word,
                    "seed {seed}: silence after {error:?}: {output:?}"
                );
                refused += 1;
            }
            (None, true) => done += 1,
            (None, false) => {
                // A key share can mutate into one that is answered with a HelloRetryRequest.
                let retry = output.get(5..).is_some_and(is_hello_retry_request);
                assert!(output.is_empty() || retry, "seed {seed}");
                waiting += 1;
            }
        }
    }
    assert!(
        done > 0 && refused > 0 && waiting > 0,
        "{done} {refused} {waiting}"
    );
}
