//! Error texts for failed handshakes.

use echkit_tls::client::OfferOutcome;
use rustls::{CertificateError, Error, PeerIncompatible};

use super::handshake::{ClientHandshakeError, HandshakeFault};
use crate::report::EchSource;

/// The error text for a failed handshake.
pub(super) fn describe_fault(error: &ClientHandshakeError) -> String {
    match &error.fault {
        HandshakeFault::Tls(tls) => match &error.offer {
            OfferOutcome::Rejected(rejection) => match rejection.retry_configs {
                Some(_) => "ECH rejected, with retry configs".to_owned(),
                None => "ECH rejected, without retry configs".to_owned(),
            },
            OfferOutcome::RejectedResumed => REJECTED_RESUMED.to_owned(),
            _ => in_words(tls),
        },
        HandshakeFault::Io(error) => error.to_string(),
        HandshakeFault::Guard(error) => error.to_string(),
        HandshakeFault::Timeout(after) => format!("timed out after {} ms", after.as_millis()),
        HandshakeFault::Silent(after) => format!("no answer within {} ms", after.as_millis()),
    }
}

/// RFC 9849 §6.1.2: a server that rejects ECH must not resume a session.
pub(super) const REJECTED_RESUMED: &str = "the server rejected ECH and resumed a session, which \
     does not authenticate it for the public_name (RFC 9849 §6.1.2)";

/// Certificates are not verified: nothing authenticates a rejection (RFC 9849 §6.1.7).
pub(super) const REJECTED_UNVERIFIED: &str = "the server rejected ECH, and since certificates are \
     not verified, nothing authenticates the rejection (RFC 9849 §6.1.7); no other connection \
     follows";

/// What it means that a rejection could not be authenticated (RFC 9849 §6.1.7).
pub(super) fn unauthenticated_rejection(
    address: &str,
    source: EchSource,
    public_name: &str,
    outer_sni: Option<&str>,
    proxy: Option<&str>,
    error: &Error,
) -> String {
    let certificate = match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "is not for",
        _ => "is not trusted for",
    };
    let (publisher, reason) = match source {
        EchSource::Manual => (
            "of the ECHConfig that was given",
            "the ECHConfig may belong to another server",
        ),
        EchSource::Retry | EchSource::Learned | EchSource::Cache => (
            "that it sent before",
            "another server may answer at this address now",
        ),
        _ => (
            "that DNS publishes",
            "the record and the address may come from different views of DNS",
        ),
    };
    let shown = shown_instead(source, outer_sni);
    let elsewhere = match proxy {
        Some(proxy) => format!(", or the proxy {proxy} connects to another server"),
        None => String::new(),
    };
    format!(
        "the server at {address} does not hold the key {publisher}, and its certificate \
         {certificate} {public_name}{shown}: {reason}{elsewhere}"
    )
}

/// The outer name, for errors after an ECHConfig that the caller gave: a server may refuse it for
/// its name alone.
pub(super) fn shown_instead(source: EchSource, outer_sni: Option<&str>) -> String {
    match (source, outer_sni) {
        (EchSource::Manual, Some(name)) => format!(" (the hello showed {name} outside)"),
        _ => String::new(),
    }
}

/// The proxy, for errors about what is behind it.
pub(super) fn through(proxy: Option<&str>) -> String {
    match proxy {
        Some(proxy) => format!(" (through proxy {proxy})"),
        None => String::new(),
    }
}

/// The text for an error of the TLS stack.
pub(super) fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => {
            format!("the server sent the alert {alert:?}")
        }
        rustls::Error::InvalidMessage(_) => {
            format!("the server's answer is not TLS: {error}")
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server answered with TLS 1.2, which cannot carry ECH".to_owned(),
        other => other.to_string(),
    }
}
