//! Why a certificate was refused, in OpenSSL's numbers and words, because programs compare them.

use rustls::CertificateError;
use rustls_pki_types::ServerName;

/// Why a certificate was refused: OpenSSL's number and words.
#[derive(Clone, Debug)]
pub(crate) struct VerifyFailure {
    pub(crate) code: i32,
    message: String,
    /// What rustls is told, which decides about the alert.
    pub(crate) error: CertificateError,
}

macro_rules! failures {
    ($($name:ident = $code:literal, $error:ident, $text:literal;)*) => {
        impl VerifyFailure {
            $(pub(crate) const $name: Self = Self {
                code: $code,
                message: String::new(),
                error: CertificateError::$error,
            };)*

            fn text_of(code: i32) -> &'static str {
                match code {
                    $($code => $text,)*
                    _ => "unspecified certificate verification error",
                }
            }
        }
    };
}

failures! {
    UNKNOWN_ISSUER_OF_LOADED = 2, UnknownIssuer, "unable to get issuer certificate";
    NO_CRL = 3, UnknownRevocationStatus, "unable to get certificate CRL";
    BAD_SIGNATURE = 7, BadSignature, "certificate signature failure";
    BAD_CRL_SIGNATURE = 8, UnknownRevocationStatus, "CRL signature failure";
    NOT_YET_VALID = 9, NotValidYet, "certificate is not yet valid";
    EXPIRED = 10, Expired, "certificate has expired";
    CRL_NOT_YET_VALID = 11, UnknownRevocationStatus, "CRL is not yet valid";
    CRL_EXPIRED = 12, ExpiredRevocationList, "CRL has expired";
    SELF_SIGNED = 18, UnknownIssuer, "self-signed certificate";
    SELF_SIGNED_IN_CHAIN = 19, UnknownIssuer, "self-signed certificate in certificate chain";
    UNKNOWN_ISSUER = 20, UnknownIssuer, "unable to get local issuer certificate";
    TOO_LONG = 22, UnknownIssuer, "certificate chain too long";
    REVOKED = 23, Revoked, "certificate revoked";
    PATH_LENGTH = 25, InvalidPurpose, "path length constraint exceeded";
    INVALID_PURPOSE = 26, InvalidPurpose, "unsuitable certificate purpose";
    UNHANDLED_EXTENSION = 34, UnhandledCriticalExtension, "unhandled critical extension";
    NO_CRL_SIGNER = 35, UnknownRevocationStatus, "key usage does not include CRL signing";
    NOT_PERMITTED = 47, NotValidForName, "permitted subtree violation";
    EXCLUDED = 48, NotValidForName, "excluded subtree violation";
    WEAK_KEY = 66, BadSignature, "EE certificate key too weak";
    WEAK_CA_KEY = 67, BadSignature, "CA certificate key too weak";
    INVALID_CA = 79, InvalidPurpose, "invalid CA certificate";
}

impl VerifyFailure {
    pub(crate) fn from_webpki(error: webpki::Error, name: Option<&ServerName<'_>>) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } => Self::EXPIRED,
            E::CertNotValidYet { .. } => Self::NOT_YET_VALID,
            E::UnknownIssuer => Self::UNKNOWN_ISSUER,
            E::CertRevoked => Self::REVOKED,
            E::UnknownRevocationStatus => Self::NO_CRL,
            E::CrlExpired { .. } => Self::CRL_EXPIRED,
            E::InvalidSignatureForPublicKey => Self::BAD_SIGNATURE,
            E::InvalidCrlSignatureForPublicKey => Self::BAD_CRL_SIGNATURE,
            E::IssuerNotCrlSigner => Self::NO_CRL_SIGNER,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::INVALID_PURPOSE,
            E::UnsupportedCriticalExtension => Self::UNHANDLED_EXTENSION,
            E::PathLenConstraintViolated => Self::PATH_LENGTH,
            E::EndEntityUsedAsCa => Self::INVALID_CA,
            E::NameConstraintViolation => Self::NOT_PERMITTED,
            E::MaximumPathDepthExceeded => Self::TOO_LONG,
            E::CertNotValidForName(_) => Self::for_name(name),
            E::CaUsedAsEndEntity => Self::unspecified(
                "the certificate is that of a certificate authority (CA:TRUE), which may not be \
                 used for a host; have one issued with CA:FALSE",
            ),
            E::UnsupportedCertVersion => Self::unspecified(
                "a certificate of the chain is not of version 3; have it issued anew",
            ),
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::unspecified(
                "a certificate is signed with an algorithm that is not supported; RSA of 2048 bits \
                 or more, ECDSA and Ed25519 with SHA-2 are",
            ),
            E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumSignatureChecksExceeded => {
                Self::unspecified("the certificate chain takes too much work to verify")
            }
            E::InvalidCertValidity => {
                Self::unspecified("a certificate's notAfter is before its notBefore")
            }
            E::MalformedNameConstraint | E::InvalidNetworkMaskConstraint => {
                Self::unspecified("a name constraint in the certificate chain is malformed")
            }
            E::InvalidSerialNumber => Self::unspecified(
                "a certificate's serial number is not a positive integer of at most 20 bytes",
            ),
            _ => Self::unspecified("a certificate of the chain is malformed"),
        }
    }

    /// What OpenSSL has no number for.
    fn unspecified(why: &str) -> Self {
        Self {
            code: 1,
            message: format!("unspecified certificate verification error: {why}"),
            error: CertificateError::BadEncoding,
        }
    }

    /// [`Self::WEAK_KEY`] where nothing of the certificate is verified: the handshake still is.
    pub(crate) fn weak_key_of_anyone() -> Self {
        Self {
            message:
                "EE certificate key too weak: the peer signs the handshake with RSA of less than \
                      2048 bits, which cannot be verified and is refused under CERT_NONE too; the \
                      peer needs a longer key"
                    .to_owned(),
            ..Self::WEAK_KEY
        }
    }

    fn for_name(name: Option<&ServerName<'_>>) -> Self {
        let (code, what) = match name {
            Some(ServerName::IpAddress(_)) => (64, "IP address"),
            _ => (62, "Hostname"),
        };
        let name = name.map(|n| n.to_str().into_owned()).unwrap_or_default();
        Self {
            code,
            message: format!("{what} mismatch, certificate is not valid for '{name}'."),
            error: CertificateError::NotValidForName,
        }
    }

    /// Whether OpenSSL looks for this only after it has compared the name: revocation, then
    /// signatures and dates, then name constraints.
    pub(crate) fn comes_after_name(&self) -> bool {
        matches!(self.code, 3 | 7..=12 | 23 | 35 | 47 | 48)
    }

    /// OpenSSL's words, or ours where it has none.
    pub(crate) fn text(&self) -> &str {
        match self.message.is_empty() {
            true => Self::text_of(self.code),
            false => &self.message,
        }
    }
}
