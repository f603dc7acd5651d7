//! Offers whose outer hello differs from what the config says that they are sealed under.

use echkit_proto::config::{EchConfig as ProtoConfig, EchConfigContents, EchConfigList};
use echkit_proto::key::EchKey;
use rustls::Error;
use rustls::client::{EchConfig, EchMode};
use rustls::crypto::aws_lc_rs::hpke;
use rustls::crypto::hpke::{
    EncapsulatedSecret, Hpke, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer, HpkeSuite,
};
use rustls::pki_types::EchConfigListBytes;

/// A real offer under `key`, whose hello is made from the config as `change` leaves it.
pub fn disguised(key: &EchKey, change: impl FnOnce(&mut EchConfigContents)) -> Option<EchMode> {
    let mut contents = key.contents().clone();
    change(&mut contents);
    let list = EchConfigList::from(ProtoConfig::try_from(contents).unwrap()).encode();
    let suite: &'static dyn Hpke = Box::leak(Box::new(Disguise {
        inner: hpke::DH_KEM_X25519_HKDF_SHA256_AES_128,
        info: key.config().hpke_info(),
    }));
    let config = EchConfig::new(EchConfigListBytes::from(list), &[suite]).unwrap();
    Some(config.into())
}

/// Seals under the `info` of another config than the one that rustls was given.
#[derive(Debug)]
struct Disguise {
    inner: &'static dyn Hpke,
    info: Vec<u8>,
}

impl Hpke for Disguise {
    fn seal(
        &self,
        _: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Vec<u8>), Error> {
        self.inner.seal(&self.info, aad, plaintext, key)
    }

    fn setup_sealer(
        &self,
        _: &[u8],
        key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), Error> {
        self.inner.setup_sealer(&self.info, key)
    }

    fn open(
        &self,
        _: &EncapsulatedSecret,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &HpkePrivateKey,
    ) -> Result<Vec<u8>, Error> {
        Err(Error::General("clients open nothing".into()))
    }

    fn setup_opener(
        &self,
        _: &EncapsulatedSecret,
        _: &[u8],
        _: &HpkePrivateKey,
    ) -> Result<Box<dyn HpkeOpener + 'static>, Error> {
        Err(Error::General("clients open nothing".into()))
    }

    fn generate_key_pair(&self) -> Result<(HpkePublicKey, HpkePrivateKey), Error> {
        self.inner.generate_key_pair()
    }

    fn suite(&self) -> HpkeSuite {
        self.inner.suite()
    }
}
