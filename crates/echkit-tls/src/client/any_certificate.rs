//! Clients that do not verify certificates of origins, for which no rejection is authenticated then,
//! or of proxies.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::delegated_verifier::delegate_all_but_the_chain;

/// Takes every certificate, or every one for one name and none for another.
///
/// The limit is for origins: rustls asks for the public_name when ECH was rejected, and a rejection
/// that nothing authenticates must have no effect (RFC 9849 §6.1.7).
#[derive(Debug)]
pub(super) struct AnyCertificate {
    /// Checks signatures.
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    /// The name that it is limited to.
    pub(super) only: Option<ServerName<'static>>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let asked = server_name.to_str();
        let taken = self
            .only
            .as_ref()
            .is_none_or(|only| asked.eq_ignore_ascii_case(&only.to_str()));
        match taken {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    delegate_all_but_the_chain!(inner);
}
