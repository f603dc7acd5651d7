//! DNS over TLS (RFC 7858), with the server authenticated by its name (RFC 8310 §8.1).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use echkit_proto::dns::{DnsResponse, EdnsUse, Question, ResponseError};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::client::TlsStream;

use super::link::{AskError, Connection, Dialer};
use super::upstream::Upstream;
use crate::proxy::Wire;

/// The protocol's name in TLS (RFC 7858 §7.1 and the registry of ALPN ids).
const ALPN: &[u8] = b"dot";
/// The most queries queued for the connection; a further one waits.
const QUEUE: usize = 32;

/// Connects to DoT servers.
pub(super) struct Dot {
    tls: Arc<ClientConfig>,
}

impl Dot {
    pub(super) fn new(tls: &ClientConfig) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Self { tls: Arc::new(tls) }
    }
}

impl Dialer for Dot {
    type Connection = Pipe;

    async fn dial(&self, upstream: &Upstream, address: SocketAddr) -> io::Result<Pipe> {
        let tls = upstream.connect(address, &self.tls).await?;
        Ok(Pipe::start(tls))
    }
}

/// A connection on which questions do not wait for each other's answers (RFC 7766 §6.2.1.1), which
/// come in any order (§7).
#[derive(Clone)]
pub(super) struct Pipe {
    queries: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
}

/// Who waits for an answer on a connection.
#[derive(Default)]
struct Waiting {
    by_id: Mutex<HashMap<u16, Waiter>>,
    tickets: AtomicU64,
    answered: AtomicBool,
}

struct Waiter {
    ticket: u64,
    question: Question,
    answer: oneshot::Sender<Result<DnsResponse, ResponseError>>,
}

/// A place among those who wait; given up when dropped.
struct Place<'a> {
    waiting: &'a Waiting,
    id: u16,
    ticket: u64,
}

impl Pipe {
    /// Starts to carry questions and answers, until the last holder of the pipe is gone.
    fn start(tls: TlsStream<Wire>) -> Self {
        let (queries, mut outgoing) = mpsc::channel::<Vec<u8>>(QUEUE);
        let waiting = Arc::new(Waiting::default());
        let shared = Arc::clone(&waiting);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(tls);
            let write = async move {
                while let Some(query) = outgoing.recv().await {
                    writer.write_all(&query).await?;
                    writer.flush().await?;
                }
                writer.shutdown().await
            };
            let read = async {
                loop {
                    let length = reader.read_u16().await?;
                    let mut message = vec![0; usize::from(length)];
                    reader.read_exact(&mut message).await?;
                    shared.deliver(&message);
                }
            };
            let _: io::Result<()> = tokio::select! {
                ended = write => ended,
                ended = read => ended,
            };
            // The queue is closed, so that no query starts to wait after this.
            shared.lock().clear();
        });
        Self { queries, waiting }
    }
}

impl Connection for Pipe {
    fn is_closed(&self) -> bool {
        self.queries.is_closed()
    }

    async fn ask(&self, question: &Question) -> Result<DnsResponse, AskError> {
        let ended = || AskError::Ended {
            answered: self.waiting.answered.load(Ordering::Relaxed),
            error: io::ErrorKind::ConnectionReset.into(),
        };
        let (place, answer) = self.waiting.enter(question);
        let query = question.encode_for_stream(place.id, EdnsUse::Padded);
        self.queries.send(query).await.map_err(|_| ended())?;
        Ok(answer.await.map_err(|_| ended())??)
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Waiter>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id that no other question has. There are far fewer questions than ids.
    fn enter(
        &self,
        question: &Question,
    ) -> (
        Place<'_>,
        oneshot::Receiver<Result<DnsResponse, ResponseError>>,
    ) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let mut by_id = self.lock();
        loop {
            let id = rand::random();
            if let Entry::Vacant(free) = by_id.entry(id) {
                free.insert(Waiter {
                    ticket,
                    question: question.clone(),
                    answer: sender,
                });
                let place = Place {
                    waiting: self,
                    id,
                    ticket,
                };
                return (place, receiver);
            }
        }
    }

    /// Hands a message to its waiting query. One without a waiting query is late, and its asker
    /// has gone.
    fn deliver(&self, message: &[u8]) {
        self.answered.store(true, Ordering::Relaxed);
        let Some(id) = message.first_chunk().map(|id| u16::from_be_bytes(*id)) else {
            return;
        };
        let mut by_id = self.lock();
        let Entry::Occupied(waiter) = by_id.entry(id) else {
            return;
        };
        match DnsResponse::parse(message, &waiter.get().question, id) {
            // To the query that had the id before.
            Err(ResponseError::NotOurs(_)) => {}
            outcome => {
                let _ = waiter.remove().answer.send(outcome);
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut by_id = self.waiting.lock();
        // Once answered, the id may be another's.
        if let Entry::Occupied(waiter) = by_id.entry(self.id)
            && waiter.get().ticket == self.ticket
        {
            waiter.remove();
        }
    }
}
