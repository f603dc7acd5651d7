//! GREASE: an `encrypted_client_hello` extension of random content (RFC 9849 §6.2).

use std::collections::HashMap;
use std::sync::Mutex;

use echkit_proto::hpke::{Suite, suites};
use rand::Rng;
use rustls::client::EchGreaseConfig;
use rustls::crypto::hpke::HpkePublicKey;

/// Keys to encapsulate to, one for each suite.
///
/// Only the fresh encapsulation is sent, never the key, so one key per process does.
static PLACEHOLDERS: Mutex<Option<HashMap<Suite, HpkePublicKey>>> = Mutex::new(None);

/// A GREASE configuration with a suite picked at random among those that real offers use.
pub(super) fn random() -> Result<(EchGreaseConfig, Suite), rustls::Error> {
    let all = suites();
    let suite = all[rand::rng().random_range(0..all.len())];
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
