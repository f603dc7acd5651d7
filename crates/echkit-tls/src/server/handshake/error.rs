//! Why a handshake failed, and which alert says so.

use echkit_proto::hello::HelloError;
use echkit_proto::hello::HelloReadError;

use super::super::interpose::Unserved;
use echkit_proto::alert::Alert;
use echkit_proto::server::Misbehaviour;

/// A handshake has failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The client broke a rule of ECH.
    #[error("the client's ECH offer breaks a rule: {0}")]
    Client(Misbehaviour),
    /// The records hold no ClientHello.
    #[error("not a ClientHello: {0}")]
    Records(HelloReadError),
    /// The client closed its side before its ClientHello was complete.
    #[error("the client closed the connection before its ClientHello was complete")]
    Truncated,
    /// The ClientHello is malformed.
    #[error("bad ClientHello: {0}")]
    Hello(HelloError),
    /// Only public names are served in the clear, and another one was asked for.
    #[error("the server_name in the clear is not a public_name")]
    NotPublicName,
    /// The hello that ECH hid asks for a name without certificate.
    #[error("there is no certificate for the name in the accepted ClientHello")]
    UnknownName,
    /// The hello that ECH hid has no name, and the certificate depends on it.
    #[error("the accepted ClientHello has no server_name, and there is no certificate without one")]
    NoName,
    /// rustls ended the handshake.
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
    /// rustls did not behave as the ECH layer relies on; nothing wrong was sent.
    #[error("rustls did not behave as ECH requires; check its version")]
    Interposition,
    /// rustls took no more bytes.
    #[error("the TLS library's buffer: {0}")]
    Buffer(String),
    /// The handshake had failed before.
    #[error("the handshake is over")]
    Over,
}

impl From<Unserved> for HandshakeError {
    fn from(unserved: Unserved) -> Self {
        match unserved {
            Unserved::UnknownName => Self::UnknownName,
            Unserved::NoName => Self::NoName,
        }
    }
}

impl HandshakeError {
    /// The alert that rustls has not sent already.
    pub(super) fn alert_to_send(&self) -> Option<Alert> {
        match self {
            Self::Client(misbehaviour) => Some(misbehaviour.alert()),
            Self::Records(error) => Some(error.alert()),
            Self::Hello(_) | Self::Truncated => Some(Alert::DECODE_ERROR),
            Self::NotPublicName | Self::UnknownName => Some(Alert::UNRECOGNIZED_NAME),
            Self::NoName => Some(Alert::MISSING_EXTENSION),
            Self::Interposition | Self::Buffer(_) => Some(Alert::INTERNAL_ERROR),
            Self::Tls(_) | Self::Over => None,
        }
    }

    /// rustls would take these, or has a higher limit than ours.
    pub(super) fn is_over_a_limit(&self) -> bool {
        matches!(
            self,
            Self::Records(
                HelloReadError::Overflow(_)
                    | HelloReadError::TooLong(_)
                    | HelloReadError::Trailing
                    | HelloReadError::Empty
            )
        )
    }
}
