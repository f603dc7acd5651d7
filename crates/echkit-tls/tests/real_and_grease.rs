//! Real offers and GREASE look alike (RFC 9849 §6.2, §10.10.4): a classifier that has learnt from
//! half of the hellos is no better than chance on the other half.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};

use echkit_proto::hello::{ClientHello, EchExtension, extension};
use echkit_proto::key::EchKey;
use echkit_tls::client::{ClientTls, EchOffer, SessionUse, TlsTarget};
use rustls_pki_types::ServerName;

use echkit_test::pair::{self, Pki, chosen, flight, hello, key_with, run};

/// Hellos of each kind.
const HELLOS: usize = 1000;

/// The best accuracy allowed.
///
/// Every hello is scored once, by a classifier that has learnt from the half that it is not in. By
/// chance the number of right guesses among the 2000 has a standard deviation of about
/// sqrt(2000 / 4) = 22.4, which is 0.0112 of them; the bound lies 4.5 deviations above one half,
/// which chance exceeds once in 300,000 times for each feature.
const BOUND: f64 = 0.55;

/// What an eavesdropper can tell of one hello, by feature.
type Features = BTreeMap<&'static str, String>;

fn features(hello: &ClientHello) -> Features {
    let Some(EchExtension::Outer(ech)) = hello.ech().unwrap() else {
        panic!("no encrypted_client_hello");
    };
    let kinds: Vec<u16> = hello.extensions().iter().map(|e| e.kind).collect();
    let present: BTreeSet<u16> = kinds.iter().copied().collect();
    let place = |kind: u16| kinds.iter().position(|k| *k == kind);
    let sni = hello.extension(extension::SERVER_NAME).unwrap().len();
    let lengths: BTreeMap<u16, usize> = hello
        .extensions()
        .iter()
        .filter(|e| e.kind != extension::SERVER_NAME)
        .map(|e| (e.kind, e.body.len()))
        .collect();
    BTreeMap::from([
        ("payload length", ech.payload.len().to_string()),
        ("enc length", ech.enc.len().to_string()),
        ("suite", ech.suite.to_string()),
        ("length less SNI", (hello.bytes().len() - sni).to_string()),
        ("presence", format!("{present:?}")),
        ("lengths", format!("{lengths:?}")),
        ("order", format!("{kinds:?}")),
        (
            "place of the offer",
            format!("{:?}", place(extension::ENCRYPTED_CLIENT_HELLO)),
        ),
        (
            "place of SNI",
            format!("{:?}", place(extension::SERVER_NAME)),
        ),
        (
            "first and last",
            format!("{:?}", (kinds.first(), kinds.last())),
        ),
        (
            "the rest",
            format!(
                "{:?}",
                (
                    hello.legacy_version(),
                    hello.session_id().len(),
                    hello.cipher_suites().collect::<Vec<_>>(),
                    hello.compression_methods(),
                    hello.key_share_groups(),
                )
            ),
        ),
    ])
}

/// The share of right guesses, each by the majority among the hellos of the other half that have
/// the same value.
fn accuracy(samples: &[(bool, String)]) -> f64 {
    let mut right = 0;
    for tested in 0..2 {
        let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
        for (real, value) in samples.iter().skip(1 - tested).step_by(2) {
            *seen.entry(value).or_default() += if *real { 1 } else { -1 };
        }
        for (real, value) in samples.iter().skip(tested).step_by(2) {
            let guess = seen.get(value.as_str()).is_none_or(|sum| *sum >= 0);
            right += usize::from(guess == *real);
        }
    }
    right as f64 / samples.len() as f64
}

fn name(index: usize) -> String {
    let length = 1 + index * 37 % 180;
    let labels: Vec<String> = (0..length.div_ceil(60))
        .map(|label| "n".repeat((length - label * 60).min(60)))
        .collect();
    format!("{}.test", labels.join("."))
}

fn one(tls: &ClientTls, site: &str, offer: EchOffer) -> ClientHello {
    let mut target = TlsTarget::new(ServerName::try_from(site.to_owned()).unwrap());
    target.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    target.offer = offer;
    hello(&flight(&mut tls.handshake(&target).unwrap()))
}

fn keys() -> Vec<EchKey> {
    [0, 30, 64, 255].map(key_with).to_vec()
}

#[test]
fn a_classifier_tells_real_offers_from_grease_no_better_than_chance() {
    let tls = Pki::new(&["a.test"]).client().build().unwrap();
    let keys = keys();
    // In pairs, so that each half has as many of each kind, under each config.
    let mut samples: Vec<(bool, Features)> = Vec::new();
    for index in 0..HELLOS {
        let key = &keys[index % keys.len()];
        let real = one(&tls, &name(index), EchOffer::real(chosen(key)));
        let grease = one(&tls, &name(index), EchOffer::Grease);
        let both = [(true, features(&real)), (false, features(&grease))];
        match (index / keys.len()).is_multiple_of(2) {
            true => samples.extend(both),
            false => samples.extend(both.into_iter().rev()),
        }
    }
    let names: Vec<&'static str> = samples[0].1.keys().copied().collect();
    let column = |read: &dyn Fn(&Features) -> String| -> Vec<(bool, String)> {
        samples.iter().map(|(real, f)| (*real, read(f))).collect()
    };
    let mut table: Vec<(&str, f64)> = names
        .iter()
        .map(|name| (*name, accuracy(&column(&|f| f[name].clone()))))
        .collect();
    table.push(("all together", accuracy(&column(&|f| format!("{f:?}")))));
    for (feature, accuracy) in &table {
        println!("{feature}: {accuracy:.4}");
    }
    for (feature, accuracy) in table {
        assert!(accuracy <= BOUND, "{feature} tells: {accuracy:.4}");
    }
}

/// That the classifier can tell what can be told.
#[test]
fn the_classifier_finds_a_difference_where_there_is_one() {
    let by_length = |real: bool, i: usize| match real {
        true if i.is_multiple_of(4) => "176",
        _ => "368",
    };
    let samples: Vec<(bool, String)> = (0..HELLOS)
        .flat_map(|i| {
            let pair = [true, false].map(|real| (real, by_length(real, i).to_owned()));
            match (i / 4).is_multiple_of(2) {
                true => pair.to_vec(),
                false => pair.into_iter().rev().collect(),
            }
        })
        .collect();
    let found = accuracy(&samples);
    assert!(found > 0.6, "{found}");
}

#[test]
fn the_length_of_the_hidden_name_does_not_show() {
    let tls = Pki::new(&["a.test"]).client().build().unwrap();
    let longest = [[b'n'; 61]; 4].map(|label| String::from_utf8(label.to_vec()).unwrap());
    let longest = format!("{}.test", longest.join("."));
    assert_eq!(longest.len(), 252);
    for key in keys() {
        let lengths: BTreeSet<(usize, usize)> = ["a.b", "hidden-name.test", &name(100), &longest]
            .into_iter()
            .map(|site| {
                let hello = one(&tls, site, EchOffer::real(chosen(&key)));
                let Some(EchExtension::Outer(ech)) = hello.ech().unwrap() else {
                    panic!("no encrypted_client_hello");
                };
                (ech.payload.len(), hello.bytes().len())
            })
            .collect();
        assert_eq!(lengths.len(), 1, "{lengths:?}");
    }
}

/// With a ticket, both have `pre_shared_key`; the outer one of a real offer is made up
/// (RFC 9849 §10.12.3) and as long as the ticket.
#[test]
fn real_offers_and_grease_with_a_ticket_have_the_same_shape() {
    let pki = Pki::new(&[pair::HIDDEN, pair::PUBLIC]);
    let key = key_with(64);
    let server = pki.server(vec![key.clone()], false);
    let shapes = [EchOffer::real(chosen(&key)), EchOffer::Grease].map(|offer| {
        let tls = pki.client().build().unwrap();
        let mut target = TlsTarget::new(pair::HIDDEN.try_into().unwrap());
        target.offer = offer;
        target.sessions = SessionUse::ByOrigin { port: 443 };
        run(tls.handshake(&target).unwrap(), &server);
        let hello = hello(&flight(&mut tls.handshake(&target).unwrap()));
        assert!(hello.has_pre_shared_key());
        let mut features = features(&hello);
        // Drawn anew for each hello, as the classifier finds.
        for drawn in ["order", "place of SNI", "first and last"] {
            features.remove(drawn);
        }
        features
    });
    assert_eq!(shapes[0], shapes[1]);
}
