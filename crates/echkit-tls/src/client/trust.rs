//! Which certificates a client trusts.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;

use super::pem_certificates::pem_certificates;
use super::trusted_leaf::TrustedLeaves;
use crate::error::{ClientSetupError, TrustOrigin};

/// Which certificates a client trusts.
///
/// ```no_run
/// use echkit_tls::client::{ClientTls, Trust};
///
/// // What the platform trusts, and an authority of one's own.
/// let trust = Trust::system().and_file("internal-ca.pem")?;
/// let tls = ClientTls::builder().trust(trust).build()?;
/// # Ok::<(), echkit_tls::client::ClientSetupError>(())
/// ```
///
/// The default is the platform's own verifier. The environment variables `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`, where set, take the place of the platform's store, as with OpenSSL.
///
/// A certificate that is given as such, and not as a root of a store, is also trusted as that of a
/// server, whether it says that it is an authority or has an issuer that is not known. Its name,
/// dates and purpose are checked all the same.
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
    Certificates(Vec<CertificateDer<'static>>),
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
        Self::only(read_pem_file(path)?, &TrustOrigin::Path(path.to_owned()))
    }

    /// Only these certificates.
    ///
    /// # Errors
    ///
    /// When one of them cannot serve as a trust anchor, or when there is none.
    pub fn certificates(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, ClientSetupError> {
        Self::only(certificates.into_iter().collect(), &TrustOrigin::Given)
    }

    /// Only these certificates, once they have been found to be usable.
    fn only(
        certificates: Vec<CertificateDer<'static>>,
        origin: &TrustOrigin,
    ) -> Result<Self, ClientSetupError> {
        add_all(&mut RootCertStore::empty(), &certificates, origin)?;
        Ok(Self {
            base: Base::Certificates(certificates),
            extra: Vec::new(),
        })
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
        let mut roots = RootCertStore::empty();
        let mut given = self.extra.clone();
        match &self.base {
            Base::Verifier(verifier) => return Ok(Arc::clone(verifier)),
            Base::Roots(known) => roots = RootCertStore::clone(known),
            Base::Certificates(certificates) => given.extend_from_slice(certificates),
            Base::System => match environment()? {
                Some(found) => {
                    // A bundle may hold certificates that webpki cannot use; the others still count.
                    roots.add_parsable_certificates(found.iter().cloned());
                    let verifier = self.webpki(roots, &self.extra, provider)?;
                    return Ok(TrustedLeaves::around(
                        verifier,
                        given.into_iter().chain(found),
                    ));
                }
                None => return Ok(TrustedLeaves::around(self.platform(provider)?, given)),
            },
        }
        let verifier = self.webpki(roots, &given, provider)?;
        Ok(TrustedLeaves::around(verifier, given))
    }

    fn webpki(
        &self,
        mut roots: RootCertStore,
        given: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ClientSetupError> {
        if !given.is_empty() {
            add_all(&mut roots, given, &TrustOrigin::Given)?;
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

/// What `SSL_CERT_FILE` and `SSL_CERT_DIR` name; `None` where neither is set.
fn environment() -> Result<Option<Vec<CertificateDer<'static>>>, ClientSetupError> {
    named_by(env::var_os("SSL_CERT_FILE"), env::var_os("SSL_CERT_DIR"))
}

/// The certificates in a file and in folders, in OpenSSL's `c_rehash` layout or not.
fn named_by(
    file: Option<OsString>,
    folders: Option<OsString>,
) -> Result<Option<Vec<CertificateDer<'static>>>, ClientSetupError> {
    let file = file.filter(|value| !value.is_empty()).map(PathBuf::from);
    let folders = folders.unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&folders)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    let Some(first) = file.as_ref().or_else(|| folders.first()) else {
        return Ok(None);
    };
    let refused = |path: &Path, reason: String| ClientSetupError::TrustAnchors {
        origin: TrustOrigin::Path(path.to_owned()),
        reason,
    };
    let mut certificates = Vec::new();
    if let Some(path) = &file {
        certificates.extend(read_pem_file(path)?);
    }
    for folder in &folders {
        let found = read_folder(folder).map_err(|error| refused(folder, error.to_string()))?;
        certificates.extend(found);
    }
    let (usable, _) =
        RootCertStore::empty().add_parsable_certificates(certificates.iter().cloned());
    match usable {
        0 => Err(refused(first, "no usable certificate in it".to_owned())),
        _ => Ok(Some(certificates)),
    }
}

fn read_pem_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientSetupError> {
    let refused = |reason: String| ClientSetupError::TrustAnchors {
        origin: TrustOrigin::Path(path.to_owned()),
        reason,
    };
    let text = fs::read(path).map_err(|error| refused(error.to_string()))?;
    let certificates = pem_certificates(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(format!("a certificate in it is unreadable: {error}")))?;
    match certificates.is_empty() {
        true => Err(refused(
            "no certificate in it; give a PEM file with a CERTIFICATE block".to_owned(),
        )),
        false => Ok(certificates),
    }
}

/// The certificates in the PEM files of a folder, each once: `c_rehash` gives files a second name.
///
/// Other files may be there too, and some that may not be read: they are passed over.
fn read_folder(folder: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Follows links; what is no file, a pipe perhaps, is not opened.
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let Ok(text) = fs::read(&path) else {
            continue;
        };
        found.extend(pem_certificates(&text).filter_map(Result::ok));
    }
    found.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    Ok(found)
}

fn add_all(
    roots: &mut RootCertStore,
    certificates: &[CertificateDer<'static>],
    origin: &TrustOrigin,
) -> Result<(), ClientSetupError> {
    let refused = |reason: String| ClientSetupError::TrustAnchors {
        origin: origin.clone(),
        reason,
    };
    if certificates.is_empty() {
        return Err(refused("no certificate in it".to_owned()));
    }
    for certificate in certificates {
        roots
            .add(certificate.clone())
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
    fn ca_files_are_read_with_a_byte_order_mark_and_under_openssls_labels() {
        let pem = authority().pem();
        for text in [
            format!("\u{feff}{pem}"),
            format!("# issued by\r\n{}", pem.replace('\n', "\r\n")),
            pem.replace("CERTIFICATE", "X509 CERTIFICATE"),
            pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &text).unwrap();
            let trust = Trust::ca_file(file.path()).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(matches!(&trust.base, Base::Certificates(found) if found.len() == 1));
            let named = named_by(Some(file.path().into()), None).unwrap().unwrap();
            assert_eq!(named.len(), 1, "{text}");
        }
    }

    #[test]
    fn the_files_of_a_folder_are_read_as_ca_files_are_and_each_certificate_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        let pems: Vec<_> = (0..4).map(|_| authority().pem()).collect();
        write("plain.pem", pems[0].as_bytes());
        write("rehashed.0", pems[0].as_bytes());
        let labelled = |pem: &str, label: &str| pem.replace("CERTIFICATE", label);
        write("marked.pem", format!("\u{feff}{}", pems[1]).as_bytes());
        write(
            "x509.pem",
            labelled(&pems[2], "X509 CERTIFICATE").as_bytes(),
        );
        write(
            "trusted.pem",
            labelled(&pems[3], "TRUSTED CERTIFICATE").as_bytes(),
        );
        // Not trusted for TLS servers: OpenSSL's settings say so behind the certificate.
        let rejects_servers = [
            &[0x30, 12, 0xa0, 10, 0x06, 8][..],
            &[0x2b, 6, 1, 5, 5, 7, 3, 1],
        ];
        let distrusted = [authority().der(), &rejects_servers.concat()[..]].concat();
        let distrusted = data_encoding::BASE64.encode(&distrusted);
        let label = "TRUSTED CERTIFICATE";
        let block = format!("-----BEGIN {label}-----\n{distrusted}\n-----END {label}-----\n");
        write("distrusted.pem", block.as_bytes());
        write("broken.pem", &pems[0].as_bytes()[..100]);
        write("binary", &[0xff; 100]);
        fs::create_dir(folder.path().join("folder")).unwrap();

        let named = named_by(None, Some(folder.path().into()));
        assert_eq!(named.unwrap().unwrap().len(), 4);
    }

    #[test]
    fn environment_variables_replace_the_system_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, authority().pem()).unwrap();
        let readme = folder.path().join("README");
        fs::write(&readme, "not a certificate").unwrap();
        let readme = readme.display().to_string();
        let empty = tempfile::tempdir().unwrap();
        let empty = empty.path().display().to_string();

        assert!(named_by(None, Some("".into())).unwrap().is_none());
        let from_file = named_by(Some(path.into()), None).unwrap().unwrap();
        assert_eq!(from_file.len(), 1);
        let from_folder = named_by(None, Some(folder.path().into())).unwrap().unwrap();
        assert_eq!(from_folder.len(), 1);
        let error = named_by(Some("/nonexistent".into()), None).unwrap_err();
        assert!(
            matches!(error, ClientSetupError::TrustAnchors { .. }),
            "{error}"
        );
        for (file, folders) in [
            (Some("/nonexistent"), None),
            (None, Some("/nonexistent")),
            (Some(readme.as_str()), None),
            (None, Some(empty.as_str())),
        ] {
            let error = named_by(file.map(Into::into), folders.map(Into::into)).unwrap_err();
            let named = file.or(folders).unwrap();
            assert!(error.to_string().contains(named), "{error}");
        }
        let both: OsString = format!("{empty}:{}", folder.path().display()).into();
        assert_eq!(named_by(None, Some(both)).unwrap().unwrap().len(), 1);
    }
}
