//! Why a handshake failed, and which alert says so.

use echkit_proto::hello::HelloError;
use echkit_proto::hello::HelloReadError;

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
    #[error("no ClientHello: {0}")]
    Records(HelloReadError),
    /// The client closed its side in the midst of its hello.
    #[error("the client closed the connection in the midst of its hello")]
    Truncated,
    /// The ClientHello is malformed.
    #[error("bad ClientHello: {0}")]
    Hello(HelloError),
    /// Only public names are served in the clear, and another one was asked for.
    #[error("the name asked for in the clear is not a public name")]
    NotPublicName,
    /// rustls ended the handshake.
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
    /// rustls did not behave as the ECH layer relies on; nothing wrong was sent.
    #[error("the TLS library did not behave as ECH needs it; is it another version of rustls?")]
    Interposition,
    /// rustls took no more bytes.
    #[error("the TLS library's buffer: {0}")]
    Buffer(String),
    /// The handshake had failed before.
    #[error("the handshake is over")]
    Over,
}

impl HandshakeError {
    /// The alert that rustls has not sent already.
    pub(super) fn alert_to_send(&self) -> Option<Alert> {
        match self {
            Self::Client(misbehaviour) => Some(misbehaviour.alert()),
            Self::Records(HelloReadError::Overflow(_)) => Some(Alert::RECORD_OVERFLOW),
            Self::Records(HelloReadError::TooLong(_)) | Self::Hello(_) | Self::Truncated => {
                Some(Alert::DECODE_ERROR)
            }
            Self::Records(_) => Some(Alert::UNEXPECTED_MESSAGE),
            Self::NotPublicName => Some(Alert::UNRECOGNIZED_NAME),
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
