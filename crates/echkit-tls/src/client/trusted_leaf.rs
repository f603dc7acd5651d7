//! Server certificates that are trusted as they are.
//!
//! webpki wants a chain from a leaf to an anchor, and refuses as a leaf what says that it is an
//! authority. But `openssl req -x509` makes just such certificates for servers, and who gives one to
//! be trusted, or a leaf without its issuer, means that certificate. OpenSSL takes the first, and
//! curl both.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::delegated_verifier::delegate_all_but_the_chain;

/// Takes what another verifier takes, and certificates that equal a trusted one byte for byte. Those
/// are still checked for name, dates and purpose.
#[derive(Debug)]
pub(super) struct TrustedLeaves {
    inner: Arc<dyn ServerCertVerifier>,
    trusted: HashSet<CertificateDer<'static>>,
}

impl TrustedLeaves {
    /// The verifier itself where no certificate is given.
    pub(super) fn around(
        inner: Arc<dyn ServerCertVerifier>,
        trusted: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Arc<dyn ServerCertVerifier> {
        let trusted: HashSet<_> = trusted.into_iter().collect();
        match trusted.is_empty() {
            true => inner,
            false => Arc::new(Self { inner, trusted }),
        }
    }
}

impl ServerCertVerifier for TrustedLeaves {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chained = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match chained {
            Err(_) if self.trusted.contains(end_entity) => {
                check(end_entity, server_name, now)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    delegate_all_but_the_chain!(inner);
}

/// What a chain would have been checked for beside its signatures.
fn check(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    // Refuses unknown critical extensions as well.
    let parsed = ParsedCertificate::try_from(certificate)?;
    let (_, read) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let usage = read
        .extended_key_usage()
        .map_err(|_| CertificateError::BadEncoding)?;
    if usage.is_some_and(|usage| !is_for_servers(usage.value)) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    let seconds = |time: &x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let not_before = seconds(&read.validity().not_before);
    if now.as_secs() < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: UnixTime::since_unix_epoch(core::time::Duration::from_secs(not_before)),
        }
        .into());
    }
    let not_after = seconds(&read.validity().not_after);
    if now.as_secs() > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: UnixTime::since_unix_epoch(core::time::Duration::from_secs(not_after)),
        }
        .into());
    }
    verify_server_name(&parsed, server_name)
}

fn is_for_servers(usage: &ExtendedKeyUsage<'_>) -> bool {
    usage.any || usage.server_auth
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::client::{Trust, default_provider};

    const NAME: &str = "site.test";

    /// As `openssl req -x509` makes it, with what `change` does to it.
    fn self_signed(
        change: impl Fn(&mut rcgen::CertificateParams),
    ) -> (
        CertificateDer<'static>,
        rcgen::Issuer<'static, rcgen::KeyPair>,
    ) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().clone();
        (der, rcgen::Issuer::new(params, key))
    }

    fn leaf(issuer: &rcgen::Issuer<'static, rcgen::KeyPair>) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    fn verify(
        trusted: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        name: &str,
    ) -> Result<(), rustls::Error> {
        let provider = Arc::new(default_provider());
        let verifier = Trust::certificates([trusted.clone()])
            .unwrap()
            .build(&provider)
            .unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier
            .verify_server_cert(shown, &[], &name, &[], UnixTime::now())
            .map(drop)
    }

    #[test]
    fn a_certificate_that_is_trusted_itself_is_taken_as_a_servers() {
        let (authority, issuer) = self_signed(|_| {});
        verify(&authority, &authority, NAME).unwrap();
        let leaf = leaf(&issuer);
        verify(&leaf, &leaf, NAME).unwrap();
        verify(&authority, &leaf, NAME).unwrap();
    }

    #[test]
    fn no_other_certificate_is_trusted_by_it() {
        let (authority, _) = self_signed(|_| {});
        let (other, other_issuer) = self_signed(|_| {});
        assert!(verify(&authority, &other, NAME).is_err());
        let (one, two) = (leaf(&other_issuer), leaf(&other_issuer));
        assert!(verify(&one, &two, NAME).is_err());
        // An authority that was issued, not given, is still no server.
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issued = params.signed_by(&key, &other_issuer).unwrap().der().clone();
        assert!(verify(&other, &issued, NAME).is_err());
    }

    #[test]
    fn name_dates_and_purpose_still_count() {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let (authority, _) = self_signed(|_| {});
        let error = verify(&authority, &authority, "other.test").unwrap_err();
        assert!(error.to_string().contains("other.test"), "{error}");
        let (expired, _) = self_signed(|params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        });
        let expected = |error: &rustls::Error| {
            matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
            )
        };
        assert!(expected(&verify(&expired, &expired, NAME).unwrap_err()));
        let (future, _) = self_signed(|params| {
            params.not_before = rcgen::date_time_ymd(4000, 1, 1);
            params.not_after = rcgen::date_time_ymd(4001, 1, 1);
        });
        let expected = |error: &rustls::Error| {
            matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })
            )
        };
        assert!(expected(&verify(&future, &future, NAME).unwrap_err()));
        let (client, _) = self_signed(|params| params.extended_key_usages = vec![ClientAuth]);
        let error = verify(&client, &client, NAME).unwrap_err();
        assert_eq!(error, CertificateError::InvalidPurpose.into());
        let (server, _) = self_signed(|params| params.extended_key_usages = vec![ServerAuth]);
        verify(&server, &server, NAME).unwrap();
    }
}
