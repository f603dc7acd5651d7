//! The crypto provider through which rustls' messages are changed.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};

use super::record_protection::RecordProtection;
use super::transcript::TranscriptHash;
use crate::record_opener;

/// Made once: rustls wants suites that live for ever.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        *suite = match *suite {
            SupportedCipherSuite::Tls13(raw) => SupportedCipherSuite::Tls13(wrap(raw)),
            SupportedCipherSuite::Tls12(raw) => record_opener::tls12_suite(raw),
        };
    }
    Arc::new(provider)
});

/// The provider to build the [`rustls::ServerConfig`] of an ECH server with.
///
/// It is rustls' aws-lc-rs provider; for connections without an ECH offer it does nothing else
/// than that. A copy with suites or groups taken out serves as well.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// Whether every TLS 1.3 suite of `provider` is one of ours.
pub(super) fn is_ours(provider: &CryptoProvider) -> bool {
    let ours: Vec<_> = tls13(&PROVIDER).collect();
    tls13(provider).all(|suite| ours.iter().any(|own| std::ptr::eq(*own, suite)))
}

fn tls13(provider: &CryptoProvider) -> impl Iterator<Item = &'static Tls13CipherSuite> + '_ {
    provider
        .cipher_suites
        .iter()
        .filter_map(|suite| suite.tls13())
}

fn wrap(raw: &'static Tls13CipherSuite) -> &'static Tls13CipherSuite {
    Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: raw.common.suite,
            hash_provider: Box::leak(Box::new(TranscriptHash {
                raw: raw.common.hash_provider,
                hkdf: raw.hkdf_provider,
            })),
            confidentiality_limit: raw.common.confidentiality_limit,
        },
        hkdf_provider: raw.hkdf_provider,
        aead_alg: Box::leak(Box::new(RecordProtection(raw.aead_alg))),
        quic: raw.quic,
    }))
}
