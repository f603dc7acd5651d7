//! A certificate authority, and one certificate for each side of ECH.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// The name that an eavesdropper may see; `public_name` of the configs.
pub const PUBLIC_NAME: &str = "public.example";
/// The name that ECH hides.
pub const SECRET_NAME: &str = "secret.example";

/// One site: its chain and key, in memory and in files for the peers.
#[derive(Debug)]
struct Site {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    chain_file: PathBuf,
    key_file: PathBuf,
}

/// The certificates of a peer's server: files of chain and key.
#[derive(Clone, Debug)]
pub struct Sites {
    /// The name that ECH hides.
    pub secret_name: String,
    /// Shown to those who ask for any other name.
    pub public: (PathBuf, PathBuf),
    /// Shown to those who ask for the hidden name.
    pub secret: (PathBuf, PathBuf),
}

/// An authority with certificates for [`PUBLIC_NAME`] and [`SECRET_NAME`].
#[derive(Debug)]
pub struct Pki {
    folder: TempDir,
    authority: CertificateDer<'static>,
    public: Site,
    secret: Site,
}

impl Pki {
    /// Makes everything anew, in a folder of its own that goes with it.
    pub fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::Builder::new()
            .prefix("echkit-interop-")
            .tempdir()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named("interop authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        let site = |name: &str| -> Result<Site, Box<dyn std::error::Error>> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            // A subject like the issuer's would look self-signed to OpenSSL.
            params.distinguished_name = named(name);
            let certificate = params.signed_by(&key, &authority)?;
            let chain_file = folder.path().join(format!("{name}.pem"));
            let key_file = folder.path().join(format!("{name}.key"));
            std::fs::write(&chain_file, certificate.pem())?;
            std::fs::write(&key_file, key.serialize_pem())?;
            Ok(Site {
                chain: vec![certificate.der().clone()],
                key: key.serialize_der(),
                chain_file,
                key_file,
            })
        };
        Ok(Self {
            public: site(PUBLIC_NAME)?,
            secret: site(SECRET_NAME)?,
            authority: authority.der().clone(),
            folder,
        })
    }

    /// A folder for files of the tests; it goes with this value.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority as a PEM file.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The authority as trust for rustls.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(Arc::new(roots))
    }

    /// What a peer's server shows.
    pub fn sites(&self) -> Sites {
        let files = |site: &Site| (site.chain_file.clone(), site.key_file.clone());
        Sites {
            secret_name: SECRET_NAME.to_owned(),
            public: files(&self.public),
            secret: files(&self.secret),
        }
    }

    /// Chain and key of a site, for rustls.
    pub fn identity(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let site = self.site(name);
        let key = PrivatePkcs8KeyDer::from(site.key.clone());
        (site.chain.clone(), key.into())
    }

    fn site(&self, name: &str) -> &Site {
        if name == SECRET_NAME {
            &self.secret
        } else {
            &self.public
        }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
