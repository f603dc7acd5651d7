//! What a failed handshake says, in words.

use echkit_tls::client::OfferOutcome;
use rustls::{AlertDescription, PeerIncompatible};

use super::handshake::{HandshakeError, HandshakeFault};

/// A failed handshake in words.
pub(super) fn describe_fault(error: &HandshakeError) -> String {
    match &error.fault {
        HandshakeFault::Tls(tls) => match &error.offer {
            OfferOutcome::Rejected(rejection) => match rejection.retry_configs {
                Some(_) => "ECH rejected, with retry configs".to_owned(),
                None => "ECH rejected, without retry configs".to_owned(),
            },
            _ => in_words(tls),
        },
        HandshakeFault::Io(error) => error.to_string(),
        HandshakeFault::Guard(error) => error.to_string(),
        HandshakeFault::Timeout(after) => format!("timed out after {} ms", after.as_millis()),
    }
}

/// Whether a server may have refused because it does not know TLS 1.3.
pub(super) fn refuses_version(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure
        ) | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
        )
    )
}

/// An error of the TLS stack in words.
pub(super) fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => {
            format!("the server refused with the alert {alert:?}")
        }
        rustls::Error::InvalidMessage(_) => {
            format!("the server's answer is no TLS: {error}")
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server answered with TLS 1.2, which cannot carry ECH".to_owned(),
        other => other.to_string(),
    }
}
