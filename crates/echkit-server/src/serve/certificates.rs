//! The certificates of sites, by name.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use echkit::rustls::pki_types::pem::PemObject;
use echkit::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use echkit::rustls::server::{ClientHello, ResolvesServerCert};
use echkit::rustls::sign::CertifiedKey;
use echkit::rustls::{Error, InconsistentKeys};
use echkit::server::{provider, read_secret_file};

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::config::ServedSite;
use super::problem::{ServeProblem, ServeProblemKind};

/// Reads the certificate of a site and its key, and says what is wrong with them.
pub(super) fn read_certificate(
    site: &ServedSite,
    problems: &mut Vec<ServeProblem>,
) -> Option<Arc<CertifiedKey>> {
    let mut wrong = |kind, path: &Path, what: String| {
        let message = format!("{}: {what}", path.display());
        problems.push(ServeProblem::new(kind, message));
    };
    let (certificate, key) = (&site.certificate, &site.key);
    let chain = match std::fs::read(certificate) {
        Ok(text) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
            match chain {
                Ok(chain) if !chain.is_empty() => Some(chain),
                _ => {
                    let what = "holds no certificate in PEM; give the chain, the site's own first";
                    wrong(ServeProblemKind::Content, certificate, what.to_owned());
                    None
                }
            }
        }
        Err(error) => {
            let what = format!("{error}; the certificate must exist and be readable");
            wrong(ServeProblemKind::Unreadable, certificate, what);
            None
        }
    };
    let private = match read_secret_file(key) {
        Ok(text) => match PrivateKeyDer::from_pem_slice(&text) {
            Ok(private) => Some(private),
            Err(_) => {
                let what =
                    "holds no private key in PEM; give PKCS #8, PKCS #1 or SEC 1, unencrypted";
                wrong(ServeProblemKind::Content, key, what.to_owned());
                None
            }
        },
        Err(error) => {
            let what = format!("{error}; the private key must exist and be readable by this user");
            wrong(ServeProblemKind::Unreadable, key, what);
            None
        }
    };
    let (chain, private) = (chain?, private?);
    for name in &site.names {
        if !covers(&chain[0], name) {
            let what = format!(
                "the certificate does not cover {name}; have one issued that does, or take the name out"
            );
            wrong(ServeProblemKind::Content, certificate, what);
        }
    }
    match CertifiedKey::from_der(chain, private, &provider()) {
        Ok(certified) => Some(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let what = format!(
                "not the key of {}; give the two that belong together",
                certificate.display()
            );
            wrong(ServeProblemKind::Content, key, what);
            None
        }
        Err(error) => {
            wrong(
                ServeProblemKind::Content,
                key,
                format!("cannot be used: {error}"),
            );
            None
        }
    }
}

/// Whether a certificate is for `name`; for `*.example.com`, whether it has that wildcard.
fn covers(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return false;
    };
    // A label that no certificate has by itself.
    let example = name.replacen('*', "wildcard--example", 1);
    let Ok(name) = ServerName::try_from(example) else {
        return false;
    };
    parsed.verify_is_valid_for_subject_name(&name).is_ok()
}

/// Says so when the certificate of a site has ended. The server serves it all the same: others of its
/// sites are well, and a renewal is taken without a restart.
pub(super) fn ended(site: &ServedSite, certified: &CertifiedKey) -> Option<ServeProblem> {
    let (_, parsed) = X509Certificate::from_der(certified.cert.first()?).ok()?;
    let end = parsed.validity().not_after;
    let message = || {
        let path = site.certificate.display();
        format!("{path}: the certificate ended on {end}, and clients refuse it; have it renewed")
    };
    (end < ASN1Time::now()).then(|| ServeProblem::new(ServeProblemKind::Content, message()))
}

/// Which site a name belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct SiteNames(HashMap<String, usize>);

impl SiteNames {
    /// Adds a name; whether it is new.
    pub(super) fn add(&mut self, name: &str, site: usize) -> bool {
        self.0.insert(name.to_owned(), site).is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The site of `name`, which is in lower case: by itself, or by a wildcard for its first label.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        if let Some(site) = self.0.get(name) {
            return Some(*site);
        }
        let (_, parent) = name.split_once('.')?;
        self.0.get(&format!("*.{parent}")).copied()
    }
}

/// Gives rustls the certificate of the site that a hello names.
pub(super) struct SiteCertificates {
    pub(super) names: SiteNames,
    pub(super) certified: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for SiteCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.certified.get(self.names.find(&name)?).cloned()
    }
}

/// Shows no name.
impl fmt::Debug for SiteCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteCertificates")
            .field("sites", &self.certified.len())
            .finish_non_exhaustive()
    }
}
