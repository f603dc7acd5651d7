//! Certificates with their private keys, from files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use echkit_proto::pem::{self, Block};
use pkcs8::der::{Decode, Encode};
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sec1::{EcParameters, EcPrivateKey};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::failure::{library_error, ssl_error};
use crate::secret_file::{Digest, digest, read};

/// The longest password that OpenSSL takes (`PEM_BUFSIZE`).
const MAX_PASSWORD: usize = 1024;

/// A certificate chain with its private key.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Identity {
    loaded: Arc<Loaded>,
}

struct Loaded {
    digest: Digest,
    key: Arc<CertifiedKey>,
}

/// The identities in use, so that equal ones are parsed once. Locked with the interpreter's lock
/// held and never while waiting: when a process forks, no thread is inside.
static IN_USE: Mutex<Vec<Weak<Loaded>>> = Mutex::new(Vec::new());

#[pymethods]
impl Identity {
    /// Reads a certificate chain and its key from PEM files. `password` is a string, bytes or a
    /// callable that returns one, which is called only where the key is encrypted.
    #[staticmethod]
    #[pyo3(signature = (certfile, keyfile, password))]
    fn load(
        py: Python<'_>,
        certfile: PathBuf,
        keyfile: PathBuf,
        password: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let password = password.map(Password::new).transpose()?;
        let certificates = read(&certfile)?;
        let keys = match keyfile == certfile {
            true => certificates.clone(),
            false => read(&keyfile)?,
        };
        let key = key_block(&keys).map_err(|why| in_file(&keyfile, &why))?;
        let password = match (key.label(), password) {
            (ENCRYPTED, Some(password)) => Some(password.ask()?),
            _ => None,
        };
        let secret = password.as_ref().map_or(&[][..], |p| p.as_slice());
        let digest = digest([&certificates[..], &keys, secret]);
        if let Some(loaded) = in_use(&digest) {
            return Ok(Self { loaded });
        }
        let key = py.detach(|| {
            let chain = chain(&certificates).map_err(|why| Refused::Pem(certfile, why))?;
            let key = signing_key(&key, password).map_err(|why| Refused::Pem(keyfile, why))?;
            let certified = CertifiedKey::new(chain, key);
            match certified.keys_match() {
                Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
                Err(Error::InconsistentKeys(_)) => Err(Refused::Mismatch),
                Err(error) => Err(Refused::Certificate(error)),
            }
        });
        let loaded = Arc::new(Loaded {
            digest,
            key: Arc::new(key?),
        });
        let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&loaded));
        Ok(Self { loaded })
    }

    /// The kind of key: one identity of each kind can be loaded.
    #[getter]
    fn kind(&self) -> String {
        format!("{:?}", self.loaded.key.key.algorithm())
    }

    /// What tells identities apart without saying anything about their keys.
    #[getter]
    fn digest(&self) -> &[u8] {
        &self.loaded.digest
    }
}

fn in_use(digest: &Digest) -> Option<Arc<Loaded>> {
    let all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter()
        .filter_map(Weak::upgrade)
        .find(|known| known.digest == *digest)
}

/// Why files make no identity.
enum Refused {
    Pem(PathBuf, String),
    Mismatch,
    Certificate(Error),
}

impl From<Refused> for PyErr {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Pem(path, why) => in_file(&path, &why),
            Refused::Mismatch => {
                library_error("X509", "KEY_VALUES_MISMATCH", "key values mismatch")
            }
            Refused::Certificate(error) => ssl_error("PEM_LIB", &format!("PEM lib: {error}")),
        }
    }
}

fn in_file(path: &Path, why: &str) -> PyErr {
    ssl_error("PEM_LIB", &format!("PEM lib: {}: {why}", path.display()))
}

fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for block in pem::blocks(text) {
        if !matches!(block.label(), "CERTIFICATE" | "X509 CERTIFICATE") {
            continue;
        }
        let der = block.decode().map_err(|error| error.to_string())?;
        match X509Certificate::from_der(&der) {
            Ok(([], _)) => chain.push(CertificateDer::from(der.to_vec())),
            Ok(_) => return Err("trailing data after a certificate".to_owned()),
            Err(error) => return Err(format!("invalid certificate: {error}")),
        }
    }
    match chain.is_empty() {
        true => Err("no certificate found".to_owned()),
        false => Ok(chain),
    }
}

const PKCS8: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";

/// The first private key in a text.
fn key_block(text: &[u8]) -> Result<Block<'_>, String> {
    let block = pem::blocks(text)
        .find(|block| matches!(block.label(), PKCS8 | ENCRYPTED | SEC1 | PKCS1))
        .ok_or("no private key found")?;
    match block.is_legacy_encrypted() {
        true => Err(
            "the key is encrypted in the legacy form of PEM, which derives its key with MD5; \
             convert it with `openssl pkcs8 -topk8`"
                .to_owned(),
        ),
        false => Ok(block),
    }
}

fn signing_key(
    block: &Block<'_>,
    password: Option<Zeroizing<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, String> {
    let der = block.decode().map_err(|error| error.to_string())?;
    match block.label() {
        ENCRYPTED => {
            let password = password.ok_or("the key is encrypted and no password was given")?;
            let plain = EncryptedPrivateKeyInfoRef::try_from(&der[..])
                .and_then(|info| info.decrypt(&*password))
                .map_err(|error| format!("the key cannot be decrypted: {error}"))?;
            supported(&PrivateKeyDer::Pkcs8(plain.as_bytes().into()))
        }
        SEC1 => {
            let wrapped =
                sec1_in_pkcs8(&der).map_err(|error| format!("invalid EC key: {error}"))?;
            supported(&PrivateKeyDer::Pkcs8(wrapped[..].into()))
        }
        PKCS1 => supported(&PrivateKeyDer::Pkcs1(der[..].into())),
        _ => supported(&PrivateKeyDer::Pkcs8(der[..].into())),
    }
}

fn supported(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, String> {
    aws_lc_rs::sign::any_supported_type(key).map_err(|error| error.to_string())
}

/// An EC key in PKCS#8 (RFC 5958, RFC 5915). rustls would do the same, and leave its copy behind.
fn sec1_in_pkcs8(der: &[u8]) -> pkcs8::der::Result<Zeroizing<Vec<u8>>> {
    const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    let key = EcPrivateKey::from_der(der)?;
    let curve = match (key.parameters, key.private_key.len()) {
        (Some(EcParameters::NamedCurve(curve)), _) => curve,
        (None, 48) => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        (None, 66) => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        (None, _) => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    };
    let info = PrivateKeyInfoRef {
        algorithm: AlgorithmIdentifierRef {
            oid: EC_PUBLIC_KEY,
            parameters: Some((&curve).into()),
        },
        private_key: pkcs8::der::asn1::OctetStringRef::new(der)?,
        public_key: None,
    };
    let len = usize::try_from(info.encoded_len()?)?;
    let mut out = Zeroizing::new(vec![0; len]);
    info.encode_to_slice(&mut out)?;
    Ok(out)
}

/// A password as the caller gave it.
enum Password<'py> {
    Known(Zeroizing<Vec<u8>>),
    Callable(Bound<'py, PyAny>),
}

impl<'py> Password<'py> {
    fn new(given: Bound<'py, PyAny>) -> PyResult<Self> {
        match given.is_callable() {
            true => Ok(Self::Callable(given)),
            false => {
                secret_bytes(&given, "password should be a string or callable").map(Self::Known)
            }
        }
    }

    fn ask(self) -> PyResult<Zeroizing<Vec<u8>>> {
        let password = match self {
            Self::Known(password) => password,
            Self::Callable(ask) => {
                secret_bytes(&ask.call0()?, "password callback must return a string")?
            }
        };
        match password.len() > MAX_PASSWORD {
            true => Err(PyValueError::new_err(format!(
                "password cannot be longer than {MAX_PASSWORD} bytes"
            ))),
            false => Ok(password),
        }
    }
}

fn secret_bytes(given: &Bound<'_, PyAny>, refusal: &'static str) -> PyResult<Zeroizing<Vec<u8>>> {
    let bytes = if let Ok(text) = given.cast::<PyString>() {
        text.to_str()?.as_bytes().to_vec()
    } else if let Ok(bytes) = given.cast::<PyBytes>() {
        bytes.as_bytes().to_vec()
    } else if let Ok(bytes) = given.cast::<PyByteArray>() {
        bytes.to_vec()
    } else {
        return Err(PyTypeError::new_err(refusal));
    };
    Ok(Zeroizing::new(bytes))
}

/// Offers the identities that fit.
pub(crate) struct Identities(Vec<Arc<CertifiedKey>>);

impl Identities {
    pub(crate) fn new(identities: &[PyRef<'_, Identity>]) -> Self {
        Self(
            identities
                .iter()
                .map(|identity| Arc::clone(&identity.loaded.key))
                .collect(),
        )
    }

    fn find(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .cloned()
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

impl ResolvesClientCert for Identities {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.find(schemes)
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

impl ResolvesServerCert for Identities {
    /// Where no key signs as the client wants, the first, so that rustls says what is wrong: to
    /// find nothing would mean that the name is not served.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = self.find(hello.signature_schemes());
        fitting.or_else(|| self.0.first().cloned())
    }
}
