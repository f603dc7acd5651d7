//! The crate `hpke` behind the trait of rustls, for the suites that rustls lacks.

use std::fmt;
use std::marker::PhantomData;

use ::hpke::aead::{AeadCtxR, AeadCtxS};
use ::hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rustls::crypto::hpke::{
    EncapsulatedSecret, Hpke, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer, HpkeSuite,
};
use rustls::{Error, OtherError};

use super::{Aead, Kdf, Kem, Suite, SymmetricSuite};

/// The crate `hpke` panics where `info` reaches its 16-bit length. `info` is a prefix and an
/// ECHConfig, which another party may have written, so it is refused well before.
const MAX_INFO: usize = 0x8000;

/// One suite of the crate `hpke`, without state.
pub(super) struct RustCrypto<A, D, K>(PhantomData<Algorithms<A, D, K>>);

/// A function pointer is `Send + Sync` whatever it returns.
type Algorithms<A, D, K> = fn() -> (A, D, K);

impl<A, D, K> RustCrypto<A, D, K> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<A, D, K> Hpke for RustCrypto<A, D, K>
where
    A: ::hpke::aead::Aead + 'static,
    D: ::hpke::kdf::Kdf + 'static,
    K: ::hpke::kem::Kem + 'static,
    AeadCtxS<A, D, K>: Send + Sync,
    AeadCtxR<A, D, K>: Send + Sync,
{
    fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Vec<u8>), Error> {
        let (enc, mut sealer) = self.setup_sealer(info, pub_key)?;
        Ok((enc, sealer.seal(aad, plaintext)?))
    }

    fn setup_sealer(
        &self,
        info: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), Error> {
        check_info(info)?;
        let public = K::PublicKey::from_bytes(&pub_key.0).map_err(other)?;
        let (enc, context) =
            ::hpke::setup_sender::<A, D, K>(&OpModeS::Base, &public, info).map_err(other)?;
        Ok((
            EncapsulatedSecret(enc.to_bytes().to_vec()),
            Box::new(Sealer(context)),
        ))
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
        check_info(info)?;
        let private = K::PrivateKey::from_bytes(secret_key.secret_bytes()).map_err(other)?;
        let enc = K::EncappedKey::from_bytes(&enc.0).map_err(other)?;
        let context = ::hpke::setup_receiver::<A, D, K>(&OpModeR::Base, &private, &enc, info)
            .map_err(other)?;
        Ok(Box::new(Opener(context)))
    }

    fn generate_key_pair(&self) -> Result<(HpkePublicKey, HpkePrivateKey), Error> {
        let (private, public) = K::gen_keypair();
        Ok((
            HpkePublicKey(public.to_bytes().to_vec()),
            HpkePrivateKey::from(private.to_bytes().to_vec()),
        ))
    }

    fn suite(&self) -> HpkeSuite {
        Suite {
            kem: Kem(K::KEM_ID),
            sym: SymmetricSuite::new(Kdf(D::KDF_ID), Aead(A::AEAD_ID)),
        }
        .into()
    }
}

impl<A, D, K> fmt::Debug for RustCrypto<A, D, K>
where
    Self: Hpke,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RustCrypto({})", Suite::from(self.suite()))
    }
}

struct Sealer<A, D, K>(AeadCtxS<A, D, K>)
where
    A: ::hpke::aead::Aead,
    D: ::hpke::kdf::Kdf,
    K: ::hpke::kem::Kem;

impl<A, D, K> HpkeSealer for Sealer<A, D, K>
where
    A: ::hpke::aead::Aead + 'static,
    D: ::hpke::kdf::Kdf + 'static,
    K: ::hpke::kem::Kem + 'static,
    AeadCtxS<A, D, K>: Send + Sync,
{
    fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.seal(plaintext, aad).map_err(other)
    }
}

impl<A, D, K> fmt::Debug for Sealer<A, D, K>
where
    A: ::hpke::aead::Aead,
    D: ::hpke::kdf::Kdf,
    K: ::hpke::kem::Kem,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

struct Opener<A, D, K>(AeadCtxR<A, D, K>)
where
    A: ::hpke::aead::Aead,
    D: ::hpke::kdf::Kdf,
    K: ::hpke::kem::Kem;

impl<A, D, K> HpkeOpener for Opener<A, D, K>
where
    A: ::hpke::aead::Aead + 'static,
    D: ::hpke::kdf::Kdf + 'static,
    K: ::hpke::kem::Kem + 'static,
    AeadCtxR<A, D, K>: Send + Sync,
{
    fn open(&mut self, aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.open(ciphertext, aad).map_err(other)
    }
}

impl<A, D, K> fmt::Debug for Opener<A, D, K>
where
    A: ::hpke::aead::Aead,
    D: ::hpke::kdf::Kdf,
    K: ::hpke::kem::Kem,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

/// The public key of `private`, as `kem` serialises it; `None` for an unknown KEM or a value that
/// is no private key of it.
pub(crate) fn public_key(kem: Kem, private: &HpkePrivateKey) -> Option<Vec<u8>> {
    fn of<K: ::hpke::kem::Kem>(private: &HpkePrivateKey) -> Option<Vec<u8>> {
        let private = K::PrivateKey::from_bytes(private.secret_bytes()).ok()?;
        Some(K::sk_to_pk(&private).to_bytes().to_vec())
    }
    match kem {
        Kem::P256 => of::<::hpke::kem::DhP256HkdfSha256>(private),
        Kem::P384 => of::<::hpke::kem::DhP384HkdfSha384>(private),
        Kem::P521 => of::<::hpke::kem::DhP521HkdfSha512>(private),
        Kem::X25519 => of::<::hpke::kem::X25519HkdfSha256>(private),
        Kem::X_WING => of::<::hpke::kem::XWing>(private),
        _ => None,
    }
}

fn check_info(info: &[u8]) -> Result<(), Error> {
    match info.len() <= MAX_INFO {
        true => Ok(()),
        false => Err(Error::General(format!(
            "HPKE info of {} bytes is longer than {MAX_INFO}",
            info.len()
        ))),
    }
}

fn other(error: ::hpke::HpkeError) -> Error {
    Error::Other(OtherError(std::sync::Arc::new(error)))
}
