//! Private keys of the HPKE KEMs in PKCS#8 (RFC 5958): X25519 by RFC 8410, the NIST curves by
//! RFC 5915, X-Wing by draft-connolly-cfrg-xwing-kem.

use ::pkcs8::der::asn1::OctetStringRef;
use ::pkcs8::der::{Decode, Encode};
use ::pkcs8::spki::AlgorithmIdentifier;
use ::pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;
use zeroize::Zeroizing;

use super::file_error::KeyFileError;
use crate::hpke::{Kem, PrivateKey};

const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
const X_WING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62253.25722");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The private key in `der`.
pub(super) fn decode(der: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let info = PrivateKeyInfoRef::from_der(der)
        .map_err(|e| KeyFileError::PrivateKey(format!("is not PKCS#8: {e}")))?;
    let raw = info.private_key.as_bytes();
    match info.algorithm.oid {
        // RFC 8410 §7: an OCTET STRING inside the OCTET STRING.
        X25519 => <&OctetStringRef>::from_der(raw)
            .map_err(|e| KeyFileError::PrivateKey(format!("is not a valid X25519 key: {e}")))
            .and_then(|key| import(Kem::X25519, key.as_bytes())),
        X_WING => import(Kem::X_WING, raw),
        EC_PUBLIC_KEY => ec_key(&info.algorithm, raw),
        oid => Err(KeyFileError::PrivateKey(format!(
            "is of a type that ECH does not use ({oid})"
        ))),
    }
}

fn import(kem: Kem, bytes: &[u8]) -> Result<PrivateKey, KeyFileError> {
    PrivateKey::from_bytes(kem, bytes)
        .map_err(|error| KeyFileError::PrivateKey(format!("is not usable: {error}")))
}

fn ec_key(algorithm: &AlgorithmIdentifierRef<'_>, raw: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let wrong = |e: &dyn std::fmt::Display| KeyFileError::PrivateKey(format!("is no EC key: {e}"));
    let curve = algorithm.parameters_oid().map_err(|e| wrong(&e))?;
    let (kem, len) = match curve {
        P256 => (Kem::P256, 32),
        P384 => (Kem::P384, 48),
        P521 => (Kem::P521, 66),
        other => {
            return Err(KeyFileError::PrivateKey(format!(
                "is on a curve that ECH does not use ({other})"
            )));
        }
    };
    let key = EcPrivateKey::from_der(raw).map_err(|e| wrong(&e))?;
    // Writers differ in whether they keep leading zeros; the KEM's form has a fixed length.
    let digits = key.private_key;
    if digits.len() > len {
        return Err(wrong(&"it is longer than its curve"));
    }
    let mut scalar = Zeroizing::new(vec![0; len]);
    scalar[len - digits.len()..].copy_from_slice(digits);
    import(kem, &scalar)
}

/// The private key of `kem` in DER.
pub(super) fn encode(
    kem: Kem,
    private: &[u8],
    public: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    encode_info(kem, private, public)
        .map_err(|e| KeyFileError::PrivateKey(format!("cannot be written as PKCS#8: {e}")))
}

fn encode_info(
    kem: Kem,
    private: &[u8],
    public: &[u8],
) -> ::pkcs8::der::Result<Zeroizing<Vec<u8>>> {
    let (oid, parameters, inner) = match kem {
        Kem::X25519 => (
            X25519,
            None,
            Zeroizing::new(OctetStringRef::new(private)?.to_der()?),
        ),
        Kem::X_WING => (X_WING, None, Zeroizing::new(private.to_vec())),
        _ => {
            let curve = match kem {
                Kem::P256 => P256,
                Kem::P384 => P384,
                _ => P521,
            };
            let key = EcPrivateKey {
                private_key: private,
                parameters: None,
                public_key: Some(public),
            };
            (EC_PUBLIC_KEY, Some(curve), Zeroizing::new(key.to_der()?))
        }
    };
    let info = PrivateKeyInfoRef {
        algorithm: AlgorithmIdentifier {
            oid,
            parameters: parameters.as_ref().map(Into::into),
        },
        private_key: OctetStringRef::new(&inner)?,
        public_key: None,
    };
    info.to_der().map(Zeroizing::new)
}
