//! Bytes into rustls, records out of it, and the alerts that it leaves to us.

use std::sync::Arc;

use echkit_proto::hello::ClientHello;
use echkit_proto::hello::record::{ALERT, MAX_PLAINTEXT, wrap_handshake};
use rustls::{AlertDescription, ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::super::interpose::{self, Shared};
use super::error::HandshakeError;

/// A hello as records for rustls.
pub(super) fn inner_records(hello: &ClientHello) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(wrap_handshake(hello.bytes(), MAX_PLAINTEXT))
}

/// A fatal alert in the plain.
pub(super) fn alert_record(alert: AlertDescription) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, 2, alert.into()]
}

/// rustls ends a few handshakes without a word, for instance when a handshake message announces
/// too many bytes. Before there are keys, the word is ours.
pub(super) fn missing_alert(conn: &ServerConnection, error: &HandshakeError) -> Option<[u8; 7]> {
    let HandshakeError::Tls(error) = error else {
        return None;
    };
    if conn.negotiated_cipher_suite().is_some() {
        return None;
    }
    match error {
        // The client has had the last word.
        rustls::Error::AlertReceived(_) => None,
        rustls::Error::InvalidMessage(_) => Some(alert_record(AlertDescription::DecodeError)),
        _ => Some(alert_record(AlertDescription::HandshakeFailure)),
    }
}

pub(super) fn connection(config: &Arc<ServerConfig>) -> Result<ServerConnection, HandshakeError> {
    ServerConnection::new(config.clone()).map_err(HandshakeError::Tls)
}

/// Gives rustls all of `bytes`. (An empty slice would be the end of the stream.)
pub(super) fn feed(
    conn: &mut ServerConnection,
    shared: Option<&Arc<Shared>>,
    mut bytes: &[u8],
) -> Result<(), HandshakeError> {
    while !bytes.is_empty() {
        match conn.read_tls(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(HandshakeError::Buffer(error.to_string())),
        }
        interpose::enter(shared, || conn.process_new_packets()).map_err(HandshakeError::Tls)?;
    }
    Ok(())
}

pub(super) fn drain(
    conn: &mut ServerConnection,
    output: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    while conn.wants_write() {
        conn.write_tls(output)
            .map_err(|error| HandshakeError::Buffer(error.to_string()))?;
    }
    Ok(())
}
