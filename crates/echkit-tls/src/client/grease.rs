//! GREASE: an `encrypted_client_hello` extension of random content (RFC 9849 §6.2).

use std::collections::HashMap;
use std::sync::Mutex;

use echkit_proto::hpke::{Kem, Suite, suites};
use rand::Rng;
use rustls::client::EchGreaseConfig;
use rustls::crypto::hpke::{Hpke, HpkePublicKey};

/// Keys to encapsulate to, one for each suite.
///
/// Only the fresh encapsulation is sent, never the key, so one key per process does.
static PLACEHOLDERS: Mutex<Option<HashMap<Suite, HpkePublicKey>>> = Mutex::new(None);

/// A GREASE configuration with a suite picked at random among those under X25519 (RFC 9849 §6.2),
/// as nearly all published configs and the browsers have it: GREASE is to look like them.
///
/// `docs/decisions/045-grease-suites.md` says why no other KEM is drawn.
pub(super) fn random() -> Result<(EchGreaseConfig, Suite), rustls::Error> {
    let usual: Vec<_> = suites()
        .iter()
        .copied()
        .filter(|suite| Suite::from(suite.suite()).kem == Kem::X25519)
        .collect();
    with(usual[rand::rng().random_range(0..usual.len())])
}

fn with(suite: &'static dyn Hpke) -> Result<(EchGreaseConfig, Suite), rustls::Error> {
    let id = Suite::from(suite.suite());
    let mut guard = PLACEHOLDERS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = guard.get_or_insert_default();
    let key = match known.get(&id) {
        Some(key) => key.clone(),
        None => {
            let (key, _) = suite.generate_key_pair()?;
            known.insert(id, key.clone());
            key
        }
    };
    Ok((EchGreaseConfig::new(suite, key), id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use echkit_proto::hello::{ClientHello, EchExtension};
    use rustls::client::{ClientConnection, EchMode};
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    #[test]
    fn what_is_drawn_looks_like_a_published_config_and_varies() {
        let mut drawn = std::collections::HashSet::new();
        for _ in 0..200 {
            let (config, suite) = random().unwrap();
            assert_eq!(suite.kem, Kem::X25519, "{config:?}");
            drawn.insert(suite.sym);
        }
        // One of at least two hundred times out: never by chance.
        assert!(drawn.len() > 1, "{drawn:?}");
    }

    #[test]
    fn every_suite_makes_a_hello_that_looks_like_an_offer() {
        for hpke in suites() {
            let (grease, suite) = with(*hpke).unwrap();
            let provider = Arc::new(super::super::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_ech(EchMode::Grease(grease))
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            let name = "site.test".try_into().unwrap();
            let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
            let mut bytes = Vec::new();
            connection.write_tls(&mut bytes).unwrap();
            let hello = ClientHello::parse(&bytes[5..]).unwrap();
            let Some(EchExtension::Outer(ech)) = hello.ech().unwrap() else {
                panic!("{suite}");
            };
            assert_eq!(ech.suite, suite.sym);
            assert!(!ech.enc.is_empty() && ech.payload.len() > 128, "{suite}");
        }
    }
}
