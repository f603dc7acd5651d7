//! ClientHellos in what a client sent.

use echkit_proto::hello::{ClientHello, HelloReader};

/// The ClientHellos at the beginning of a connection: one, or two around a HelloRetryRequest.
pub fn client_hellos(mut sent: &[u8]) -> Vec<ClientHello> {
    const CHANGE_CIPHER_SPEC: &[u8] = &[0x14, 3, 3, 0, 1, 1];
    let mut hellos = Vec::new();
    while let Ok((taken, Some(hello))) = HelloReader::default().read(sent) {
        hellos.push(ClientHello::parse(hello).unwrap());
        sent = &sent[taken..];
        sent = sent.strip_prefix(CHANGE_CIPHER_SPEC).unwrap_or(sent);
    }
    hellos
}
