//! Verifiers that remember what they were asked.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, crypto,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::credentials;
use crate::failure::Failure;
use crate::options::ConnectionOptions;

/// What was verified in one handshake.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    names: Mutex<Vec<String>>,
    scheme: Mutex<Option<SignatureScheme>>,
}

impl Verified {
    /// The names for which a server's certificate was verified.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.names).clone()
    }

    /// The scheme of the peer's signature.
    pub(crate) fn scheme(&self) -> Option<SignatureScheme> {
        *lock(&self.scheme)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both verifiers have in common: signatures are verified, by the schemes that are allowed.
#[derive(Debug)]
struct Signatures {
    algorithms: WebPkiSupportedAlgorithms,
    /// Empty for all.
    allowed: Vec<SignatureScheme>,
    fails: bool,
    verified: Arc<Verified>,
}

impl Signatures {
    fn new(
        options: &ConnectionOptions,
        provider: &CryptoProvider,
        verified: &Arc<Verified>,
    ) -> Result<Self, Failure> {
        let algorithms = provider.signature_verification_algorithms;
        let known = algorithms.supported_schemes();
        let wanted = options.verified_schemes.iter().copied();
        let allowed: Vec<_> = wanted
            .map(SignatureScheme::from)
            .filter(|scheme| known.contains(scheme))
            .collect();
        if let ([scheme, ..], []) = (&options.verified_schemes[..], &allowed[..]) {
            return Err(Failure::Declined(format!("-verify-prefs {scheme:#06x}")));
        }
        Ok(Self {
            algorithms,
            allowed,
            fails: options.fails_verification,
            verified: Arc::clone(verified),
        })
    }

    fn certificate(&self) -> Result<(), Error> {
        match self.fails {
            true => Err(CertificateError::ApplicationVerificationFailure.into()),
            false => Ok(()),
        }
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        *lock(&self.verified.scheme) = Some(signed.scheme);
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        *lock(&self.verified.scheme) = Some(signed.scheme);
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        match self.allowed.is_empty() {
            true => self.algorithms.supported_schemes(),
            false => self.allowed.clone(),
        }
    }
}

/// Verifies a server's chain against the runner's authority if it is asked for a DNS name. Tests
/// without a host name care for no chain; the shim then asks for an address.
#[derive(Debug)]
pub(crate) struct ServerCertificates {
    chain: Option<Arc<WebPkiServerVerifier>>,
    signatures: Signatures,
}

impl ServerCertificates {
    pub(crate) fn new(
        options: &ConnectionOptions,
        provider: &Arc<CryptoProvider>,
        verified: &Arc<Verified>,
    ) -> Result<Self, Failure> {
        let roots = credentials::roots(options)?;
        let chain = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
                    .build()
                    .map_err(Failure::failed)?,
            ),
        };
        Ok(Self {
            chain,
            signatures: Signatures::new(options, provider, verified)?,
        })
    }
}

impl ServerCertVerifier for ServerCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        lock(&self.signatures.verified.names).push(name.to_str().into_owned());
        self.signatures.certificate()?;
        match (&self.chain, name) {
            (Some(chain), ServerName::DnsName(_)) => {
                chain.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            }
            (None, ServerName::DnsName(_)) => Err(CertificateError::UnknownIssuer.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// Takes any client certificate whose key signs.
#[derive(Debug)]
pub(crate) struct ClientCertificates {
    is_required: bool,
    signatures: Signatures,
}

impl ClientCertificates {
    pub(crate) fn new(
        options: &ConnectionOptions,
        provider: &CryptoProvider,
        verified: &Arc<Verified>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            is_required: options.requires_certificate,
            signatures: Signatures::new(options, provider, verified)?,
        })
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.signatures.certificate()?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}
