//! Mutated ECHConfigLists, key files and HTTPS records: every input is read or refused, none is a
//! panic. `ECHKIT_MUTATIONS=1000000` sets how many each target gets; the seed is fixed, so a
//! failure comes again.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, EchKeyFile, KeyParams};
use echkit_proto::svcb::Record;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Enough for every test run; `make fuzz` asks for a million.
const DEFAULT: usize = 5_000;

fn count() -> usize {
    std::env::var("ECHKIT_MUTATIONS").map_or(DEFAULT, |n| n.parse().unwrap())
}

/// A few random edits of one of `seeds`.
fn mutate(seeds: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].get(at % 5).unwrap(),
            2 => bytes.insert(at, rng.random()),
            3 => bytes.truncate(at),
            4 => {
                let from = rng.random_range(0..=at);
                let piece = bytes[from..at].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
                bytes.truncate(1 << 16);
            }
            _ if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {}
        }
    }
    bytes
}

fn testdata() -> Vec<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = ["openssl", "go"]
        .iter()
        .flat_map(|dir| fs::read_dir(root.join(dir)).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let pem = files.filter(|path| path.extension().is_some_and(|e| e == "pem"));
    let seeds: Vec<Vec<u8>> = pem.map(|path| fs::read(path).unwrap()).collect();
    assert!(seeds.len() >= 10);
    seeds
}

fn lists() -> Vec<Vec<u8>> {
    testdata()
        .iter()
        .map(|pem| std::str::from_utf8(pem).unwrap())
        .filter_map(|pem| EchKeyFile::from_pem(pem).ok())
        .map(|file| file.list().encode())
        .collect()
}

#[test]
fn config_lists_survive() {
    let seeds = lists();
    let mut rng = StdRng::seed_from_u64(9849);
    let mut parsed = 0_usize;
    for i in 0..count() {
        let bytes = mutate(&seeds, &mut rng);
        let Ok(list) = EchConfigList::parse(&bytes) else {
            continue;
        };
        parsed += 1;
        assert_eq!(list.encode(), bytes, "input {i}");
        // Judging a public key costs a curve operation; a part of the inputs is enough.
        if i % 50 == 0 {
            assert_eq!(
                list.select().verdicts.len(),
                list.configs().len(),
                "input {i}"
            );
        }
    }
    assert!(
        parsed > count() / 20,
        "the mutations are too wild to test the inside: {parsed}"
    );
}

#[test]
fn key_files_survive() {
    let mut seeds = testdata();
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    seeds.push(key.to_pem().unwrap().into_bytes());
    let mut rng = StdRng::seed_from_u64(9934);
    let mut read = 0_usize;
    for i in 0..count() {
        let bytes = mutate(&seeds, &mut rng);
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        if let Ok(file) = EchKeyFile::from_pem(&text) {
            read += 1;
            let again = EchKeyFile::from_pem(file.to_pem().unwrap()).unwrap();
            assert_eq!(again.list(), file.list(), "input {i}");
        }
    }
    assert!(read > 0, "no mutated file was read");
}

#[test]
fn https_records_survive() {
    let texts = [
        "1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
        "0 alias.example.",
        "2 svc.example. mandatory=alpn,port alpn=h2 no-default-alpn port=1 key65000=abc",
    ];
    let mut seeds: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| text.parse::<Record>().unwrap().encode().unwrap())
        .collect();
    for list in lists() {
        let mut record: Record = "1 . alpn=h2".parse().unwrap();
        record.params.ech = Some(EchConfigList::parse(&list).unwrap());
        seeds.push(record.encode().unwrap());
    }
    let mut rng = StdRng::seed_from_u64(9460);
    let mut parsed = 0_usize;
    for i in 0..count() {
        let bytes = mutate(&seeds, &mut rng);
        let Ok(record) = Record::parse(&bytes) else {
            continue;
        };
        parsed += 1;
        let again = record.encode().unwrap();
        match record.is_alias() {
            // SvcParams of an AliasMode record are ignored (RFC 9460 §2.4.2).
            true => assert!(bytes.starts_with(&again), "input {i}"),
            false => assert_eq!(again, bytes, "input {i}"),
        }
        assert_eq!(
            record.to_string().parse::<Record>().as_ref(),
            Ok(&record),
            "input {i}"
        );
    }
    assert!(parsed > 0);
}
