//! Known answers: HPKE of RFC 9180, and what OpenSSL and Go wrote.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER_PERMISSIVE;
use echkit_proto::config::{EchConfig, EchConfigList};
use echkit_proto::hpke::{self, Aead, Kdf, Kem, PrivateKey, Suite, SymmetricSuite};
use echkit_proto::key::{EchKey, EchKeyFile};
use serde_json::Value;

fn testdata(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER_PERMISSIVE
        .decode(value.as_str().unwrap().as_bytes())
        .unwrap()
}

fn number(value: &Value) -> u16 {
    value.as_u64().unwrap().try_into().unwrap()
}

#[test]
fn hpke_opens_the_published_vectors() {
    let mut covered = Vec::new();
    let lines = testdata("hpke/base-mode.jsonl") + &testdata("hpke/p384.jsonl");
    for line in lines.lines() {
        let v: Value = serde_json::from_str(line).unwrap();
        let suite = Suite {
            kem: Kem(number(&v["kem_id"])),
            sym: SymmetricSuite::new(Kdf(number(&v["kdf_id"])), Aead(number(&v["aead_id"]))),
        };
        if !Kem::ALL.contains(&suite.kem) {
            continue;
        }
        let key = PrivateKey::from_bytes(suite.kem, &hex(&v["skRm"])).unwrap();
        assert_eq!(key.public_key(), hex(&v["pkRm"]), "{suite}");
        let enc = hex(&v["enc"]);
        let mut receiver = hpke::setup_receiver(suite.sym, &enc, &key, &hex(&v["info"])).unwrap();
        for (i, e) in v["encryptions"].as_array().unwrap().iter().enumerate() {
            assert_eq!(
                receiver.open(&hex(&e["aad"]), &hex(&e["ct"])).unwrap(),
                hex(&e["pt"]),
                "{suite}, encryption {i}"
            );
        }
        covered.push(suite.kem);
    }
    for kem in Kem::ALL {
        assert!(covered.contains(kem), "no vector for {kem}");
    }
}

#[test]
fn files_of_openssl_and_go_load_and_are_written_back_the_same_key() {
    let mut seen = 0;
    for dir in ["openssl", "go"] {
        for entry in fs::read_dir(
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("testdata")
                .join(dir),
        )
        .unwrap()
        {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.extension().is_none_or(|e| e != "pem") || name == "x448.pem" {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let file = EchKeyFile::from_pem(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            for config in file.list().configs() {
                assert_eq!(config.why_not(), None, "{name}");
            }
            assert_eq!(
                file.keys().is_empty(),
                !text.contains("PRIVATE KEY"),
                "{name}"
            );
            let again = EchKeyFile::from_pem(file.to_pem().unwrap()).unwrap();
            assert_eq!(again.list(), file.list(), "{name}");
            for (a, b) in again.keys().iter().zip(file.keys()) {
                assert_eq!(a.private_key_bytes(), b.private_key_bytes(), "{name}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} files were found");
}

#[test]
fn a_key_of_openssl_with_a_kem_that_we_lack_says_so() {
    let error = EchKeyFile::from_pem(testdata("openssl/x448.pem"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("its private key is of a type"), "{error}");
}

#[test]
fn openssl_and_this_crate_agree_on_what_the_files_say() {
    let expected: Value = serde_json::from_str(&testdata("openssl/expected.json")).unwrap();
    for (name, file) in expected.as_object().unwrap() {
        // Files whose key is of a KEM that this crate lacks do not load as keys; their list does.
        let text = testdata(&format!("openssl/{name}"));
        let list = text.split_once("-----BEGIN ECHCONFIG-----").unwrap().1;
        let list =
            EchConfigList::from_bytes_or_text(list.split_once("-----END").unwrap().0).unwrap();
        let configs = file["configs"].as_array().unwrap();
        assert_eq!(list.configs().len(), configs.len(), "{name}");
        for (ours, theirs) in list.configs().iter().zip(configs) {
            let c = ours.contents().unwrap();
            assert_eq!(c.config_id, number(&theirs["config_id"]) as u8, "{name}");
            assert_eq!(
                c.public_name.as_str(),
                theirs["public_name"].as_str(),
                "{name}"
            );
            assert_eq!(c.kem, Kem(number(&theirs["kem"])), "{name}");
            assert_eq!(
                c.cipher_suites[0].kdf,
                Kdf(number(&theirs["kdf"])),
                "{name}"
            );
            assert_eq!(
                c.cipher_suites[0].aead,
                Aead(number(&theirs["aead"])),
                "{name}"
            );
            assert_eq!(c.public_key, hex(&theirs["public_key"]), "{name}");
            let max = number(&theirs["maximum_name_length"]);
            assert_eq!(u16::from(c.maximum_name_length), max, "{name}");
        }
    }
}

#[cfg(feature = "x-wing")]
#[test]
fn an_x_wing_key_of_go_loads() {
    let v: Value = serde_json::from_str(&testdata("go/xwing.json")).unwrap();
    let config = EchConfig::parse(&hex(&v["config"])).unwrap();
    let key = EchKey::new(config, hex(&v["private_key"])).unwrap();
    assert_eq!(key.contents().kem, Kem::X_WING);
}

#[test]
fn lists_of_go_and_of_a_public_deployment_are_usable() {
    let go = EchConfigList::from_bytes_or_text(testdata("go/three-configs.b64")).unwrap();
    assert_eq!(go.configs().len(), 3);
    assert!(go.select().verdicts.iter().all(|v| v.why_not.is_none()));
    let public =
        EchConfigList::from_bytes_or_text(testdata("public/cloudflare-ech.com.b64")).unwrap();
    let chosen = public.select().chosen.unwrap();
    assert_eq!(
        chosen.contents().public_name.as_str(),
        Some("cloudflare-ech.com")
    );
}
