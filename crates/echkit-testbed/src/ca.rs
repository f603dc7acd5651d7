//! The testbed's certificate authority: a fresh root for every testbed, and leaves signed by it.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use crate::error::TestbedError;

/// A root certificate and its key, made for one testbed and gone with it.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a new root. `common_name` tells one root from another in a certificate viewer.
    pub(crate) fn generate(common_name: &str) -> Result<Self, TestbedError> {
        let failed = failed(common_name);
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(Validity::Current);
        let key = KeyPair::generate().map_err(failed)?;
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, key).map_err(failed)?,
        })
    }

    /// The root in PEM, for `--cacert` and the like.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The root in DER, for a [`rustls::RootCertStore`].
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Signs a server certificate for `names`: DNS names, or IP addresses as text.
    pub(crate) fn leaf(&self, names: &[&str], validity: Validity) -> Result<Leaf, TestbedError> {
        let name = names.first().copied().unwrap_or("nobody");
        let failed = failed(name);
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = self::validity(validity);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Leaf {
            name: name.to_owned(),
            certificate,
            key,
        })
    }

    /// The same, ready for rustls.
    pub(crate) fn server_certificate(
        &self,
        names: &[&str],
        validity: Validity,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TestbedError> {
        self.leaf(names, validity)?.certified(provider)
    }
}

/// A server certificate and its key.
pub(crate) struct Leaf {
    name: String,
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Leaf {
    /// Both, ready for rustls.
    pub(crate) fn certified(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TestbedError> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        CertifiedKey::from_der(vec![self.certificate.der().clone()], key.into(), provider)
            .map(Arc::new)
            .map_err(|source| TestbedError::Tls {
                name: self.name.clone(),
                error: source,
            })
    }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// From yesterday, for a month.
    Current,
    /// Until yesterday.
    Expired,
}

fn validity(validity: Validity) -> (OffsetDateTime, OffsetDateTime) {
    // A day of grace, for machines whose clocks disagree with themselves.
    let now = OffsetDateTime::now_utc();
    match validity {
        Validity::Current => (now - Duration::days(1), now + Duration::days(30)),
        Validity::Expired => (now - Duration::days(30), now - Duration::days(1)),
    }
}

fn failed(name: &str) -> impl Fn(rcgen::Error) -> TestbedError + Copy + '_ {
    move |e| TestbedError::Certificate {
        name: name.to_owned(),
        reason: e.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::UnixTime;

    use super::*;

    fn verify(ca: &Ca, key: &CertifiedKey, name: &str) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let name = name.to_owned().try_into().unwrap();
        verifier
            .verify_server_cert(&key.cert[0], &[], &name, &[], UnixTime::now())
            .map(drop)
    }

    #[test]
    fn leaves_verify_for_their_names_under_their_root_only() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let (ca, other) = (Ca::generate("one").unwrap(), Ca::generate("two").unwrap());
        let leaf = ca
            .server_certificate(&["a.ech.test", "127.0.0.1"], Validity::Current, &provider)
            .unwrap();
        verify(&ca, &leaf, "a.ech.test").unwrap();
        verify(&ca, &leaf, "127.0.0.1").unwrap();
        verify(&ca, &leaf, "b.ech.test").unwrap_err();
        verify(&other, &leaf, "a.ech.test").unwrap_err();
    }

    #[test]
    fn expired_leaves_do_not_verify() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let ca = Ca::generate("one").unwrap();
        let leaf = ca
            .server_certificate(&["a.ech.test"], Validity::Expired, &provider)
            .unwrap();
        verify(&ca, &leaf, "a.ech.test").unwrap_err();
    }
}

/// Those who sign the servers' certificates.
#[derive(Debug)]
pub(crate) struct Authorities {
    /// The one that clients are told to trust.
    pub(crate) trusted: Ca,
    /// One that is not trusted.
    pub(crate) stranger: Ca,
}

impl Authorities {
    pub(crate) fn generate() -> Result<Self, TestbedError> {
        Ok(Self {
            trusted: Ca::generate("echkit testbed root")?,
            stranger: Ca::generate("echkit testbed stranger")?,
        })
    }
}
