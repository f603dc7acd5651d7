#![allow(clippy::unwrap_used)]

use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;
use crate::hpke::{Aead, Kdf};
use crate::key::{EchKey, KeyParams};

/// The list in RFC 9934 §3, figure 1.
const RFC_9934: &str =
    "AD7+DQA65wAgACA8wVN2BtscOl3vQheUzHeIkVmKIiydUhDCliA4iyQRCwAEAAEAAQALZXhhbXBsZS5jb20AAA==";

/// What a large public deployment published for crypto.cloudflare.com in 2023.
const CLOUDFLARE: &str = "AEX+DQBBFQAgACA/EHh3GXREvy6G2AMi15EnVVYAqqjWHCfGlPIUT4dpCAAEAAEAAQASY2xvdWRmbGFyZS1lY2guY29tAAA=";

fn contents() -> EchConfigContents {
    EchKey::generate(&KeyParams::new("public.example").unwrap())
        .unwrap()
        .contents()
        .clone()
}

fn why_not(change: impl FnOnce(&mut EchConfigContents)) -> Option<WhyNot> {
    let mut contents = contents();
    change(&mut contents);
    EchConfig::try_from(contents).unwrap().why_not()
}

#[test]
fn published_lists_are_read() {
    for (text, id, name) in [
        (RFC_9934, 0xe7, "example.com"),
        (CLOUDFLARE, 0x15, "cloudflare-ech.com"),
    ] {
        let list = EchConfigList::from_bytes_or_text(text).unwrap();
        let chosen = list.select().chosen.unwrap();
        assert_eq!(chosen.contents().config_id, id);
        assert_eq!(chosen.contents().public_name.as_str(), Some(name));
        assert_eq!(chosen.suite(), crate::hpke::Suite::MANDATORY);
        assert_eq!(list.to_base64(), text);
    }
}

#[test]
fn text_may_be_base64_hexadecimal_or_pem_with_white_space() {
    let bytes = BASE64.decode(RFC_9934.as_bytes()).unwrap();
    let hex = data_encoding::HEXUPPER.encode(&bytes);
    let wrapped = format!(" {}\n{}\n", &RFC_9934[..40], &RFC_9934[40..]);
    let pem = format!(
        "-----BEGIN ECHCONFIG-----\n{}\n{}\n-----END ECHCONFIG-----\n",
        &RFC_9934[..64],
        &RFC_9934[64..]
    );
    for text in [hex.as_str(), &wrapped, &pem] {
        assert_eq!(
            EchConfigList::from_bytes_or_text(text).unwrap().encode(),
            bytes,
            "{text}"
        );
    }
    let error = EchConfigList::from_bytes_or_text("not a list!")
        .unwrap_err()
        .to_string();
    let expected = "neither base64, hexadecimal nor PEM: '!', character 11,";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn framing_errors_are_told_apart() {
    use ConfigListError::*;
    let good = BASE64.decode(RFC_9934.as_bytes()).unwrap();
    let cases: [(Vec<u8>, ConfigListError); 6] = [
        (vec![], NoLength),
        (vec![0], NoLength),
        (vec![0, 0], Empty),
        (
            good[..good.len() - 1].to_vec(),
            Truncated {
                announced: 62,
                present: 61,
            },
        ),
        ([good.as_slice(), &[1, 2]].concat(), TrailingBytes(2)),
        (
            vec![0, 5, 0xfe, 0x0d, 0, 2, 1],
            ConfigTruncated { index: 0 },
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(EchConfigList::parse(&bytes).unwrap_err(), error);
    }
}

#[test]
fn unusable_configs_are_passed_over_with_their_reason_and_the_servers_order_wins() {
    let unknown_version = EchConfig::parse(&[0xfe, 0x0c, 0, 1, 9]).unwrap();
    let zero_length = EchConfig::parse(&[0xfe, 0x0d, 0, 0]).unwrap();
    let mut first = contents();
    first.config_id = 1;
    let mut second = contents();
    second.config_id = 2;
    let list = EchConfigList::from_configs(vec![
        unknown_version,
        zero_length,
        first.try_into().unwrap(),
        second.try_into().unwrap(),
    ])
    .unwrap();
    let selection = EchConfigList::parse(&list.encode()).unwrap().select();
    let chosen = selection.chosen.unwrap();
    assert_eq!((chosen.index(), chosen.contents().config_id), (2, 1));
    assert_eq!(
        selection.verdicts,
        [
            ConfigVerdict {
                config_id: None,
                why_not: Some(WhyNot::UnknownVersion(0xfe0c))
            },
            ConfigVerdict {
                config_id: None,
                why_not: Some(WhyNot::Malformed("config_id"))
            },
            ConfigVerdict {
                config_id: Some(1),
                why_not: None
            },
            ConfigVerdict {
                config_id: Some(2),
                why_not: None
            },
        ]
    );
    assert_eq!(
        EchConfigList::parse(&chosen.single_list())
            .unwrap()
            .configs(),
        [chosen.config().clone()]
    );
}

#[test]
fn each_reason_to_pass_over_is_named() {
    let extension = |number| ConfigExtension {
        number,
        data: vec![1],
    };
    assert_eq!(why_not(|_| ()), None);
    assert_eq!(why_not(|c| c.extensions = vec![extension(5)]), None);
    assert_eq!(
        why_not(|c| c.extensions = vec![extension(0x8005)]),
        Some(WhyNot::MandatoryExtension(0x8005))
    );
    assert_eq!(
        why_not(|c| c.extensions = vec![extension(5), extension(6), extension(5)]),
        Some(WhyNot::DuplicateExtension(5))
    );
    assert_eq!(
        why_not(|c| c.kem = Kem(0x30)),
        Some(WhyNot::UnknownKem(Kem(0x30)))
    );
    assert_eq!(
        why_not(|c| c.cipher_suites = vec![SymmetricSuite::new(Kdf(0x10), Aead(1))]),
        Some(WhyNot::NoKnownSuite)
    );
    assert_eq!(
        why_not(|c| c.cipher_suites = vec![SymmetricSuite::new(Kdf(1), Aead(0xffff))]),
        Some(WhyNot::NoKnownSuite)
    );
    assert_eq!(
        why_not(|c| c.public_key.truncate(31)),
        Some(WhyNot::PublicKey(Kem::X25519))
    );
    assert_eq!(
        why_not(|c| {
            c.kem = Kem::P256;
            c.public_key = [vec![4], vec![1; 64]].concat();
        }),
        Some(WhyNot::PublicKey(Kem::P256)),
        "a point off the curve"
    );
    assert_eq!(
        why_not(|c| c.public_name = PublicName::from_wire(b"10.0.0.1")),
        Some(WhyNot::PublicName(BadPublicName::LooksLikeIpv4))
    );
    assert_eq!(
        why_not(|c| c.extensions = vec![ConfigExtension {
            number: 1,
            data: vec![0; 9000]
        }])
        .map(|w| w.to_string().contains("the limit is 8192")),
        Some(true)
    );
}

#[test]
fn a_suite_in_second_place_is_used_when_the_first_is_unknown() {
    let mut contents = contents();
    contents
        .cipher_suites
        .insert(0, SymmetricSuite::new(Kdf(0x99), Aead(1)));
    let chosen = EchConfigList::from(EchConfig::try_from(contents).unwrap())
        .select()
        .chosen
        .unwrap();
    assert_eq!(chosen.suite().sym, SymmetricSuite::MANDATORY);
}

#[test]
fn malformed_contents_name_the_field() {
    let whole = EchConfig::try_from(contents()).unwrap();
    let body = &whole.encoded()[4..];
    for (len, field) in [
        (0, "config_id"),
        (1, "kem_id"),
        (4, "public_key"),
        (36, "public_key"),
        (38, "cipher_suites"),
        (43, "maximum_name_length"),
        (50, "public_name"),
        (body.len() - 1, "extensions"),
    ] {
        let mut bytes = vec![0xfe, 0x0d];
        put_vec16(&mut bytes, &body[..len]).unwrap();
        let config = EchConfig::parse(&bytes).unwrap();
        assert_eq!(config.why_not(), Some(WhyNot::Malformed(field)), "{len}");
    }
    let mut bytes = vec![0xfe, 0x0d];
    put_vec16(&mut bytes, &[body, &[0]].concat()).unwrap();
    let config = EchConfig::parse(&bytes).unwrap();
    assert_eq!(config.why_not(), Some(WhyNot::Malformed("trailing bytes")));
}

prop_compose! {
    fn any_contents()(
        config_id: u8,
        kem: u16,
        public_key in prop::collection::vec(any::<u8>(), 1..100),
        suites in prop::collection::vec(any::<(u16, u16)>(), 1..10),
        maximum_name_length: u8,
        public_name in prop::collection::vec(any::<u8>(), 1..255),
        extensions in prop::collection::vec(
            (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) -> EchConfigContents {
        EchConfigContents {
            config_id,
            kem: Kem(kem),
            public_key,
            cipher_suites: suites
                .into_iter()
                .map(|(kdf, aead)| SymmetricSuite::new(Kdf(kdf), Aead(aead)))
                .collect(),
            maximum_name_length,
            public_name: PublicName::from_wire(&public_name),
            extensions: extensions
                .into_iter()
                .map(|(number, data)| ConfigExtension { number, data })
                .collect(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_again(all in prop::collection::vec(any_contents(), 1..5)) {
        let encoded: Result<Vec<EchConfig>, _> =
            all.iter().cloned().map(EchConfig::try_from).collect();
        let configs = encoded.unwrap();
        for (config, contents) in configs.iter().zip(&all) {
            prop_assert_eq!(config.contents(), Some(contents));
        }
        let list = EchConfigList::from_configs(configs).unwrap();
        let bytes = list.encode();
        let again = EchConfigList::parse(&bytes).unwrap();
        prop_assert_eq!(again.encode(), bytes);
        prop_assert_eq!(again, list);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(list) = EchConfigList::parse(&bytes) {
            prop_assert_eq!(list.encode(), bytes);
            let selection = list.select();
            prop_assert_eq!(selection.verdicts.len(), list.configs().len());
            let usable = selection.verdicts.iter().filter(|v| v.why_not.is_none()).count();
            let chosen = usize::from(selection.chosen.is_some());
            prop_assert_eq!(chosen + selection.others.len(), usable);
        }
    }

    #[test]
    fn any_input_is_read_or_refused(
        text in ".{0,200}",
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = EchConfigList::from_bytes_or_text(&text);
        let _ = EchConfigList::from_bytes_or_text(&bytes);
    }
}

/// `fe0d 0000`: this version, and contents that end before they begin. The entry is skipped by its
/// length, and the rest of the list counts: docs/decisions/070-malformed-configs.md.
#[test]
fn an_entry_of_our_version_without_contents_is_passed_over_and_the_rest_counts() {
    let good = EchConfig::try_from(contents()).unwrap();
    let body = [&[0xfe, 0x0d, 0, 0], good.encoded()].concat();
    let mut list = Vec::new();
    put_vec16(&mut list, &body).unwrap();
    let list = EchConfigList::parse(&list).unwrap();
    assert_eq!(list.encode()[2..], body);
    let selection = list.select();
    assert_eq!(
        selection.verdicts[0].why_not,
        Some(WhyNot::Malformed("config_id"))
    );
    assert_eq!(selection.chosen.unwrap().config(), &good);
}

#[test]
fn the_usable_configs_behind_the_chosen_one_are_offered_next_in_the_servers_order() {
    let config = |id, good: bool| {
        let mut contents = contents();
        contents.config_id = id;
        if !good {
            contents.kem = Kem(0x7fff);
        }
        EchConfig::try_from(contents).unwrap()
    };
    let list = EchConfigList::from_configs(vec![
        config(1, false),
        config(2, true),
        config(3, false),
        config(4, true),
        config(5, true),
    ])
    .unwrap();
    let selection = list.select();
    assert_eq!(selection.chosen.unwrap().contents().config_id, 2);
    let others: Vec<_> = selection
        .others
        .iter()
        .map(|c| (c.index(), c.contents().config_id))
        .collect();
    assert_eq!(others, [(3, 4), (4, 5)]);
}

#[test]
fn a_bounded_number_of_keys_is_checked_and_what_costs_nothing_does_not_count() {
    let mut bad = contents();
    bad.public_key.truncate(31);
    let bad = EchConfig::try_from(bad).unwrap();
    let unknown = EchConfig::parse(&[0xfe, 0x0c, 0, 1, 9]).unwrap();
    let good = EchConfig::try_from(contents()).unwrap();
    let list = |bad_keys: usize| {
        let mut configs = vec![unknown.clone(); 2 * MAX_KEY_CHECKS];
        configs.extend(vec![bad.clone(); bad_keys]);
        configs.push(good.clone());
        EchConfigList::from_configs(configs).unwrap().select()
    };
    let within = list(MAX_KEY_CHECKS - 1);
    assert_eq!(within.chosen.unwrap().config(), &good);

    let beyond = list(MAX_KEY_CHECKS);
    assert_eq!(beyond.chosen, None);
    assert_eq!(
        beyond.verdicts.last().unwrap().why_not,
        Some(WhyNot::NotJudged)
    );
    let judged = |v: &&ConfigVerdict| v.why_not == Some(WhyNot::PublicKey(Kem::X25519));
    assert_eq!(
        beyond.verdicts.iter().filter(judged).count(),
        MAX_KEY_CHECKS
    );
}

#[test]
fn contents_that_cannot_be_encoded_are_an_error_that_names_the_field() {
    type Change = fn(&mut EchConfigContents);
    let cases: [(Change, ContentsError); 9] = [
        (|c| c.public_key.clear(), ContentsError::Empty("public_key")),
        (
            |c| c.public_key = vec![0; 65_536],
            ContentsError::TooLong("public_key", 65_536),
        ),
        (
            |c| c.cipher_suites.clear(),
            ContentsError::Empty("cipher_suites"),
        ),
        (
            |c| c.cipher_suites = vec![SymmetricSuite::MANDATORY; 16_384],
            ContentsError::TooLong("cipher_suites", 65_536),
        ),
        (
            |c| c.public_name = PublicName::from_wire(b""),
            ContentsError::Empty("public_name"),
        ),
        (
            |c| c.public_name = PublicName::from_wire(&[b'a'; 256]),
            ContentsError::TooLong("public_name", 256),
        ),
        (
            |c| {
                let data = vec![0; 40_000];
                c.extensions = vec![ConfigExtension { number: 1, data }; 2];
            },
            ContentsError::TooLong("extensions", 80_008),
        ),
        // Each field fits, and the whole does not: alone, or into a list.
        (
            |c| {
                let data = vec![0; 65_468];
                c.extensions = vec![ConfigExtension { number: 1, data }];
            },
            ContentsError::TooLong("ECHConfig", 65_537),
        ),
        (
            |c| {
                let data = vec![0; 65_500];
                c.extensions = vec![ConfigExtension { number: 1, data }];
            },
            ContentsError::TooLong("ECHConfig", 65_565),
        ),
    ];
    for (change, error) in cases {
        let mut contents = contents();
        change(&mut contents);
        assert_eq!(EchConfig::try_from(contents), Err(error));
    }
}

#[test]
fn a_config_that_no_list_can_hold_is_refused() {
    let config = |len: u16| {
        let mut bytes = vec![0xfe, 0x0c];
        put_vec16(&mut bytes, &vec![0; len.into()]).unwrap();
        EchConfig::parse(&bytes)
    };
    let longest = EchConfigList::from(config(65_531).unwrap());
    assert_eq!(EchConfigList::parse(&longest.encode()), Ok(longest));
    assert_eq!(config(65_532), Err(ConfigListError::TooLong(65_536)));
}
