//! Mutated capture files: no panic, no endless loop.

#![allow(clippy::unwrap_used)]

use echkit::wire::WireRecorder;
use echkit_check::{captured_hellos, pcapng};
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
        // What a file says of itself is at its head.
        let end = match rng.random() {
            true => out.len().min(400),
            false => out.len(),
        };
        let at = rng.random_range(0..end);
        match rng.random_range(0..4) {
            0 => out[at] ^= 1 << rng.random_range(0..8),
            1 => out[at] = rng.random(),
            2 => out.truncate(at.max(1)),
            _ => out[at] = 0xff,
        }
    }
    out
}

/// The older form: its header, and each packet behind its own.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    const RAW_IP: u32 = 101;
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let mut out = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, RAW_IP]);
    for packet in packets {
        out.extend(words(&[0, 0, packet.len() as u32, packet.len() as u32]));
        out.extend(packet);
    }
    out
}

#[test]
fn mutated_capture_files_are_read_as_far_as_they_go() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let mut wire = Vec::new();
    connect(pki.client(offer(&key)), SECRET)
        .write_tls(&mut wire)
        .unwrap();
    let recorder = WireRecorder::default();
    let tap = recorder.begin("site", None, ([127, 0, 0, 1], 443).into());
    tap.sent(&wire[..200]);
    tap.received(b"answer");
    tap.sent(&wire[200..]);
    tap.sent(&[]);
    let random = "ab".repeat(32);
    let key_log = format!("ECH_SECRET {random} {random}\nECH_CONFIG {random} 00\n");
    let new = pcapng(&recorder.connections(), &key_log).unwrap();
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([127, 0, 0, 1], [127, 0, 0, 2], 64)
        .tcp(50_000, 443, 1, 1)
        .write(&mut packet, &wire)
        .unwrap();
    let files = [new, pcap(&[packet])];
    for file in &files {
        let found = captured_hellos(file.as_slice(), "").unwrap();
        assert_eq!((found.hellos.len(), found.cut), (1, None));
    }
    let mut read = 0_u64;
    for seed in 0..count() {
        let mut rng = StdRng::seed_from_u64(seed);
        let file = mutate(&files[rng.random_range(0..files.len())], &mut rng);
        read += u64::from(captured_hellos(file.as_slice(), "").is_ok());
    }
    assert!(
        read > count() / 10,
        "{read}: mutations reach beyond the first block"
    );
}
