//! Certificates and keys from the runner's files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{RootCertStore, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::failure::Failure;
use crate::options::ConnectionOptions;

/// The certificate chain and key of these options; `None` where they name none.
pub(crate) fn own(
    options: &ConnectionOptions,
    provider: &CryptoProvider,
) -> Result<Option<CertifiedKey>, Failure> {
    let (Some(chain), Some(key)) = (&options.certificate_file, &options.key_file) else {
        return Ok(None);
    };
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| Failure::failed(format!("{}: {error}", key.display())))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(Failure::failed)?;
    let schemes = options.signing_schemes.iter().copied();
    let schemes: Vec<_> = schemes.map(SignatureScheme::from).collect();
    let key: Arc<dyn SigningKey> = match schemes.is_empty() {
        true => key,
        false => Arc::new(SigningWith { key, schemes }),
    };
    Ok(Some(CertifiedKey {
        cert: chain,
        key,
        ocsp: options.ocsp_response.clone(),
    }))
}

/// The authority that the runner's certificates come from.
pub(crate) fn roots(options: &ConnectionOptions) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in options.trust_file.iter().map(|path| certificates(path)) {
        for certificate in certificate? {
            roots.add(certificate).map_err(Failure::failed)?;
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bad = |error| Failure::failed(format!("{}: {error}", path.display()));
    CertificateDer::pem_file_iter(path)
        .map_err(bad)?
        .collect::<Result<_, _>>()
        .map_err(bad)
}

/// A key that signs with these schemes alone, in this order of preference.
#[derive(Debug)]
struct SigningWith {
    key: Arc<dyn SigningKey>,
    schemes: Vec<SignatureScheme>,
}

impl SigningKey for SigningWith {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut wanted = self
            .schemes
            .iter()
            .filter(|scheme| offered.contains(scheme));
        wanted.find_map(|scheme| self.key.choose_scheme(&[*scheme]))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}
