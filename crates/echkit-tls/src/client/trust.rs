//! Which certificates a client trusts.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::{ClientSetupError, TrustOrigin};

/// Which certificates a client trusts.
///
/// The default is the platform's own verifier. The environment variables `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`, where set, take the place of the platform's store, as with OpenSSL.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    base: Base,
    extra: Vec<CertificateDer<'static>>,
}

#[derive(Clone, Debug, Default)]
enum Base {
    #[default]
    System,
    Roots(Arc<RootCertStore>),
    Verifier(Arc<dyn ServerCertVerifier>),
}

impl Trust {
    /// The platform's store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    pub fn system() -> Self {
        Self::default()
    }

    /// Only these roots, such as those of the crate `webpki-roots`.
    pub fn roots(roots: impl Into<Arc<RootCertStore>>) -> Self {
        Self {
            base: Base::Roots(roots.into()),
            extra: Vec::new(),
        }
    }

    /// Only the certificates of a PEM file, as curl's `--cacert`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no certificate.
    pub fn ca_file(path: impl AsRef<Path>) -> Result<Self, ClientSetupError> {
        let path = path.as_ref();
        let mut roots = RootCertStore::empty();
        add_all(
            &mut roots,
            read_pem_file(path)?,
            &TrustOrigin::Path(path.to_owned()),
        )?;
        Ok(Self::roots(roots))
    }

    /// Only these certificates.
    ///
    /// # Errors
    ///
    /// When one of them cannot serve as a trust anchor, or when there is none.
    pub fn certificates(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, ClientSetupError> {
        let mut roots = RootCertStore::empty();
        add_all(
            &mut roots,
            certificates.into_iter().collect(),
            &TrustOrigin::Given,
        )?;
        Ok(Self::roots(roots))
    }

    /// Whatever `verifier` says. It is asked for the public_name too when ECH is rejected
    /// (RFC 9849 §6.1.7).
    pub fn verifier(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self {
            base: Base::Verifier(verifier),
            extra: Vec::new(),
        }
    }

    /// These certificates too. A [`Trust::verifier`] is not changed by it.
    #[must_use]
    pub fn and(mut self, certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.extra.extend(certificates);
        self
    }

    /// The certificates of a PEM file too.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no certificate.
    pub fn and_file(self, path: impl AsRef<Path>) -> Result<Self, ClientSetupError> {
        Ok(self.and(read_pem_file(path.as_ref())?))
    }

    /// Makes the verifier.
    ///
    /// # Errors
    ///
    /// When certificates cannot be read, or when there is none at all.
    pub fn build(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ClientSetupError> {
        let mut roots = match &self.base {
            Base::Verifier(verifier) => return Ok(Arc::clone(verifier)),
            Base::Roots(roots) => RootCertStore::clone(roots),
            Base::System => match environment()? {
                Some(roots) => roots,
                None => return self.platform(provider),
            },
        };
        if !self.extra.is_empty() {
            add_all(&mut roots, self.extra.clone(), &TrustOrigin::Given)?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| ClientSetupError::TrustAnchors {
                    origin: TrustOrigin::Given,
                    reason: error.to_string(),
                })?;
        Ok(verifier)
    }

    fn platform(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ClientSetupError> {
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(
            self.extra.iter().cloned(),
            Arc::clone(provider),
        )
        .map_err(|error| ClientSetupError::TrustAnchors {
            origin: TrustOrigin::System,
            reason: error.to_string(),
        })?;
        Ok(Arc::new(verifier))
    }
}

/// The roots that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; `None` where neither is set.
fn environment() -> Result<Option<RootCertStore>, ClientSetupError> {
    roots_named_by(env::var_os("SSL_CERT_FILE"), env::var_os("SSL_CERT_DIR"))
}

fn roots_named_by(
    file: Option<OsString>,
    folders: Option<OsString>,
) -> Result<Option<RootCertStore>, ClientSetupError> {
    let file = file.filter(|value| !value.is_empty()).map(PathBuf::from);
    let folders = folders.filter(|value| !value.is_empty());
    if file.is_none() && folders.is_none() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    if let Some(path) = &file {
        // A bundle may hold certificates that webpki cannot use; the others still count.
        roots.add_parsable_certificates(read_pem_file(path)?);
    }
    let folders: Vec<PathBuf> = folders
        .iter()
        .flat_map(|list| env::split_paths(list).collect::<Vec<_>>())
        .collect();
    for folder in &folders {
        roots.add_parsable_certificates(read_folder(folder)?);
    }
    if roots.is_empty() {
        let path = file.or_else(|| folders.first().cloned());
        return Err(ClientSetupError::TrustAnchors {
            origin: path.map_or(TrustOrigin::System, TrustOrigin::Path),
            reason: "no usable certificate in it".to_owned(),
        });
    }
    Ok(Some(roots))
}

/// Every certificate of every file in a folder, in OpenSSL's `c_rehash` layout or not.
fn read_folder(folder: &Path) -> Result<Vec<CertificateDer<'static>>, ClientSetupError> {
    let unreadable = |error: std::io::Error| ClientSetupError::TrustAnchors {
        origin: TrustOrigin::Path(folder.to_owned()),
        reason: error.to_string(),
    };
    let mut certificates = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Other files may lie there too.
        if let Ok(found) = read_pem_file(&path) {
            certificates.extend(found);
        }
    }
    Ok(certificates)
}

fn read_pem_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientSetupError> {
    let refused = |reason: String| ClientSetupError::TrustAnchors {
        origin: TrustOrigin::Path(path.to_owned()),
        reason,
    };
    let text = fs::read(path).map_err(|error| refused(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(format!("not PEM: {error}")))?;
    match certificates.is_empty() {
        true => Err(refused("no certificate in it".to_owned()).into()),
        false => Ok(certificates),
    }
}

fn add_all(
    roots: &mut RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    origin: &TrustOrigin,
) -> Result<(), ClientSetupError> {
    let refused = |reason: String| ClientSetupError::TrustAnchors {
        origin: origin.clone(),
        reason,
    };
    if certificates.is_empty() {
        return Err(refused("no certificate in it".to_owned()).into());
    }
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| refused(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn authority() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap()
    }

    #[test]
    fn a_missing_ca_file_is_named_in_the_error() {
        let error = Trust::ca_file("/nonexistent/roots.pem").unwrap_err();
        assert!(
            matches!(error, ClientSetupError::TrustAnchors { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("/nonexistent/roots.pem"));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "nothing here\n").unwrap();
        let error = Trust::ca_file(file.path()).unwrap_err();
        assert!(
            matches!(error, ClientSetupError::TrustAnchors { .. }),
            "{error}"
        );
    }

    #[test]
    fn environment_variables_replace_the_system_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, authority().pem()).unwrap();
        fs::write(folder.path().join("README"), "not a certificate").unwrap();

        assert!(roots_named_by(None, Some("".into())).unwrap().is_none());
        let from_file = roots_named_by(Some(path.into()), None).unwrap().unwrap();
        assert_eq!(from_file.len(), 1);
        let from_folder = roots_named_by(None, Some(folder.path().into()))
            .unwrap()
            .unwrap();
        assert_eq!(from_folder.len(), 1);
        let error = roots_named_by(Some("/nonexistent".into()), None).unwrap_err();
        assert!(
            matches!(error, ClientSetupError::TrustAnchors { .. }),
            "{error}"
        );
    }
}
