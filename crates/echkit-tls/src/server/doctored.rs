//! Parts of the ECH layer for tests that put a fault between it and rustls.

use std::sync::Arc;

use echkit_proto::server::EchKeys;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::Tls13AeadAlgorithm;
use rustls::crypto::hash::Hash;
use rustls::crypto::tls13::Hkdf;

use super::record_protection::RecordProtection;
use super::transcript::TranscriptHash;
use super::{EchServer, UnknownRustls, self_test};

/// The layer's hash over `raw`, confirming with `hkdf`. Never freed.
pub fn transcript_hash(raw: &'static dyn Hash, hkdf: &'static dyn Hkdf) -> &'static dyn Hash {
    Box::leak(Box::new(TranscriptHash { raw, hkdf }))
}

/// The layer's record protection over `raw`. Never freed.
pub fn record_protection(raw: &'static dyn Tls13AeadAlgorithm) -> &'static dyn Tls13AeadAlgorithm {
    Box::leak(Box::new(RecordProtection(raw)))
}

/// A server with a provider that [`EchServer::new`] refuses.
pub fn server(config: Arc<ServerConfig>, keys: EchKeys) -> EchServer {
    EchServer::untested(config, keys.into())
}

/// What the self-test says of a provider whose suites are wrapped by the layer.
///
/// # Errors
///
/// When it fails.
pub fn self_test(provider: &CryptoProvider) -> Result<(), UnknownRustls> {
    self_test::self_test(provider)
}
