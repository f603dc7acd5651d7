//! Clients that do not verify an origin's certificate, and for which no rejection is authenticated.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::delegated_verifier::delegate_all_but_the_chain;

/// Takes every certificate for the origin's own name, and none for another name: rustls asks for the
/// public_name when ECH was rejected, and a rejection that nothing authenticates must have no effect
/// (RFC 9849 §6.1.7).
#[derive(Debug)]
pub(super) struct AnyCertificate {
    /// Checks signatures.
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    pub(super) origin: ServerName<'static>,
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
        let (asked, origin) = (server_name.to_str(), self.origin.to_str());
        match asked.eq_ignore_ascii_case(&origin) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    delegate_all_but_the_chain!(inner);
}
