//! Failures, and the exceptions of the standard `ssl` module that they become.
//!
//! `reason`, `verify_code` and `verify_message` are OpenSSL's, because programs compare them.

use std::io;
use std::path::Path;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use crate::verify_failure::VerifyFailure;

mod ssl {
    pyo3::import_exception!(_ssl, SSLError);
    pyo3::import_exception!(_ssl, SSLZeroReturnError);
    pyo3::import_exception!(_ssl, SSLWantReadError);
    pyo3::import_exception!(_ssl, SSLWantWriteError);
    pyo3::import_exception!(_ssl, SSLEOFError);
    pyo3::import_exception!(_ssl, SSLCertVerificationError);
    pyo3::import_exception!(echkit.ssl, ECHRejectedError);
}

// `SSL_ERROR_*` of the standard module.
const ERROR_SSL: i32 = 1;
const ERROR_WANT_READ: i32 = 2;
const ERROR_WANT_WRITE: i32 = 3;
const ERROR_ZERO_RETURN: i32 = 6;
const ERROR_EOF: i32 = 8;

/// What ended an operation.
#[derive(Debug)]
pub(crate) enum Failure {
    /// More bytes from the peer are needed.
    WantRead,
    /// The peer has to take bytes first.
    WantWrite,
    /// The peer's last word was close_notify.
    Closed,
    /// The stream ended without close_notify.
    Eof,
    /// A time-out of the named operation.
    TimedOut(&'static str),
    /// The operating system's error.
    Io(io::Error),
    /// A certificate was refused.
    Certificate(VerifyFailure),
    /// The server, authenticated for the public_name, rejected the offer; its retry_configs, or
    /// nothing.
    Rejected(Vec<u8>),
    /// The TLS stack's error.
    Tls(Error),
    /// Anything else: OpenSSL's reason, and words.
    Other(&'static str, String),
    /// An exception that is on its way already.
    Python(PyErr),
}

impl Failure {
    /// Whether the peer has closed a connection on which something was still to be sent or read:
    /// ECONNRESET, or EPIPE where its FIN came first.
    pub(crate) fn is_reset(&self) -> bool {
        use io::ErrorKind as K;
        matches!(self, Self::Io(error)
            if matches!(error.kind(), K::ConnectionReset | K::BrokenPipe))
    }

    /// The standard module calls a reset an end where data is read or written.
    pub(crate) fn of_data(self) -> Self {
        match self.is_reset() {
            true => Self::Eof,
            false => self,
        }
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::WantRead => ssl::SSLWantReadError::new_err((
                ERROR_WANT_READ,
                "The operation did not complete (read)",
            )),
            Failure::WantWrite => ssl::SSLWantWriteError::new_err((
                ERROR_WANT_WRITE,
                "The operation did not complete (write)",
            )),
            Failure::Closed => ssl::SSLZeroReturnError::new_err((
                ERROR_ZERO_RETURN,
                "TLS/SSL connection has been closed (EOF)",
            )),
            Failure::Eof => with_attributes(
                ssl::SSLEOFError::new_err((
                    ERROR_EOF,
                    "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol \
                     (echkit)",
                )),
                "UNEXPECTED_EOF_WHILE_READING",
                |_| Ok(()),
            ),
            Failure::TimedOut(operation) => pyo3::exceptions::PyTimeoutError::new_err(format!(
                "The {operation} operation timed out"
            )),
            Failure::Io(error) => os_error(&error),
            Failure::Certificate(failure) => certificate_refused(&failure),
            Failure::Rejected(retry_configs) => rejected(&retry_configs),
            Failure::Tls(error) => tls_error(&error),
            Failure::Other(reason, text) => ssl_error(reason, &text),
            Failure::Python(error) => error,
        }
    }
}

/// `OSError(errno, text)`, which Python turns into the subclass that fits.
fn os_error(error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, system_text(error))),
        None => PyOSError::new_err(error.to_string()),
    }
}

/// An `OSError` about the file at `path`, as Python's own functions raise it.
pub(crate) fn file_error(path: &Path, error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => {
            PyOSError::new_err((number, system_text(error), path.as_os_str().to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {error}", path.display())),
    }
}

/// The system's words for an error, without its number.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// An `SSLCertVerificationError` with OpenSSL's number and words.
fn certificate_refused(failure: &VerifyFailure) -> PyErr {
    let text = failure.text();
    let message =
        format!("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {text} (echkit)");
    let error = ssl::SSLCertVerificationError::new_err((ERROR_SSL, message));
    with_attributes(error, "CERTIFICATE_VERIFY_FAILED", |value| {
        value.setattr("verify_code", failure.code)?;
        value.setattr("verify_message", text)
    })
}

/// An `SSLError` with `library` and `reason`.
pub(crate) fn ssl_error(reason: &str, text: &str) -> PyErr {
    library_error("SSL", reason, text)
}

/// An `SSLError` of another of OpenSSL's libraries.
pub(crate) fn library_error(library: &str, reason: &str, text: &str) -> PyErr {
    let message = format!("[{library}: {reason}] {text} (echkit)");
    let error = ssl::SSLError::new_err((ERROR_SSL, message));
    with_attributes(error, reason, |value| value.setattr("library", library))
}

/// RFC 9849 §6.1.6: an authenticated rejection, with what to connect again with.
fn rejected(retry_configs: &[u8]) -> PyErr {
    let (reason, text) = ech_required();
    let error =
        ssl::ECHRejectedError::new_err((ERROR_SSL, format!("[SSL: {reason}] {text} (echkit)")));
    with_attributes(error, reason, |value| {
        value.setattr("retry_configs", PyBytes::new(value.py(), retry_configs))
    })
}

fn ech_required() -> (&'static str, &'static str) {
    (
        "ECH_REQUIRED",
        "ech required: the server rejected the offer of Encrypted Client Hello",
    )
}

fn with_attributes(
    error: PyErr,
    reason: &str,
    more: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
) -> PyErr {
    Python::attach(|py| {
        let set = || {
            let value = error.value(py);
            value.setattr("library", "SSL")?;
            value.setattr("reason", reason)?;
            more(value)
        };
        match set() {
            Ok(()) => error,
            Err(other) => other,
        }
    })
}

fn tls_error(error: &Error) -> PyErr {
    let (reason, text) = reason(error);
    ssl_error(&reason, &text)
}

/// OpenSSL's reason for what rustls met, and words for it.
fn reason(error: &Error) -> (String, String) {
    let fixed = |reason: &str, text: &str| (reason.to_owned(), text.to_owned());
    match error {
        Error::AlertReceived(alert) => alert_reason(*alert),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            fixed("NO_SHARED_CIPHER", "no shared cipher")
        }
        Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => fixed(
            "NO_SUITABLE_SIGNATURE_ALGORITHM",
            "no suitable signature algorithm",
        ),
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            fixed("NO_SUITABLE_KEY_SHARE", "no suitable key share")
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => fixed("UNSUPPORTED_PROTOCOL", "unsupported protocol"),
        Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(_)) => {
            let (reason, text) = ech_required();
            fixed(reason, text)
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => fixed("WRONG_VERSION_NUMBER", "wrong version number"),
        Error::NoCertificatesPresented => fixed(
            "PEER_DID_NOT_RETURN_A_CERTIFICATE",
            "peer did not return a certificate",
        ),
        Error::DecryptError => fixed(
            "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
            "decryption failed or bad record mac",
        ),
        Error::NoApplicationProtocol => fixed("NO_APPLICATION_PROTOCOL", "no application protocol"),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            ("UNEXPECTED_MESSAGE".to_owned(), error.to_string())
        }
        Error::InvalidMessage(_) => ("BAD_PACKET".to_owned(), error.to_string()),
        other => ("TLS_ERROR".to_owned(), other.to_string()),
    }
}

/// OpenSSL's name of an alert that the peer sent, such as `TLSV1_ALERT_UNKNOWN_CA`.
fn alert_reason(alert: AlertDescription) -> (String, String) {
    use AlertDescription as A;
    let name = match alert {
        A::UnexpectedMessage => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        A::BadRecordMac => "SSLV3_ALERT_BAD_RECORD_MAC",
        A::RecordOverflow => "TLSV1_ALERT_RECORD_OVERFLOW",
        A::HandshakeFailure => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        A::NoCertificate => "SSLV3_ALERT_NO_CERTIFICATE",
        A::BadCertificate => "SSLV3_ALERT_BAD_CERTIFICATE",
        A::UnsupportedCertificate => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        A::CertificateRevoked => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        A::CertificateExpired => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        A::CertificateUnknown => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        A::IllegalParameter => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        A::UnknownCA => "TLSV1_ALERT_UNKNOWN_CA",
        A::AccessDenied => "TLSV1_ALERT_ACCESS_DENIED",
        A::DecodeError => "TLSV1_ALERT_DECODE_ERROR",
        A::DecryptError => "TLSV1_ALERT_DECRYPT_ERROR",
        A::ProtocolVersion => "TLSV1_ALERT_PROTOCOL_VERSION",
        A::InsufficientSecurity => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        A::InternalError => "TLSV1_ALERT_INTERNAL_ERROR",
        A::InappropriateFallback => "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
        A::UserCanceled => "TLSV1_ALERT_USER_CANCELLED",
        A::NoRenegotiation => "TLSV1_ALERT_NO_RENEGOTIATION",
        A::MissingExtension => "TLSV13_ALERT_MISSING_EXTENSION",
        A::UnsupportedExtension => "TLSV1_UNSUPPORTED_EXTENSION",
        A::UnrecognisedName => "TLSV1_UNRECOGNIZED_NAME",
        A::BadCertificateStatusResponse => "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
        A::UnknownPSKIdentity => "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
        A::CertificateRequired => "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        A::NoApplicationProtocol => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        A::EncryptedClientHelloRequired => "ECH_REQUIRED",
        other => {
            let number = u8::from(other);
            return (
                "TLSV1_ALERT_UNKNOWN".to_owned(),
                format!("alert number {number}"),
            );
        }
    };
    (name.to_owned(), name.to_ascii_lowercase().replace('_', " "))
}
