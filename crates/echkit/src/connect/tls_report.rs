//! What a report says about a finished TLS handshake.

use super::stream::TlsOverTcp;
use crate::report::{CertificateReport, TlsReport};

/// Describes the session of a stream.
pub(super) fn tls_report(stream: &TlsOverTcp) -> TlsReport {
    let (io, connection) = stream.get_ref();
    let hellos = io.guard().map_or(0, |guard| guard.hellos().len());
    TlsReport {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            other => format!("{other:?}"),
        },
        cipher_suite: connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown")
            .to_owned(),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name())),
        alpn: connection
            .alpn_protocol()
            .map(|id| id.escape_ascii().to_string()),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        hello_retry: hellos > 1,
        certificate: connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .and_then(|der| CertificateReport::from_der(der)),
    }
}
