//! When a failed handshake with a GREASE extension is followed by one without it.
//!
//! GREASE (RFC 9849 §6.2) protects nothing of the connection that it is sent on: the name stands
//! in the same hello. A server or middlebox that does not bear the extension may therefore get one
//! more connection without it. A real offer never does.

use std::io::ErrorKind;
use std::time::Duration;

use rustls::{AlertDescription, Error, PeerIncompatible};

use super::handshake::{ClientHandshakeError, HandshakeFault};

/// How long a server may stay silent after a hello with GREASE before another follows without it.
///
/// A server that bears GREASE answers within a round trip; by then TCP has sent a lost hello three
/// times (after 1 and 3 seconds, RFC 6298 §2).
const GREASE_SILENCE: Duration = Duration::from_secs(3);

/// How long to wait for the first byte of the answer to GREASE, where `left` is left for the whole
/// handshake. The second connection has at least as much.
pub(super) fn answer_limit(left: Option<Duration>) -> Duration {
    left.map_or(GREASE_SILENCE, |left| GREASE_SILENCE.min(left / 2))
}

/// The text for how the server refused the ClientHello, where GREASE may be the reason.
pub(super) fn refusal(error: &ClientHandshakeError) -> Option<String> {
    match &error.fault {
        HandshakeFault::Tls(Error::AlertReceived(
            alert @ (AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::DecodeError
            | AlertDescription::IllegalParameter
            | AlertDescription::InternalError),
        )) => Some(format!("answered the alert {alert:?} to")),
        // With GREASE rustls offers TLS 1.3 only, and the server may know no more than 1.2.
        HandshakeFault::Tls(Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        )) => Some("answered without TLS 1.3 to".to_owned()),
        HandshakeFault::Silent(after) => {
            Some(format!("was silent for {} ms after", after.as_millis()))
        }
        // What breaks after an answer breaks for another reason.
        HandshakeFault::Io(fault) if !error.answered => match fault.kind() {
            ErrorKind::UnexpectedEof => Some("closed the connection after".to_owned()),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Some("reset the connection after".to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_waited_for_three_seconds_and_never_more_than_half_of_what_is_left() {
        let seconds = Duration::from_secs;
        assert_eq!(answer_limit(None), seconds(3));
        assert_eq!(answer_limit(Some(seconds(15))), seconds(3));
        assert_eq!(answer_limit(Some(seconds(2))), seconds(1));
    }
}
