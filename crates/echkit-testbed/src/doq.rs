//! The same answers over QUIC (RFC 9250).

use std::net::SocketAddr;

use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use tokio::task::JoinSet;

use crate::dns::Authority;

/// The protocol's name in TLS (RFC 9250 §4.1.1).
pub(crate) const ALPN: &[u8] = b"doq";

/// A message with its length in front is no longer than this.
const MAX_FRAME: usize = 2 + 65535;

/// RFC 9250 §8.4
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(0x2);

/// Serves until aborted; its connections end with it.
pub(crate) async fn serve(endpoint: Endpoint, authority: Authority) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        let authority = authority.clone();
        connections.spawn(async move {
            if let Ok(connection) = incoming.await {
                converse(connection, authority).await;
            }
        });
    }
}

/// Answers each stream by itself. Quinn bounds how many a client may have open.
async fn converse(connection: Connection, authority: Authority) {
    let client = connection.remote_address();
    let mut running = JoinSet::new();
    // The peer may leave whenever it likes.
    while let Ok((send, recv)) = connection.accept_bi().await {
        while running.try_join_next().is_some() {}
        let (connection, authority) = (connection.clone(), authority.clone());
        running.spawn(async move {
            if answer(send, recv, client, &authority).await.is_none() {
                connection.close(DOQ_PROTOCOL_ERROR, b"");
            }
        });
    }
}

/// `None` when the question is none (RFC 9250 §4.3.3).
async fn answer(
    mut send: SendStream,
    mut recv: RecvStream,
    client: SocketAddr,
    authority: &Authority,
) -> Option<()> {
    let frame = recv.read_to_end(MAX_FRAME).await.ok()?;
    let (length, query) = frame.split_first_chunk()?;
    // §4.2.1: the id is zero.
    let is_query =
        usize::from(u16::from_be_bytes(*length)) == query.len() && query.starts_with(&[0, 0]);
    if !is_query {
        return None;
    }
    let answer = authority.answer(query.to_vec(), client).await.ok()?;
    if let Some(answer) = answer {
        let length = u16::try_from(answer.len()).ok()?;
        // A client that has gone needs no answer.
        let _ = send.write_all(&length.to_be_bytes()).await;
        let _ = send.write_all(&answer).await;
        let _ = send.finish();
        let _ = send.stopped().await;
    }
    Some(())
}
