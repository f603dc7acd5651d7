//! The verifiers that rustls asks, over a [`TrustStore`].

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::trust::{Limits, Question, Role, TrustStore};
use crate::verify_failure::VerifyFailure;

thread_local! {
    /// What the last verification on this thread said. rustls has no room for OpenSSL's words in
    /// its errors, so that the caller of rustls picks them up here.
    static LAST: RefCell<Option<VerifyFailure>> = const { RefCell::new(None) };
    /// The name inside of the offer that is being worked on: another name that rustls asks about
    /// is the public_name of a rejection.
    static INNER_NAME: RefCell<Option<ServerName<'static>>> = const { RefCell::new(None) };
}

/// Runs `work`, which calls into rustls, and returns what a verifier had to say.
pub(crate) fn observing<T>(
    inner_name: Option<&ServerName<'static>>,
    work: impl FnOnce() -> T,
) -> (T, Option<VerifyFailure>) {
    LAST.set(None);
    INNER_NAME.set(inner_name.cloned());
    let value = work();
    INNER_NAME.set(None);
    (value, LAST.take())
}

/// How peers are verified.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) trust: Py<TrustStore>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) flags: u64,
    /// `CERT_NONE`: any peer.
    pub(crate) anyone: bool,
    /// `CERT_REQUIRED` at a server.
    pub(crate) mandatory: bool,
    pub(crate) check_hostname: bool,
}

impl Verifier {
    pub(crate) fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
        role: Role,
        now: UnixTime,
    ) -> Result<Vec<CertificateDer<'static>>, VerifyFailure> {
        self.trust.get().verify(
            &Question {
                end_entity,
                intermediates,
                name,
                now,
                role,
                flags: self.flags,
            },
            &self.provider.signature_verification_algorithms,
        )
    }
}

fn remember(failure: VerifyFailure) -> Error {
    let error = Error::InvalidCertificate(failure.error.clone());
    LAST.set(Some(failure));
    error
}

/// Verifies a signature of whoever the peer is: of its certificate the key alone is read, because
/// webpki refuses those of version 1 and with unknown critical extensions.
fn by_anyone(
    cert: &CertificateDer<'_>,
    verify: impl FnOnce(&SubjectPublicKeyInfoDer<'_>) -> Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    let (_, parsed) = X509Certificate::from_der(cert)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    verify(&SubjectPublicKeyInfoDer::from(parsed.public_key().raw)).map_err(|error| {
        match Limits::of(&parsed).has_weak_key() {
            true => remember(VerifyFailure::weak_key_of_anyone()),
            false => error,
        }
    })
}

/// What rustls does for TLS 1.2, with a key in the place of a certificate.
fn tls12_signature(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| bad())?;
    let fitting = algorithms.mapping.iter();
    let fitting = fitting.filter(|(scheme, _)| *scheme == dss.scheme);
    fitting
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|algorithm| {
            key.verify_signature(*algorithm, message, dss.signature())
                .is_ok()
        })
        .then(HandshakeSignatureValid::assertion)
        .ok_or_else(bad)
}

/// Signatures are verified alike on both sides.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            match self.anyone {
                true => by_anyone(cert, |key| tls12_signature(message, key, dss, algorithms)),
                false => verify_tls12_signature(message, cert, dss, algorithms),
            }
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            match self.anyone {
                true => by_anyone(cert, |key| {
                    verify_tls13_signature_with_raw_key(message, key, dss, algorithms)
                }),
                false => verify_tls13_signature(message, cert, dss, algorithms),
            }
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.anyone {
            return Ok(ServerCertVerified::assertion());
        }
        // A rejection has to be authenticated for the public_name (RFC 9849 §6.1.6), whatever
        // check_hostname says about the name inside.
        let public_name = INNER_NAME.with_borrow(|n| n.as_ref().is_some_and(|n| n != server_name));
        let name = (self.check_hostname || public_name).then_some(server_name);
        self.judge(end_entity, intermediates, name, Role::Server, now)
            .map(|_| ServerCertVerified::assertion())
            .map_err(remember)
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        !self.anyone
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None, as in the standard module: many names would not fit in a CertificateRequest.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, None, Role::Client, now)
            .map(|_| ClientCertVerified::assertion())
            .map_err(remember)
    }

    signatures!();
}
