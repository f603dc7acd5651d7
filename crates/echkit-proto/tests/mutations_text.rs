//! Mutated texts, as people paste them: every input is read or refused, none is a panic, and what is
//! read holds what the readers of bytes would take. `ECHKIT_MUTATIONS=1000000` sets how many each
//! target gets; the seed is fixed, so a failure comes again.
#![allow(clippy::unwrap_used)]

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use echkit_proto::config::{ConfigListInput, EchConfigList};
use echkit_proto::encoding;
use echkit_proto::key::{EchKey, EchKeyFile, KeyParams};
use echkit_proto::pem;
use echkit_proto::svcb::{Record, looks_like_records, record_lines};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn count() -> usize {
    std::env::var("ECHKIT_MUTATIONS").map_or(5_000, |n| n.parse().unwrap())
}

/// A few random edits, with the marks that the readers look for among them.
fn mutate(seed: &[u8], rng: &mut StdRng) -> Vec<u8> {
    const MARKS: &[&str] = &[
        "\n",
        " ",
        "\"",
        "'",
        "(",
        ")",
        ";",
        "\\",
        "\\x",
        "0x",
        ":",
        ",",
        "-",
        "=",
        "ech=",
        "ecl:",
        "HTTPS",
        "IN",
        "TYPE65",
        "\\#",
        "RRSIG",
        "has",
        "--",
        "$",
        "\u{feff}",
        "-----BEGIN ",
        "-----END ",
        "\0",
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..5) {
            0 => {
                let mark = MARKS[rng.random_range(0..MARKS.len())];
                bytes.splice(at..at, mark.bytes());
            }
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] = rng.random(),
            3 => {
                let from = rng.random_range(0..=at);
                let piece = bytes[from..at].to_vec();
                bytes.splice(at..at, piece);
                bytes.truncate(1 << 16);
            }
            _ => {
                bytes.drain(at..(at + rng.random_range(1..=16)).min(bytes.len()));
            }
        }
    }
    bytes
}

fn list() -> EchConfigList {
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    EchConfigList::from(key.config().clone())
}

#[test]
fn mutated_inputs_of_config_lists_are_read_or_refused() {
    let list = list();
    let bytes = list.encode();
    let base64 = BASE64.encode(&bytes);
    let mut record: Record = "1 . alpn=h2".parse().unwrap();
    record.params.ech = Some(list.clone());
    let seeds: Vec<Vec<u8>> = vec![
        bytes.clone(),
        bytes[2..].to_vec(),
        base64.clone().into(),
        BASE64URL_NOPAD.encode(&bytes).into(),
        HEXLOWER.encode(&bytes).into(),
        format!("ech=\"{base64}\"").into(),
        format!("a.example. 300 IN HTTPS {record}\n").into(),
        HEXLOWER.encode(&record.encode().unwrap()).into(),
        EchKeyFile::from(list).to_pem().unwrap().into(),
    ];
    let mut rng = StdRng::seed_from_u64(9848);
    let mut read = 0_usize;
    for i in 0..count() {
        let input = mutate(&seeds[i % seeds.len()], &mut rng);
        if let Ok(found) = ConfigListInput::read(&input) {
            read += 1;
            assert_eq!(
                EchConfigList::parse(&found.list.encode()),
                Ok(found.list),
                "input {i}"
            );
        }
        if let Ok(readings) = encoding::readings(&input) {
            assert!((1..=2).contains(&readings.len()), "input {i}");
            assert!(
                readings.iter().all(|r| r.bytes.len() <= input.len()),
                "input {i}"
            );
        }
    }
    assert!(read > count() / 50, "only {read} were read");
}

#[test]
fn mutated_output_of_dns_tools_is_read_or_refused() {
    let ech = list().to_base64();
    let seed = format!(
        ";; ANSWER SECTION:\na.example.\t300\tIN\tHTTPS\t1 . alpn=\"h2,h3\" (\n\tech={ech} )\n\
         a.example. 300 IN HTTPS 0 b.example.\na.example. 300 IN TYPE65 \\# 3 000100\n\
         a.example. 300 IN RRSIG HTTPS 13 2 300 20261201000000 20261120000000 1 example. AA==\n\
         a.example has HTTPS record 2 svc.example. port=8443 mandatory=port\n"
    );
    let mut rng = StdRng::seed_from_u64(1035);
    let mut read = 0_usize;
    for i in 0..count() {
        let input = mutate(seed.as_bytes(), &mut rng);
        let text = String::from_utf8_lossy(&input);
        let _ = looks_like_records(&text);
        let Ok(lines) = record_lines(&text) else {
            continue;
        };
        read += usize::from(lines.len() > 1);
        for line in lines {
            let again = line.record.to_string().parse();
            assert_eq!(again.as_ref(), Ok(&line.record), "input {i}");
        }
    }
    assert!(read > count() / 10, "only {read} were read");
}

#[test]
fn mutated_pem_is_read_block_by_block_or_refused() {
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    let mut seed = key.to_pem().unwrap();
    seed.push_str(
        "-----BEGIN TRUSTED CERTIFICATE-----\nMAMCAQEwAA==\n-----END TRUSTED CERTIFICATE-----\n",
    );
    let mut rng = StdRng::seed_from_u64(7468);
    let mut read = 0_usize;
    for i in 0..count() {
        let input = mutate(seed.as_bytes(), &mut rng);
        let decoded = pem::blocks(&input).filter_map(|block| block.decode().ok());
        let total: usize = decoded.map(|bytes| bytes.len()).sum();
        assert!(total <= input.len(), "input {i}");
        read += usize::from(EchKeyFile::from_pem(&input).is_ok());
    }
    assert!(read > count() / 20, "only {read} were read");
}
