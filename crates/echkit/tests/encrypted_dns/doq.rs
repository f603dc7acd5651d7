//! DNS over QUIC: a stream for each question, and servers that break the protocol.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use echkit::dns::{QueryError, RecordType};
use echkit_test::dns::{self, Script, numbered};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, SendStream, VarInt};

use crate::suite::{EncryptedServer, Habit, Ids, Transport};

/// How the server treats its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manners {
    Good,
    /// Waits for this many questions, and answers the last one first.
    LastFirst(usize),
    /// Closes each connection after this many answers.
    Close(usize),
    /// Gives each question up.
    Reset,
    /// Answers with two messages on a stream.
    Twice,
    /// Ends each stream within the message.
    Short,
    /// Answers with an id that is not zero.
    OtherId,
    /// Sends more than a message can be.
    Huge,
}

pub(crate) struct Doq;

impl Transport for Doq {
    const ALPN: &'static [u8] = b"doq";
    const IDS: Ids = Ids::Zero;

    async fn start(script: Arc<Script>, habit: Habit, alpn: &'static [u8]) -> EncryptedServer {
        let manners = match habit {
            Habit::Good => Manners::Good,
            Habit::WaitsFor(count) => Manners::LastFirst(count),
            Habit::ClosesAfterOne => Manners::Close(1),
            Habit::OnlyCloses => Manners::Close(0),
        };
        start(script, manners, alpn).await
    }
}

async fn start(script: Arc<Script>, manners: Manners, alpn: &[u8]) -> EncryptedServer {
    let (config, tls) = dns::tls(&["dns.test"], alpn);
    let config = QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counter, shared) = (Arc::clone(&connections), Arc::clone(&script));
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let (counter, script) = (Arc::clone(&counter), Arc::clone(&shared));
            tokio::spawn(async move {
                // A client that does not trust us leaves here.
                if let Ok(connection) = incoming.await {
                    counter.fetch_add(1, Ordering::SeqCst);
                    serve(connection, &script, manners).await;
                }
            });
        }
    });
    EncryptedServer {
        uri: format!("quic://dns.test:{}#127.0.0.1", address.port()),
        address,
        connections,
        script,
        tls: Arc::new(tls),
    }
}

async fn serve(connection: Connection, script: &Script, manners: Manners) {
    let mut held: Vec<(SendStream, Vec<u8>)> = Vec::new();
    // A stream that is dropped would end, which is an answer of its own.
    let mut silent = Vec::new();
    for answered in 1.. {
        if manners == Manners::Close(answered - 1) {
            connection.close(VarInt::from_u32(0), b"");
            return;
        }
        let Ok((send, mut recv)) = connection.accept_bi().await else {
            return;
        };
        // The question is all that comes, and its length is right.
        let Ok(frame) = recv.read_to_end(70_000).await else {
            return;
        };
        assert_eq!(
            usize::from(u16::from_be_bytes([frame[0], frame[1]])),
            frame.len() - 2
        );
        held.push((send, frame[2..].to_vec()));
        if matches!(manners, Manners::LastFirst(count) if held.len() < count) {
            continue;
        }
        for (mut send, query) in held.drain(..).rev() {
            let messages = script.answer(&query, true);
            if messages.is_empty() {
                silent.push(send);
                continue;
            }
            for mut message in messages {
                if manners == Manners::OtherId {
                    message[1] = 1;
                }
                let length = u16::try_from(message.len()).unwrap();
                let mut frame = [&length.to_be_bytes()[..], &message].concat();
                match manners {
                    Manners::Reset => {
                        send.reset(VarInt::from_u32(4)).unwrap();
                        continue;
                    }
                    Manners::Twice => frame.extend(frame.clone()),
                    Manners::Short => frame.truncate(frame.len() - 1),
                    Manners::Huge => frame.resize(70_000, 0),
                    _ => {}
                }
                // The client may have seen enough.
                let _ = send.write_all(&frame).await;
                let _ = send.finish();
                let _ = send.stopped().await;
            }
        }
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_is_no_answer() {
    for manners in [
        Manners::Twice,
        Manners::Short,
        Manners::OtherId,
        Manners::Huge,
        Manners::Reset,
    ] {
        let server = start(numbered(1), manners, Doq::ALPN).await;
        let error = server.ask(RecordType::A).await.unwrap_err();
        let expected = match manners {
            Manners::Reset => matches!(error, QueryError::Transport { .. }),
            _ => matches!(error, QueryError::Malformed { .. }),
        };
        assert!(expected, "{manners:?}: {error}");
        assert_eq!(server.connections(), 1, "{manners:?}");
    }
}
