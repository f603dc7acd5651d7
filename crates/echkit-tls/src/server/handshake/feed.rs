//! Bytes into rustls, records out of it, and the alerts that it leaves to us.

use std::sync::Arc;

use echkit_proto::alert::Alert;
use echkit_proto::hello::ClientHello;
use echkit_proto::tls_record::{
    ALERT, APPLICATION_DATA, MAX_PLAINTEXT, RecordPart, RecordWalker, wrap_handshake,
};
use rustls::{ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::super::interpose::{self, Shared};
use super::error::HandshakeError;

/// A hello as records for rustls.
pub(super) fn inner_records(hello: &ClientHello) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(wrap_handshake(hello.bytes(), MAX_PLAINTEXT))
}

/// What leaves when rustls has failed on a hello. It does so without a word for instance when a
/// message announces too many bytes, or when the certificate's key does not sign. Then the word is
/// ours, and alone: of what rustls wrote nothing has left, and a ServerHello by itself is no answer.
pub(super) fn last_words(error: &HandshakeError, records: Vec<u8>) -> Vec<u8> {
    let HandshakeError::Tls(error) = error else {
        return records;
    };
    let alert = match error {
        // The client has had the last word.
        rustls::Error::AlertReceived(_) => return records,
        rustls::Error::InvalidMessage(_) => Alert::DECODE_ERROR,
        rustls::Error::General(_) | rustls::Error::Other(_) => Alert::INTERNAL_ERROR,
        _ => Alert::HANDSHAKE_FAILURE,
    };
    match has_alert(&records) {
        true => records,
        false => alert.fatal_record().to_vec(),
    }
}

/// Whether an alert is among `records`, or may be behind an encryption.
fn has_alert(mut records: &[u8]) -> bool {
    let mut walker = RecordWalker::default();
    while let Some(part) = walker.take(&mut records) {
        if let RecordPart::Header(header) = part
            && matches!(header.content_type, ALERT | APPLICATION_DATA)
        {
            return true;
        }
    }
    false
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
