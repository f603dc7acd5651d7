#![allow(clippy::unwrap_used)]

use super::*;
use crate::hpke::{Aead, Kdf};

fn params() -> KeyParams {
    KeyParams::new("public.example").unwrap()
}

#[test]
fn every_kem_generates_seals_opens_and_survives_its_file() {
    for kem in Kem::ALL.iter().copied() {
        let key = EchKey::generate(&KeyParams {
            kem,
            config_id: Some(7),
            suites: vec![
                SymmetricSuite::new(Kdf::HKDF_SHA384, Aead::CHACHA20_POLY1305),
                SymmetricSuite::MANDATORY,
            ],
            maximum_name_length: 64,
            ..params()
        })
        .unwrap();
        assert_eq!(key.config_id(), 7);
        assert_eq!(key.contents().maximum_name_length, 64);

        let read = EchKeyFile::from_pem(key.to_pem().unwrap()).unwrap();
        let read = &read.keys()[0];
        assert_eq!(read.config(), key.config());
        assert_eq!(read.private_key_bytes(), key.private_key_bytes());

        for sym in &key.contents().cipher_suites {
            let suite = Suite { kem, sym: *sym };
            let public = &key.contents().public_key;
            let (enc, mut sender) =
                hpke::setup_sender(suite, public, &key.config().hpke_info()).unwrap();
            let sealed = sender.seal(b"aad", b"hello").unwrap();
            let mut receiver = read.setup_receiver(*sym, &enc).unwrap();
            assert_eq!(receiver.open(b"aad", &sealed).unwrap(), b"hello");
        }
    }
}

#[test]
fn a_suite_that_the_config_does_not_list_is_not_opened() {
    let key = EchKey::generate(&params()).unwrap();
    let sym = SymmetricSuite::new(Kdf::HKDF_SHA512, Aead::AES_256_GCM);
    let error = key.setup_receiver(sym, &[9; 32]).unwrap_err();
    assert!(matches!(error, OpenError::SuiteNotOffered(_)));
}

#[test]
fn an_encapsulated_key_of_the_wrong_length_is_an_error() {
    let key = EchKey::generate(&params()).unwrap();
    let error = key
        .setup_receiver(SymmetricSuite::MANDATORY, &[9; 31])
        .unwrap_err();
    assert_eq!(error, OpenError::Encapsulation);
}

#[test]
fn generation_refuses_what_no_client_could_use() {
    let none = KeyParams {
        suites: vec![],
        ..params()
    };
    assert_eq!(EchKey::generate(&none).unwrap_err(), KeyError::NoSuite);
    let unknown = KeyParams {
        kem: Kem(0x4242),
        ..params()
    };
    assert!(matches!(
        EchKey::generate(&unknown),
        Err(KeyError::UnknownSuite(_))
    ));
    let many = KeyParams {
        suites: vec![SymmetricSuite::MANDATORY; 2000],
        ..params()
    };
    assert_eq!(
        EchKey::generate(&many).unwrap_err(),
        KeyError::TooManySuites(2000)
    );
}

#[test]
fn bytes_that_are_no_private_key_are_refused() {
    let key = EchKey::generate(&params()).unwrap();
    for bytes in [vec![], vec![7; 31], vec![7; 33]] {
        assert_eq!(
            EchKey::new(key.config().clone(), bytes).unwrap_err(),
            KeyError::Hpke(HpkeError::PrivateKey(Kem::X25519))
        );
    }
}

#[test]
fn a_private_key_of_another_config_is_refused() {
    let (a, b) = (
        EchKey::generate(&params()).unwrap(),
        EchKey::generate(&params()).unwrap(),
    );
    let error = EchKey::new(a.config().clone(), b.private_key_bytes().unwrap()).unwrap_err();
    assert_eq!(error, KeyError::Mismatch);

    let (pem_a, pem_b) = (a.to_pem().unwrap(), b.to_pem().unwrap());
    let mixed = pem_a
        .split("-----BEGIN ECHCONFIG")
        .next()
        .unwrap()
        .to_owned()
        + "-----BEGIN ECHCONFIG"
        + pem_b.split("-----BEGIN ECHCONFIG").nth(1).unwrap();
    assert_eq!(
        EchKeyFile::from_pem(&mixed).unwrap_err(),
        KeyFileError::Mismatch
    );
}

/// The example file of RFC 9934 §3, figure 1.
const RFC_9934_EXAMPLE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEICjd4yGRdsoP9gU7YT7My8DHx1Tjme8GYDXrOMCi8v1V
-----END PRIVATE KEY-----
-----BEGIN ECHCONFIG-----
AD7+DQA65wAgACA8wVN2BtscOl3vQheUzHeIkVmKIiydUhDCliA4iyQRCwAEAAEA
AQALZXhhbXBsZS5jb20AAA==
-----END ECHCONFIG-----
";

#[test]
fn the_example_of_rfc_9934_loads_and_is_written_back_byte_for_byte() {
    let file = EchKeyFile::from_pem(RFC_9934_EXAMPLE).unwrap();
    assert_eq!(file.keys().len(), 1);
    assert_eq!(file.keys()[0].config_id(), 0xe7);
    assert_eq!(
        file.keys()[0].contents().public_name.as_str(),
        Some("example.com")
    );
    assert_eq!(file.to_pem().unwrap(), RFC_9934_EXAMPLE);
}

#[test]
fn a_public_only_file_has_a_list_and_no_key() {
    let (_, public) = RFC_9934_EXAMPLE
        .split_once("-----END PRIVATE KEY-----\n")
        .unwrap();
    let file = EchKeyFile::from_pem(public).unwrap();
    assert!(file.keys().is_empty());
    assert_eq!(file.to_pem().unwrap(), public);
}

#[test]
fn what_follows_the_list_is_ignored() {
    let with_more = format!("{RFC_9934_EXAMPLE}-----BEGIN CERTIFICATE-----\n!!!\n");
    assert_eq!(EchKeyFile::from_pem(&with_more).unwrap().keys().len(), 1);
}

#[test]
fn broken_files_are_told_apart() {
    let cases: [(&str, KeyFileError); 5] = [
        ("", KeyFileError::NotPem),
        ("-----BEGIN CERTIFICATE-----\n", KeyFileError::NoEchConfig),
        (
            "-----BEGIN ECHCONFIG-----\nAD7+",
            KeyFileError::BrokenBlock("ECHCONFIG"),
        ),
        (
            "-----BEGIN ECHCONFIG-----\nAD7+\n-----END ECHCONFIG-----\n",
            KeyFileError::List(crate::config::ConfigListError::Truncated {
                announced: 62,
                present: 1,
            }),
        ),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----BEGIN ECHCONFIG-----\n\
             AD7+DQA65wAgACA8wVN2BtscOl3vQheUzHeIkVmKIiydUhDCliA4iyQRCwAEAAEA\n\
             AQALZXhhbXBsZS5jb20AAA==\n-----END ECHCONFIG-----\n",
            KeyFileError::Encrypted,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(EchKeyFile::from_pem(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn debug_output_holds_no_private_key() {
    let key = EchKey::generate(&params()).unwrap();
    let secret = format!("{:?}", *key.private_key_bytes().unwrap());
    let shown = format!("{key:?} {:?}", EchKeyFile::from(key.clone()));
    assert!(!shown.contains(&secret[1..secret.len() - 1]));
}

#[test]
fn key_files_are_read_however_their_base64_is_wrapped() {
    let key = EchKey::generate(&params()).unwrap();
    let pem = key.to_pem().unwrap();
    let wrapped = |columns: usize, end: &str| {
        let mut out = String::from("\u{feff}# made elsewhere\n");
        for block in crate::pem::blocks(pem.as_bytes()) {
            let base64 = data_encoding::BASE64.encode(&block.decode().unwrap());
            let label = block.label();
            out.push_str(&format!("-----BEGIN {label}-----{end}"));
            for line in base64.as_bytes().chunks(columns) {
                out.push_str(std::str::from_utf8(line).unwrap());
                out.push_str(end);
            }
            out.push_str(&format!("-----END {label}-----{end}"));
        }
        out
    };
    for columns in [1, 60, 63, 64, 76, 10_000] {
        for end in ["\n", "\r\n", " \t\n", "\n\n"] {
            let text = wrapped(columns, end);
            let file = EchKeyFile::from_pem(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(file.keys()[0].config(), key.config(), "{columns} {end:?}");
        }
    }
}

#[test]
fn a_file_that_is_not_pem_says_what_ech_keys_are_read_from() {
    let list =
        crate::config::EchConfigList::from(EchKey::generate(&params()).unwrap().config().clone());
    for text in [list.to_base64().into_bytes(), list.encode()] {
        let error = EchKeyFile::from_pem(text).unwrap_err();
        assert_eq!(error, KeyFileError::NotPem);
        assert!(error.to_string().contains("ECHCONFIG block"), "{error}");
    }
}
