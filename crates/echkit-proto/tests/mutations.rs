//! Mutated hellos: no panic, and no more work than the input is long.
//!
//! `ECHKIT_MUTATIONS` sets how many; each is made from its number alone, so that a failure names
//! what to run again.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use echkit_proto::hello::{ClientHello, EchExtension, HelloReader};
use echkit_proto::inner::{decode_checked, decode_inner};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::server::{ClientFacing, EchKeys, Rules};
use echkit_proto::tls_record::{
    RECORD_HEADER_LEN, RecordPart, RecordWalker, whole_records, wrap_handshake,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustls::client::EchConfig;
use rustls::pki_types::EchConfigListBytes;

fn count() -> u64 {
    let text = std::env::var("ECHKIT_MUTATIONS");
    text.map_or(5_000, |n| n.parse().expect("ECHKIT_MUTATIONS is a number"))
}

/// The outer hello of a stock client, and the encoded inner hello that it carries.
fn sample() -> (ClientHello, Vec<u8>) {
    let (outer, encoded, _) = sample_with_key();
    (outer, encoded)
}

/// The same, with the key that it is sealed under.
fn sample_with_key() -> (ClientHello, Vec<u8>, EchKey) {
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    let list = echkit_proto::config::EchConfigList::from_configs(vec![key.config().clone()]);
    let offer = EchConfig::new(
        EchConfigListBytes::from(list.unwrap().encode()),
        rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES,
    );
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_ech(offer.unwrap().into())
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = "secret.example".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let (_, hello) = HelloReader::default().read(&wire).unwrap();
    let outer = ClientHello::parse(hello.unwrap()).unwrap();
    let Ok(Some(EchExtension::Outer(ech))) = outer.ech() else {
        panic!("no offer");
    };
    let mut receiver = key.setup_receiver(ech.suite, ech.enc).unwrap();
    let encoded = receiver
        .open(&outer.outer_aad().unwrap(), ech.payload)
        .unwrap();
    (outer, encoded, key)
}

/// Flips, overwrites, cuts, repeats or inserts, one to four times.
fn mutate(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if out.is_empty() {
            out.push(rng.random());
        }
        let at = rng.random_range(0..out.len());
        match rng.random_range(0..6) {
            0 => out[at] ^= 1 << rng.random_range(0..8),
            1 => out[at] = rng.random(),
            2 => out[at] = [0, 1, 0xff, 0xfd, 0xfe][rng.random_range(0..5)],
            3 => out.truncate(at),
            4 => {
                let end = rng.random_range(at..=out.len().min(at + 64));
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            _ => {
                out.drain(at..(at + rng.random_range(1..=16)).min(out.len()));
            }
        }
    }
    out
}

#[test]
fn mutated_hellos_are_mapped_or_refused() {
    let (outer, _) = sample();
    let mut mapped = 0;
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = mutate(outer.bytes(), &mut rng);
        // Half of them keep a true length, so that what lies deeper is reached.
        if seed % 2 == 0 && bytes.len() >= 4 {
            let len = bytes.len() as u32 - 4;
            bytes[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
        }
        let Ok(hello) = ClientHello::parse(bytes) else {
            continue;
        };
        mapped += 1;
        for extension in hello.extensions() {
            assert!(extension.body.end <= hello.bytes().len(), "seed {seed}");
        }
        let aad = hello.outer_aad();
        if let Ok(Some(EchExtension::Outer(ech))) = hello.ech() {
            let aad = aad.unwrap();
            assert_eq!(aad.len(), hello.bytes().len() - 4, "seed {seed}");
            assert_eq!(
                ech.payload,
                &hello.bytes()[ech.payload_range],
                "seed {seed}"
            );
        }
        let _ = (
            hello.server_name(),
            hello.alpn(),
            hello.supported_versions(),
        );
        let _ = (hello.key_share_groups(), hello.cipher_suites().count());
    }
    assert!(mapped > count() / 50, "only {mapped} were well-formed");
}

#[test]
fn mutated_inner_hellos_are_decoded_or_refused() {
    let (outer, encoded) = sample();
    let mut decoded = 0;
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let bytes = mutate(&encoded, &mut rng);
        let result = decode_inner(&bytes, &outer);
        if let Ok(inner) = &result {
            decoded += 1;
            // RFC 9849 §10.12.4: no amplification.
            assert!(inner.bytes().len() <= bytes.len() + outer.bytes().len());
            assert_eq!(inner.session_id(), outer.session_id(), "seed {seed}");
        }
        assert!(result.is_ok() || decode_checked(&bytes, &outer).is_err());
    }
    assert!(decoded > count() / 100, "only {decoded} were well-formed");
}

#[test]
fn mutated_records_are_read_or_refused() {
    let (outer, _) = sample();
    let mut whole = 0;
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let wire = wrap_handshake(outer.bytes(), rng.random_range(1..2000));
        let wire = mutate(&wire, &mut rng);
        let mut reader = HelloReader::default();
        let mut at = 0;
        while at < wire.len() {
            let end = (at + rng.random_range(1..700)).min(wire.len());
            match reader.read(&wire[at..end]) {
                Ok((taken, None)) => {
                    // Every byte is taken once: the work is linear in the input.
                    assert_eq!(taken, end - at, "seed {seed}");
                    at = end;
                }
                Ok((taken, Some(message))) => {
                    assert!(taken <= end - at && message.len() <= wire.len());
                    whole += 1;
                    break;
                }
                Err(_) => break,
            }
        }
    }
    assert!(whole > count() / 50, "only {whole} were read whole");
}

#[test]
fn mutated_records_are_walked_to_their_last_byte_however_they_are_cut() {
    let (outer, _) = sample();
    let mut cut_short = 0;
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let wire = wrap_handshake(outer.bytes(), rng.random_range(1..2000));
        let wire = mutate(&wire, &mut rng);
        let mut walker = RecordWalker::default();
        let (mut headers, mut content) = (Vec::new(), Vec::new());
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(rng.random_range(1..700).min(rest.len()));
            rest = later;
            while let Some(part) = walker.take(&mut piece) {
                match part {
                    RecordPart::Header(header) => headers.push(header),
                    RecordPart::Content(bytes) => content.extend_from_slice(bytes),
                }
            }
            assert!(piece.is_empty(), "seed {seed}");
        }
        // The same records as in one piece, and of the cut one what is there.
        let mut records = whole_records(&wire);
        let (mut whole, mut expected) = (Vec::new(), Vec::new());
        for record in &mut records {
            whole.push(record.header);
            expected.extend_from_slice(record.content());
        }
        let cut = records.rest();
        cut_short += u64::from(!cut.is_empty());
        expected.extend_from_slice(cut.get(RECORD_HEADER_LEN..).unwrap_or_default());
        assert_eq!(headers[..whole.len()], whole, "seed {seed}");
        assert_eq!(
            headers.len() - whole.len(),
            usize::from(cut.len() >= RECORD_HEADER_LEN)
        );
        assert_eq!(content, expected, "seed {seed}");
        assert_eq!(walker.is_between_records(), cut.is_empty(), "seed {seed}");
    }
    assert!(cut_short > count() / 50, "only {cut_short} were cut");
}

#[test]
fn mutated_streams_are_forwarded_or_refused() {
    let (outer, _, key) = sample_with_key();
    let keys = EchKeys::new(vec![key]).unwrap();
    let random =
        hex_literal::hex!("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c");
    let retry = [&[2, 0, 0, 38, 3, 3][..], &random, &[0, 0x13, 1, 0]].concat();
    let retry = wrap_handshake(&retry, 7);
    let (mut forwarded, mut refused) = (0, 0);
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let hello = wrap_handshake(outer.bytes(), rng.random_range(1..2000));
        let mut wire = [&hello[..], &[20, 3, 3, 0, 1, 1], &hello].concat();
        wire.extend_from_slice(&[23, 3, 3, 0, 2, 1, 2]);
        // Half of them have a first hello that is whole, so that what follows is reached.
        let kept = if seed % 2 == 0 { hello.len() } else { 0 };
        let tail = mutate(&wire[kept..], &mut rng);
        wire.truncate(kept);
        wire.extend(tail);
        let mut client = ClientFacing::new(Rules::default());
        let mut forwarding = None;
        let mut sent = 0;
        for piece in wire.chunks(rng.random_range(1..700)) {
            let result = match &mut forwarding {
                None => client.read(piece, &keys).map(|begun| forwarding = begun),
                Some(forwarding) => forwarding.read_client(piece),
            };
            let answered = result.and_then(|()| match &mut forwarding {
                Some(forwarding) => {
                    let answer = match rng.random_range(0..4) {
                        0 => mutate(&retry, &mut rng),
                        _ => retry.clone(),
                    };
                    forwarding.read_server(&answer)
                }
                None => Ok(()),
            });
            if answered.is_err() {
                refused += 1;
                break;
            }
            if let Some(forwarding) = &mut forwarding {
                sent += forwarding.take_output().len();
            }
        }
        forwarded += u64::from(sent > 0);
        // An inner hello is no longer than what carried it (RFC 9849 §10.12.4).
        assert!(sent <= 2 * wire.len(), "seed {seed}");
    }
    assert!(forwarded > count() / 4, "only {forwarded} were forwarded");
    assert!(refused > count() / 4, "only {refused} were refused");
}
