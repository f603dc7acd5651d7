//! DNS over HTTP/3: a request for each question, and servers that break the protocol or leave.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use data_encoding::BASE64URL_NOPAD;
use echkit::dns::{QueryError, RecordType, Resolver, ResolverError, ResolverOptions};
use echkit_test::dns::{self, Script, ask_all, numbered};
use h3::error::Code;
use h3::server::{RequestResolver, RequestStream};
use http::{Method, Request, Response};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, VarInt};
use tokio::sync::Semaphore;

use crate::suite::{EncryptedServer, Habit, Ids, Transport, shares_one_connection};

/// `H3_NO_ERROR` (RFC 9114 §8.1)
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// How the server treats its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manners {
    Good,
    /// Waits for this many questions, and answers the last one first.
    LastFirst(usize),
    /// Closes each connection at the question after this many answers.
    Close(usize),
    /// Says after an answer that the connection takes no more.
    Farewell,
    /// Rejects the first question of all.
    RejectFirst,
    /// Gives each question up.
    Reset,
    /// Ends each stream without a response.
    Nothing,
    /// Sends more than a message can be.
    Huge,
    /// Tells how long a cache has kept the answer.
    Aged,
    WrongType,
    Status(u16),
    /// Answers each question with these octets on its stream.
    Raw(&'static [u8]),
}

type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

pub(crate) struct Doh3;

impl Transport for Doh3 {
    const ALPN: &'static [u8] = b"h3";
    const IDS: Ids = Ids::Zero;

    async fn start(script: Arc<Script>, habit: Habit, alpn: &'static [u8]) -> EncryptedServer {
        let manners = match habit {
            Habit::Good => Manners::Good,
            Habit::WaitsFor(count) => Manners::LastFirst(count),
            Habit::ClosesAfterOne => Manners::Farewell,
            Habit::OnlyCloses => Manners::Close(0),
        };
        start_with(script, manners, alpn).await.0
    }
}

async fn start(script: Arc<Script>, manners: Manners) -> EncryptedServer {
    start_with(script, manners, Doh3::ALPN).await.0
}

/// The server, and what is told of each connection that has ended.
async fn start_with(
    script: Arc<Script>,
    manners: Manners,
    alpn: &[u8],
) -> (EncryptedServer, Arc<Semaphore>) {
    let (config, tls) = dns::tls(&["dns.test"], alpn);
    let config = QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counter, shared) = (Arc::clone(&connections), Arc::clone(&script));
    let closed = Arc::new(Semaphore::new(0));
    let closing = Arc::clone(&closed);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let (counter, script) = (Arc::clone(&counter), Arc::clone(&shared));
            let closing = Arc::clone(&closing);
            tokio::spawn(async move {
                // A client that does not trust us leaves here.
                if let Ok(connection) = incoming.await {
                    let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                    match manners {
                        Manners::Raw(octets) => serve_raw(connection, octets).await,
                        _ => serve(connection, &script, manners, number).await,
                    }
                    closing.add_permits(1);
                }
            });
        }
    });
    let server = EncryptedServer {
        uri: format!("h3://dns.test:{}/dns-query#127.0.0.1", address.port()),
        address,
        connections,
        script,
        tls: Arc::new(tls),
    };
    (server, closed)
}

async fn error_of(server: &EncryptedServer) -> QueryError {
    server.ask(RecordType::A).await.unwrap_err()
}

async fn serve(connection: Connection, script: &Script, manners: Manners, number: usize) {
    let quic = h3_quinn::Connection::new(connection.clone());
    let mut http = h3::server::builder().build(quic).await.unwrap();
    let mut held: Vec<(Stream, Bytes)> = Vec::new();
    // A stream that is dropped would end, which is an answer of its own.
    let mut silent = Vec::new();
    for answered in 0.. {
        let Ok(Some(request)) = http.accept().await else {
            return;
        };
        if manners == Manners::Close(answered) {
            connection.close(NO_ERROR, b"");
            return;
        }
        let Some((mut stream, query)) = question(request).await else {
            return;
        };
        if manners == Manners::RejectFirst && number == 1 {
            stream.stop_stream(Code::H3_REQUEST_REJECTED);
            continue;
        }
        held.push((stream, query));
        if matches!(manners, Manners::LastFirst(count) if held.len() < count) {
            continue;
        }
        for (mut stream, query) in held.drain(..).rev() {
            match script.answer(&query, true).pop() {
                None => silent.push(stream),
                Some(message) => {
                    // The client may have seen enough.
                    let _ = respond(&mut stream, message, manners).await;
                }
            }
        }
        if manners == Manners::Farewell {
            http.shutdown(0).await.unwrap();
            // Ends with the client: to close at once would drop the answer that is on its way.
            while connection.close_reason().is_none() {
                // What else was asked is rejected in here (RFC 9114 §5.2).
                let _ = http.accept().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return;
        }
    }
}

/// The question is all that comes, and it is asked as RFC 8484 §4.1 says.
async fn question(
    request: RequestResolver<h3_quinn::Connection, Bytes>,
) -> Option<(Stream, Bytes)> {
    let (request, mut stream): (Request<()>, Stream) = request.resolve_request().await.ok()?;
    assert_eq!(request.uri().scheme_str(), Some("https"));
    assert_eq!(request.uri().host(), Some("dns.test"));
    assert_eq!(request.uri().path(), "/dns-query");
    assert_eq!(request.headers()["accept"], "application/dns-message");
    if let Some(query) = request.uri().query() {
        assert_eq!(request.method(), Method::GET);
        assert!(stream.recv_data().await.ok()?.is_none(), "no body");
        let dns = query.strip_prefix("dns=").unwrap();
        let query = BASE64URL_NOPAD.decode(dns.as_bytes()).unwrap();
        return Some((stream, query.into()));
    }
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.headers()["content-type"], "application/dns-message");
    let mut query = Vec::new();
    while let Some(piece) = stream.recv_data().await.ok()? {
        query.put(piece);
    }
    let length = query.len().to_string();
    assert_eq!(request.headers()["content-length"], length.as_str());
    Some((stream, query.into()))
}

async fn respond(
    stream: &mut Stream,
    message: Vec<u8>,
    manners: Manners,
) -> Result<(), h3::error::StreamError> {
    let mut response = Response::builder();
    let mut media_type = "application/dns-message";
    let mut body = Bytes::from(message);
    match manners {
        Manners::Reset => {
            stream.stop_stream(Code::H3_INTERNAL_ERROR);
            return Ok(());
        }
        Manners::Nothing => return stream.finish().await,
        Manners::Huge => body = vec![0; 70_000].into(),
        Manners::Aged => response = response.header("age", "100"),
        Manners::WrongType => media_type = "text/html",
        Manners::Status(status) => response = response.status(status),
        _ => {}
    }
    let response = response
        .header("content-type", media_type)
        .body(())
        .unwrap();
    stream.send_response(response).await?;
    // In pieces, so that the client has to put them together.
    let rest = body.split_off(body.len() / 2);
    stream.send_data(body).await?;
    stream.send_data(rest).await?;
    stream.finish().await
}

async fn serve_raw(connection: Connection, octets: &[u8]) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let _ = recv.read_to_end(70_000).await;
        // The client may have seen enough.
        let _ = send.write_all(octets).await;
        let _ = send.finish();
    }
}

#[tokio::test]
async fn a_closed_http3_connection_is_replaced() {
    let server = start(numbered(1), Manners::Close(1)).await;
    let resolver = server.resolver();
    for _ in 0..3 {
        ask_all(&resolver, 1).await;
        resolver.clear_cache();
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_resolver_that_goes_closes_its_connection() {
    let (server, closed) = start_with(numbered(1), Manners::Good, Doh3::ALPN).await;
    let resolver = server.resolver();
    ask_all(&resolver, 1).await;
    assert_eq!(closed.available_permits(), 0);
    drop(resolver);
    let _closed = closed.acquire().await.unwrap();
}

#[tokio::test]
async fn after_a_farewell_another_connection_is_asked() {
    let server = start(numbered(1), Manners::Farewell).await;
    let resolver = server.resolver();
    for _ in 0..20 {
        ask_all(&resolver, 1).await;
        resolver.clear_cache();
    }
    assert!(server.connections() > 1);
}

#[tokio::test]
async fn a_rejected_request_is_asked_again_elsewhere() {
    let server = start(numbered(1), Manners::RejectFirst).await;
    ask_all(&server.resolver(), 1).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_is_no_answer_over_http3_is_told() {
    for (manners, says) in [
        (Manners::Huge, "too long"),
        (Manners::WrongType, "media type"),
        (Manners::Status(500), "HTTP 500"),
        (Manners::Status(404), "HTTP 404"),
        (Manners::Reset, "H3_INTERNAL_ERROR"),
    ] {
        let server = start(numbered(1), manners).await;
        let error = error_of(&server).await;
        let expected = match manners {
            Manners::Huge | Manners::WrongType => matches!(error, QueryError::Malformed { .. }),
            _ => matches!(error, QueryError::Transport { .. }),
        };
        assert!(expected, "{manners:?}: {error}");
        assert!(told(&error).contains(says), "{manners:?}: {}", told(&error));
        assert_eq!(server.connections(), 1, "{manners:?}");
    }
}

/// An error with what caused it.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", told(source)),
        None => error.to_string(),
    }
}

/// A frame (RFC 9114 §7.1).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    assert!(length < 0x4000);
    let mut frame = vec![kind];
    frame.extend((0x4000 | length).to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// A field section without dynamic table (RFC 9204 §4.5.1), with `:status` 200 and 103.
const OK: &[u8] = &[0, 0, 0xd9];
const EARLY_HINTS: &[u8] = &[0, 0, 0xd8];
/// `x: y` alone.
const NO_STATUS: &[u8] = &[0, 0, 0x21, b'x', 1, b'y'];

/// `OK` and many times `x: y`, each of which counts for 34 octets (RFC 9114 §4.2.2).
fn many_fields() -> Vec<u8> {
    [OK.to_vec(), NO_STATUS[2..].repeat(500)].concat()
}

#[tokio::test]
async fn fields_that_cannot_be_are_no_answer() {
    let interim = frame(HEADERS, EARLY_HINTS);
    for (octets, says) in [
        (frame(HEADERS, NO_STATUS), "fields are malformed"),
        (frame(HEADERS, &many_fields()), "fields are too long"),
        (frame(HEADERS, OK), "media type"),
        (
            [&interim[..], &frame(HEADERS, NO_STATUS)].concat(),
            "HTTP 103",
        ),
        (
            [&interim[..], &frame(HEADERS, &many_fields())].concat(),
            "HTTP 103",
        ),
    ] {
        let server = start(numbered(1), Manners::Raw(octets.leak())).await;
        let error = told(&error_of(&server).await);
        assert!(error.contains(says), "{says}: {error}");
        assert_eq!(server.connections(), 1, "{says}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_http3_is_given_up() {
    let mut cut = frame(HEADERS, OK);
    cut.pop();
    for (octets, says) in [
        (frame(DATA, OK), "H3_FRAME_UNEXPECTED"),
        (frame(HEADERS, &[0, 0, 0x80]), "QPACK_DECOMPRESSION_FAILED"),
        (cut, "H3_FRAME_ERROR"),
    ] {
        let server = start(numbered(1), Manners::Raw(octets.leak())).await;
        let error = error_of(&server).await;
        assert!(matches!(error, QueryError::Transport { .. }), "{error}");
        assert!(told(&error).contains(says), "{says}: {}", told(&error));
        assert_eq!(server.connections(), 3, "{says}");
    }
    let server = start(numbered(1), Manners::Nothing).await;
    let error = error_of(&server).await;
    assert!(matches!(error, QueryError::Transport { .. }), "{error}");
}

#[tokio::test]
async fn what_a_cache_has_kept_has_aged_over_http3() {
    let server = start(numbered(1), Manners::Aged).await;
    let name = "1.test".parse().unwrap();
    let resolver = server.resolver();
    let answer = resolver.query(&name, RecordType::A).await.unwrap();
    let left = u64::from(dns::TTL) - 100;
    assert_eq!(answer.ttl, Duration::from_secs(left));
}

#[test]
fn its_uri_needs_tls_and_addresses_that_are_some() {
    let uri = "h3://dns.test/dns-query#127.0.0.1";
    assert!(Resolver::is_encrypted_uri(uri));
    let error = Resolver::from_uri(uri, &ResolverOptions::default()).unwrap_err();
    assert_eq!(error, ResolverError::NoTls(uri.to_owned()));
    let (_, tls) = dns::tls(&["dns.test"], b"h3");
    let options = ResolverOptions::default().with_tls(Arc::new(tls));
    assert!(Resolver::from_uri(uri, &options).unwrap().is_protected());
    let error = Resolver::from_uri("h3://dns.test/#nowhere", &options).unwrap_err();
    assert!(error.to_string().contains("\"nowhere\""), "{error}");
}

#[tokio::test]
async fn a_template_with_a_variable_is_asked_by_get() {
    let mut server = start(numbered(2), Manners::Good).await;
    server.uri = server.uri.replace("/dns-query#", "/dns-query{?dns}#");
    shares_one_connection(&server, 2).await;
}
