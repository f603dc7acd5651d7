//! What became of the ECH offer, read from a handshake that ended.

use rustls::client::{ClientConnection, EchStatus};
use rustls::{Error, HandshakeKind};

use super::retry_configs;

/// What became of the ECH offer of a handshake that ended.
///
/// Every client reads it here, so that an unauthenticated rejection counts nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferOutcome {
    /// There was no offer.
    NotOffered,
    /// There was none: the extension was GREASE (RFC 9849 §6.2).
    Grease,
    /// The server accepted the offer. The handshake may have failed afterwards.
    Accepted,
    /// A server that is authenticated for the public_name rejected the offer (RFC 9849 §6.1.6).
    Rejected(Rejection),
    /// The offer was rejected, and the server is not authenticated: its certificate does not hold
    /// for the public_name (RFC 9849 §6.1.7), or the handshake ended before that was known. No
    /// retry configs count, and ECH is not disabled.
    RejectedUnauthenticated,
    /// The offer was rejected under a resumed session, in which no certificate is sent. RFC 9849
    /// §6.1.2 forbids that to servers; it counts like [`Self::RejectedUnauthenticated`].
    RejectedResumed,
    /// The handshake ended before the server had accepted or rejected the offer.
    Undecided,
}

impl OfferOutcome {
    /// Reads the outcome. `error` is what rustls ended the handshake with; `None` where it
    /// finished, or where the stream below it broke.
    pub fn read(connection: &ClientConnection, error: Option<&Error>) -> Self {
        match connection.ech_status() {
            EchStatus::NotOffered => Self::NotOffered,
            EchStatus::Grease => Self::Grease,
            EchStatus::Accepted => Self::Accepted,
            EchStatus::Offered => Self::Undecided,
            // rustls gives the error with the retry configs after Finished. By then it has
            // verified the certificate for the public_name, unless a session was resumed.
            EchStatus::Rejected => match error.and_then(retry_configs) {
                Some(_) if connection.handshake_kind() == Some(HandshakeKind::Resumed) => {
                    Self::RejectedResumed
                }
                Some(retry_configs) => Self::Rejected(Rejection { retry_configs }),
                None => Self::RejectedUnauthenticated,
            },
        }
    }
}

/// An authenticated rejection.
///
/// [`after_rejection`](echkit_proto::client::after_rejection) says what may follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The ECHConfigList in EncryptedExtensions, as bytes; `None` where the server sent none. It
    /// may be malformed: RFC 9849 §4 allows no empty list, which rustls lets pass.
    pub retry_configs: Option<Vec<u8>>,
}
