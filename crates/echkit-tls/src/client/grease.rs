//! GREASE: an `encrypted_client_hello` extension of random content (RFC 9849 §6.2).
//!
//! rustls draws the config_id, and pads the payload as a real one for a name of 255 bytes. The
//! suite is chosen here, and is the one that real offers have: see
//! `docs/decisions/086-real-and-grease-hellos.md`.

use std::sync::OnceLock;

use echkit_proto::hpke::{Aead, Kdf, Kem, Suite, SymmetricSuite};
use rustls::client::EchGreaseConfig;
use rustls::crypto::hpke::HpkePublicKey;

use crate::hpke;

/// A GREASE configuration, and its suite.
pub(super) fn grease() -> Result<(EchGreaseConfig, Suite), rustls::Error> {
    /// A key to encapsulate to. Only the fresh encapsulation is sent, never the key, so that one
    /// per process serves.
    static PLACEHOLDER: OnceLock<HpkePublicKey> = OnceLock::new();
    let suite = usual_suite(has_aes_hardware());
    let hpke = hpke::find(suite).ok_or_else(|| hpke::unknown(suite))?;
    let key = match PLACEHOLDER.get() {
        Some(key) => key.clone(),
        None => {
            let (key, _) = hpke.generate_key_pair()?;
            PLACEHOLDER.get_or_init(|| key).clone()
        }
    };
    Ok((EchGreaseConfig::new(hpke, key), suite))
}

/// The suite that a browser's offers have on such a machine: X25519 and HKDF-SHA256, with
/// AES-128-GCM where it is done in hardware, and ChaCha20-Poly1305 elsewhere.
fn usual_suite(aes_hardware: bool) -> Suite {
    let aead = match aes_hardware {
        true => Aead::AES_128_GCM,
        false => Aead::CHACHA20_POLY1305,
    };
    Suite {
        kem: Kem::X25519,
        sym: SymmetricSuite::new(Kdf::HKDF_SHA256, aead),
    }
}

/// Whether the processor has instructions for AES and for the multiplication of GCM: what the
/// browsers' TLS libraries ask for.
fn has_aes_hardware() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_suite_is_a_browsers_on_machines_with_and_without_aes() {
        let names = [true, false].map(|aes| usual_suite(aes).to_string());
        assert_eq!(
            names,
            [
                "x25519,hkdf-sha256,aes-128-gcm",
                "x25519,hkdf-sha256,chacha20-poly1305"
            ]
        );
        let (_, suite) = grease().unwrap();
        assert!(names.contains(&suite.to_string()), "{suite}");
    }
}
