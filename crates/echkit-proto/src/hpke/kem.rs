//! Key pairs, encapsulation and decapsulation: the DHKEMs (RFC 9180 §4.1), and X-Wing
//! (draft-connolly-cfrg-xwing-kem).

use std::fmt;

use aws_lc_rs::agreement::{
    self, ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey, UnparsedPublicKey, X25519,
};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin, EcPrivateKeyBin};
use zeroize::Zeroizing;

use super::error::HpkeError;
use super::kdf::{LabeledKdf, Secret};
use super::suite::Kem;

/// The first byte of an uncompressed point, the only form that a DHKEM takes (RFC 9180 §7.1.1).
const UNCOMPRESSED: u8 = 0x04;

/// A receiver's private key, with its public key.
///
/// Both are computed once, when the key is made: an opening costs one key agreement. The
/// cryptography library holds the secret and clears it on drop.
pub struct PrivateKey {
    kem: Kem,
    secret: SecretKey,
    public: Box<[u8]>,
}

enum SecretKey {
    Dh(agreement::PrivateKey),
    #[cfg(feature = "x-wing")]
    XWing(Box<x_wing::DecapsulationKey>),
}

impl PrivateKey {
    /// `GenerateKeyPair()` (RFC 9180 §4).
    ///
    /// # Errors
    ///
    /// When the KEM is not implemented.
    pub fn generate(kem: Kem) -> Result<Self, HpkeError> {
        match Group::of(kem) {
            Some(group) => Self::new(
                kem,
                SecretKey::Dh(agreement::PrivateKey::generate(group.algorithm)?),
            ),
            #[cfg(feature = "x-wing")]
            None if kem == Kem::X_WING => {
                let mut seed = Zeroizing::new([0; x_wing::DECAPSULATION_KEY_SIZE]);
                aws_lc_rs::rand::fill(&mut seed[..])?;
                Self::from_bytes(kem, &seed[..])
            }
            None => Err(HpkeError::UnknownKem(kem)),
        }
    }

    /// `DeserializePrivateKey(skXm)` (RFC 9180 §7.1.2). The caller clears `bytes`.
    ///
    /// # Errors
    ///
    /// When the KEM is not implemented, or the bytes are not a private key of it.
    pub fn from_bytes(kem: Kem, bytes: &[u8]) -> Result<Self, HpkeError> {
        let invalid = HpkeError::PrivateKey(kem);
        let secret = match Group::of(kem) {
            Some(group) => agreement::PrivateKey::from_private_key(group.algorithm, bytes)
                .map(SecretKey::Dh)
                .map_err(|_| invalid)?,
            #[cfg(feature = "x-wing")]
            None if kem == Kem::X_WING => {
                use x_wing::KeyInit;
                x_wing::DecapsulationKey::new_from_slice(bytes)
                    .map(|key| SecretKey::XWing(Box::new(key)))
                    .map_err(|_| invalid)?
            }
            None => return Err(HpkeError::UnknownKem(kem)),
        };
        Self::new(kem, secret)
    }

    fn new(kem: Kem, secret: SecretKey) -> Result<Self, HpkeError> {
        let public = match &secret {
            SecretKey::Dh(key) => key.compute_public_key()?.as_ref().into(),
            #[cfg(feature = "x-wing")]
            SecretKey::XWing(key) => {
                use x_wing::{Decapsulator, KeyExport};
                key.encapsulation_key().to_bytes().as_slice().into()
            }
        };
        Ok(Self {
            kem,
            secret,
            public,
        })
    }

    /// The KEM.
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// The public key, as the KEM serialises it (RFC 9180 §7.1.1).
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// `SerializePrivateKey(skX)` (RFC 9180 §7.1.2), for storage.
    ///
    /// # Errors
    ///
    /// When the cryptography library fails.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let bytes = match &self.secret {
            SecretKey::Dh(key) if self.kem == Kem::X25519 => {
                let seed: Curve25519SeedBin<'_> = key.as_be_bytes()?;
                seed.as_ref().to_vec()
            }
            SecretKey::Dh(key) => {
                let scalar: EcPrivateKeyBin<'_> = key.as_be_bytes()?;
                scalar.as_ref().to_vec()
            }
            #[cfg(feature = "x-wing")]
            SecretKey::XWing(key) => key.as_bytes().to_vec(),
        };
        Ok(Zeroizing::new(bytes))
    }

    /// `Decap(enc, skR)`.
    pub(super) fn decap(&self, enc: &[u8]) -> Result<Secret, HpkeError> {
        let invalid = HpkeError::EncapsulatedKey(self.kem);
        match &self.secret {
            SecretKey::Dh(key) => {
                let group = Group::of(self.kem).ok_or(HpkeError::UnknownKem(self.kem))?;
                let peer = group.parse(enc).ok_or(invalid)?;
                group.agree(key, peer, invalid, &[enc, &self.public])
            }
            #[cfg(feature = "x-wing")]
            SecretKey::XWing(key) => {
                use x_wing::Decapsulate;
                let enc = x_wing::Ciphertext::try_from(enc).map_err(|_| invalid)?;
                Ok(x_wing_secret(key.decapsulate(&enc)))
            }
        }
    }
}

/// Shows the KEM, never the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("kem", &self.kem)
            .finish_non_exhaustive()
    }
}

/// `Encap(pkR)`: the shared secret, and the encapsulated key to send.
pub(super) fn encap(kem: Kem, public_key: &[u8]) -> Result<(Secret, Vec<u8>), HpkeError> {
    let invalid = HpkeError::PublicKey(kem);
    match Group::of(kem) {
        Some(group) => {
            let peer = group.parse(public_key).ok_or(invalid)?;
            let ephemeral = agreement::PrivateKey::generate(group.algorithm)?;
            let enc = ephemeral.compute_public_key()?.as_ref().to_vec();
            let secret = group.agree(&ephemeral, peer, invalid, &[&enc, public_key])?;
            Ok((secret, enc))
        }
        #[cfg(feature = "x-wing")]
        None if kem == Kem::X_WING => {
            use x_wing::Encapsulate;
            let peer = x_wing::EncapsulationKey::try_from(public_key).map_err(|_| invalid)?;
            let (enc, secret) = peer.encapsulate();
            Ok((x_wing_secret(secret), enc.as_slice().to_vec()))
        }
        None => Err(HpkeError::UnknownKem(kem)),
    }
}

/// Checks a public key without a key exchange: its length; that a NIST point is on its curve
/// (RFC 9180 §7.1.4); the rules for X-Wing's ML-KEM part. Which X25519 keys share no secret shows
/// only in an exchange.
pub(crate) fn check_public_key(kem: Kem, public_key: &[u8]) -> Result<(), HpkeError> {
    let valid = match Group::of(kem) {
        Some(group) if kem == Kem::X25519 => public_key.len() == group.public_len,
        Some(group) => group.parse(public_key).is_some(),
        #[cfg(feature = "x-wing")]
        None if kem == Kem::X_WING => x_wing::EncapsulationKey::try_from(public_key).is_ok(),
        None => return Err(HpkeError::UnknownKem(kem)),
    };
    match valid {
        true => Ok(()),
        false => Err(HpkeError::PublicKey(kem)),
    }
}

/// The group of a DHKEM.
struct Group {
    kem: Kem,
    algorithm: &'static agreement::Algorithm,
    public_len: usize,
}

impl Group {
    fn of(kem: Kem) -> Option<Self> {
        let (algorithm, public_len) = match kem {
            Kem::P256 => (&ECDH_P256, 65),
            Kem::P384 => (&ECDH_P384, 97),
            Kem::P521 => (&ECDH_P521, 133),
            Kem::X25519 => (&X25519, 32),
            _ => return None,
        };
        Some(Self {
            kem,
            algorithm,
            public_len,
        })
    }

    /// `DeserializePublicKey(pkXm)` (RFC 9180 §7.1.1). The library knows more forms than HPKE
    /// does: they are refused here.
    fn parse(&self, bytes: &[u8]) -> Option<ParsedPublicKey> {
        let form = match self.kem {
            Kem::X25519 => true,
            _ => bytes.first() == Some(&UNCOMPRESSED),
        };
        match form && bytes.len() == self.public_len {
            true => ParsedPublicKey::try_from(UnparsedPublicKey::new(self.algorithm, bytes)).ok(),
            false => None,
        }
    }

    /// `DH(skX, pkY)`, then `ExtractAndExpand(dh, kem_context)` (RFC 9180 §4.1). A shared secret
    /// of X25519 that is all zeros is `invalid` (§7.1.4).
    fn agree(
        &self,
        private: &agreement::PrivateKey,
        peer: ParsedPublicKey,
        invalid: HpkeError,
        kem_context: &[&[u8]],
    ) -> Result<Secret, HpkeError> {
        let suite_id = [b"KEM", &self.kem.0.to_be_bytes()[..]].concat();
        let kdf = self
            .kem
            .own_kdf()
            .and_then(|kdf| LabeledKdf::new(kdf, &suite_id));
        let kdf = kdf.ok_or(HpkeError::UnknownKem(self.kem))?;
        agreement::agree(private, peer, invalid, |dh| {
            let prk = kdf.prk(&kdf.extract(b"", b"eae_prk", dh)?);
            let mut secret = Secret::zeros(kdf.hash_len());
            kdf.expand(&prk, b"shared_secret", kem_context, secret.as_mut_slice())?;
            Ok(secret)
        })
    }
}

#[cfg(feature = "x-wing")]
fn x_wing_secret(shared: x_wing::SharedKey) -> Secret {
    let shared = Zeroizing::new(<[u8; 32]>::from(shared));
    let mut secret = Secret::zeros(shared.len());
    secret.as_mut_slice().copy_from_slice(&shared[..]);
    secret
}
