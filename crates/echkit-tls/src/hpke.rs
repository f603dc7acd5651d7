//! The HPKE of [`echkit_proto::hpke`] as rustls takes it: one adapter for each suite.

use std::sync::{Arc, LazyLock};

use echkit_proto::hpke::{
    self, Aead, HpkeError, Kdf, Kem, PrivateKey, ReceiverContext, SenderContext, Suite,
    SymmetricSuite,
};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
use rustls::crypto::hpke::{
    EncapsulatedSecret, Hpke, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer, HpkeSuite,
};
use rustls::{Error, OtherError};

/// The adapter for `suite`; `None` for a suite that is not implemented.
pub fn find(suite: Suite) -> Option<&'static dyn Hpke> {
    all().iter().copied().find(|hpke| suite_of(*hpke) == suite)
}

/// The error for a suite that is not implemented.
pub(crate) fn unknown(suite: Suite) -> Error {
    other(HpkeError::UnknownSuite(suite))
}

/// The adapters for all suites, in the order of [`hpke::suites`].
pub fn all() -> &'static [&'static dyn Hpke] {
    static ADAPTERS: LazyLock<Vec<Adapter>> =
        LazyLock::new(|| hpke::suites().iter().copied().map(Adapter).collect());
    static ALL: LazyLock<Vec<&'static dyn Hpke>> = LazyLock::new(|| {
        let adapters: &'static [Adapter] = &ADAPTERS;
        adapters.iter().map(|adapter| adapter as _).collect()
    });
    &ALL
}

/// The numbers of an implementation's suite.
pub fn suite_of(hpke: &dyn Hpke) -> Suite {
    let HpkeSuite { kem, sym } = hpke.suite();
    Suite {
        kem: Kem(kem.into()),
        sym: SymmetricSuite::new(Kdf(sym.kdf_id.into()), Aead(sym.aead_id.into())),
    }
}

/// One suite.
#[derive(Debug)]
struct Adapter(Suite);

impl Hpke for Adapter {
    fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Vec<u8>), Error> {
        let (enc, mut sender) = hpke::setup_sender(self.0, &pub_key.0, info).map_err(other)?;
        let sealed = sender.seal(aad, plaintext).map_err(other)?;
        Ok((EncapsulatedSecret(enc), sealed))
    }

    fn setup_sealer(
        &self,
        info: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), Error> {
        let (enc, sender) = hpke::setup_sender(self.0, &pub_key.0, info).map_err(other)?;
        Ok((EncapsulatedSecret(enc), Box::new(Sealer(sender))))
    }

    fn open(
        &self,
        enc: &EncapsulatedSecret,
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
        secret_key: &HpkePrivateKey,
    ) -> Result<Vec<u8>, Error> {
        self.setup_opener(enc, info, secret_key)?
            .open(aad, ciphertext)
    }

    fn setup_opener(
        &self,
        enc: &EncapsulatedSecret,
        info: &[u8],
        secret_key: &HpkePrivateKey,
    ) -> Result<Box<dyn HpkeOpener + 'static>, Error> {
        let key = PrivateKey::from_bytes(self.0.kem, secret_key.secret_bytes()).map_err(other)?;
        let receiver = hpke::setup_receiver(self.0.sym, &enc.0, &key, info).map_err(other)?;
        Ok(Box::new(Opener(receiver)))
    }

    fn generate_key_pair(&self) -> Result<(HpkePublicKey, HpkePrivateKey), Error> {
        let key = PrivateKey::generate(self.0.kem).map_err(other)?;
        let private = key.to_bytes().map_err(other)?;
        Ok((
            HpkePublicKey(key.public_key().to_vec()),
            HpkePrivateKey::from(private.to_vec()),
        ))
    }

    fn suite(&self) -> HpkeSuite {
        // The types of these numbers have no public name.
        let mut suite = DH_KEM_X25519_HKDF_SHA256_AES_128.suite();
        suite.kem = self.0.kem.0.into();
        suite.sym.kdf_id = self.0.sym.kdf.0.into();
        suite.sym.aead_id = self.0.sym.aead.0.into();
        suite
    }
}

#[derive(Debug)]
struct Sealer(SenderContext);

impl HpkeSealer for Sealer {
    fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.seal(aad, plaintext).map_err(other)
    }
}

#[derive(Debug)]
struct Opener(ReceiverContext);

impl HpkeOpener for Opener {
    fn open(&mut self, aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.open(aad, ciphertext).map_err(other)
    }
}

pub(crate) fn other(error: HpkeError) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_suite_has_its_adapter() {
        assert_eq!(all().len(), hpke::suites().len());
        for suite in hpke::suites() {
            assert_eq!(suite_of(find(*suite).unwrap()), *suite);
        }
        let unknown = Suite {
            kem: Kem(0x7fff),
            ..Suite::MANDATORY
        };
        assert!(find(unknown).is_none());
    }

    #[test]
    fn every_adapter_opens_what_it_seals() {
        for hpke in all() {
            let (public, private) = hpke.generate_key_pair().unwrap();
            let (enc, mut sealer) = hpke.setup_sealer(b"info", &public).unwrap();
            let first = sealer.seal(b"aad", b"first").unwrap();
            let second = sealer.seal(b"aad", b"second").unwrap();
            let mut opener = hpke.setup_opener(&enc, b"info", &private).unwrap();
            assert_eq!(opener.open(b"aad", &first).unwrap(), b"first");
            assert_eq!(opener.open(b"aad", &second).unwrap(), b"second");

            let (enc, sealed) = hpke.seal(b"info", b"aad", b"once", &public).unwrap();
            let opened = hpke.open(&enc, b"info", b"aad", &sealed, &private).unwrap();
            assert_eq!(opened, b"once");
        }
    }

    /// rustls' own HPKE on the same cryptography, at the other end.
    #[test]
    fn rustls_own_implementations_open_what_the_adapters_seal_and_the_other_way_round() {
        for theirs in rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES {
            let ours = find(suite_of(*theirs)).unwrap();
            for (sender, receiver) in [(ours, *theirs), (*theirs, ours)] {
                let (public, private) = receiver.generate_key_pair().unwrap();
                let (enc, sealed) = sender.seal(b"info", b"aad", b"hello", &public).unwrap();
                let opened = receiver.open(&enc, b"info", b"aad", &sealed, &private);
                assert_eq!(opened.unwrap(), b"hello", "{sender:?} to {receiver:?}");
            }
        }
    }

    #[test]
    fn the_error_of_an_invalid_key_names_the_kem() {
        let hpke = find(Suite::MANDATORY).unwrap();
        let error = hpke
            .setup_sealer(b"", &HpkePublicKey(vec![0; 32]))
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("invalid x25519 public key"),
            "{error}"
        );
    }
}
