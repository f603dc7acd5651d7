//! The same answers over HTTP/3 (RFC 8484 over RFC 9114).

use std::net::SocketAddr;

use bytes::{BufMut, Bytes};
use h3::server::{self, RequestResolver};
use http_body_util::{BodyExt, Full};
use quinn::{Endpoint, Incoming};
use tokio::task::JoinSet;

use crate::dns::Authority;
use crate::doh;

/// The protocol's name in TLS (RFC 9114 §3.1).
pub(crate) const ALPN: &[u8] = b"h3";

/// More than the fields of any question.
const MAX_FIELDS: u64 = 16 << 10;

/// Serves until aborted; its connections end with it.
pub(crate) async fn serve(endpoint: Endpoint, authority: Authority) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(incoming, authority.clone()));
    }
}

/// Answers each request by itself. Quinn bounds how many a client may have open.
async fn converse(incoming: Incoming, authority: Authority) {
    let Ok(connection) = incoming.await else {
        return;
    };
    let client = connection.remote_address();
    let quic = h3_quinn::Connection::new(connection);
    let built = server::builder()
        .max_field_section_size(MAX_FIELDS)
        .build(quic)
        .await;
    let Ok(mut http) = built else {
        return;
    };
    let mut running = JoinSet::new();
    // The peer may leave whenever it likes.
    while let Ok(Some(request)) = http.accept().await {
        while running.try_join_next().is_some() {}
        running.spawn(answer(request, client, authority.clone()));
    }
}

/// `None` when the client has gone, or h3 has refused it already.
async fn answer(
    request: RequestResolver<h3_quinn::Connection, Bytes>,
    client: SocketAddr,
    authority: Authority,
) -> Option<()> {
    let (request, mut stream) = request.resolve_request().await.ok()?;
    let mut body = Vec::new();
    // One that is too long is refused for what there is of it.
    while body.len() <= doh::MAX_MESSAGE
        && let Some(piece) = stream.recv_data().await.ok()?
    {
        body.put(piece);
    }
    let request = request.map(|()| Full::<Bytes>::from(body));
    let Ok(response) = doh::answer(request, client, authority).await;
    let (head, body) = response.into_parts();
    let head = http::Response::from_parts(head, ());
    stream.send_response(head).await.ok()?;
    let Ok(body) = body.collect().await;
    stream.send_data(body.to_bytes()).await.ok()?;
    stream.finish().await.ok()
}
