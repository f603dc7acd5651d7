//! Records the bytes of connections as they are sent and received, below TLS.
//!
//! A [`WireRecorder`] is handed to a client, a connector or a server. It keeps each connection's
//! bytes in the order in which the operating system took or gave them, and the secrets of its TLS
//! connections as lines of a key log (RFC 9850). Without one nothing is copied.
//!
//! What it keeps opens every recorded connection: treat it as a secret.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::KeyLog;
use zeroize::Zeroizing;

/// Lines that a connection adds to a key log at most: five of TLS 1.3, two of ECH, one of early
/// data, and as many again for those of a connection that replaces it.
const LINES_PER_CONNECTION: usize = 16;

/// How much a recorder keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderLimits {
    /// Bytes of each direction of a connection.
    pub bytes: usize,
    /// Connections; the oldest are forgotten first.
    pub connections: usize,
}

impl Default for RecorderLimits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            connections: 1024,
        }
    }
}

impl RecorderLimits {
    /// The same with another limit for each direction of a connection.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// The same with another number of connections.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }
}

/// Records connections. Clones share what is recorded.
///
/// ```no_run
/// use echkit::Client;
/// use echkit::wire::WireRecorder;
///
/// # async fn example() -> Result<(), echkit::Error> {
/// let recorder = WireRecorder::default();
/// let client = Client::builder().record(recorder.clone()).build()?;
/// client.get("https://nominal.ech.test/").send().await?.bytes().await?;
/// for connection in recorder.connections() {
///     println!("{} bytes to {}", connection.sent().len(), connection.peer);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct WireRecorder(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    limits: RecorderLimits,
    connections: Mutex<Vec<ConnectionTap>>,
    forgotten: AtomicUsize,
    key_log: Mutex<Vec<Zeroizing<String>>>,
}

impl WireRecorder {
    /// A recorder with other limits.
    pub fn with_limits(limits: RecorderLimits) -> Self {
        Self(Arc::new(Recorded {
            limits,
            ..Recorded::default()
        }))
    }

    /// Begins to record a connection. `label` says what it is for, as a reader of the record
    /// wants to know it.
    pub fn begin(
        &self,
        label: impl Into<String>,
        local: Option<SocketAddr>,
        peer: SocketAddr,
    ) -> ConnectionTap {
        let tap = ConnectionTap {
            bytes: self.0.limits.bytes,
            begun: Instant::now(),
            connection: Arc::new(Mutex::new(RecordedConnection {
                label: label.into(),
                local,
                peer,
                begun: SystemTime::now(),
                chunks: Vec::new(),
                sent_lost: 0,
                received_lost: 0,
            })),
        };
        let mut connections = lock(&self.0.connections);
        if connections.len() >= self.0.limits.connections {
            connections.remove(0);
            self.0.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        connections.push(tap.clone());
        tap
    }

    /// The connections up to now, oldest first.
    pub fn connections(&self) -> Vec<RecordedConnection> {
        let connections = lock(&self.0.connections);
        connections.iter().map(ConnectionTap::recorded).collect()
    }

    /// How many connections were forgotten, for want of room.
    pub fn forgotten(&self) -> usize {
        self.0.forgotten.load(Ordering::Relaxed)
    }

    /// The secrets of the connections, as the text of a key log (RFC 9850).
    pub fn key_log(&self) -> Zeroizing<String> {
        let lines = lock(&self.0.key_log);
        let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|l| l.len()).sum()));
        lines.iter().for_each(|line| text.push_str(line));
        text
    }

    /// Forgets what was recorded. Connections that are still open are not recorded any more.
    pub fn clear(&self) {
        lock(&self.0.connections).clear();
        self.0.forgotten.store(0, Ordering::Relaxed);
        lock(&self.0.key_log).clear();
    }
}

impl KeyLog for WireRecorder {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let len = label.len() + 2 * (client_random.len() + secret.len()) + 3;
        let mut line = Zeroizing::new(String::with_capacity(len));
        line.push_str(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            for byte in bytes {
                // Writing to a string cannot fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        line.push('\n');
        let mut lines = lock(&self.0.key_log);
        if lines.len()
            >= self
                .0
                .limits
                .connections
                .saturating_mul(LINES_PER_CONNECTION)
        {
            lines.remove(0);
        }
        lines.push(line);
    }
}

/// Shows how much was recorded, and nothing of it.
impl fmt::Debug for WireRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireRecorder")
            .field("connections", &lock(&self.0.connections).len())
            .finish_non_exhaustive()
    }
}

/// Where the bytes of one connection are recorded. Clones record the same connection.
#[derive(Clone)]
pub struct ConnectionTap {
    bytes: usize,
    begun: Instant,
    connection: Arc<Mutex<RecordedConnection>>,
}

impl ConnectionTap {
    /// Records bytes that the operating system has taken. None is the end of the stream.
    pub fn sent(&self, bytes: &[u8]) {
        self.record(WireDirection::Sent, bytes);
    }

    /// Records bytes that were received. None is the end of the stream.
    pub fn received(&self, bytes: &[u8]) {
        self.record(WireDirection::Received, bytes);
    }

    /// What was recorded up to now.
    pub fn recorded(&self) -> RecordedConnection {
        lock(&self.connection).clone()
    }

    fn record(&self, direction: WireDirection, bytes: &[u8]) {
        let mut connection = lock(&self.connection);
        let room = self.bytes.saturating_sub(connection.len(direction));
        let kept = &bytes[..bytes.len().min(room)];
        let lost = bytes.len() - kept.len();
        match direction {
            WireDirection::Sent => connection.sent_lost += lost,
            WireDirection::Received => connection.received_lost += lost,
        }
        // Bytes without room are no end of the stream, and an end comes once.
        let ended = connection.has_ended(direction);
        if ended || kept.is_empty() != bytes.is_empty() {
            return;
        }
        connection.chunks.push(WireChunk {
            at: self.begun.elapsed(),
            direction,
            bytes: kept.to_vec(),
        });
    }
}

impl fmt::Debug for ConnectionTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTap").finish_non_exhaustive()
    }
}

/// The bytes of one connection.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedConnection {
    /// What it was for.
    pub label: String,
    /// Our address, where it is known.
    pub local: Option<SocketAddr>,
    /// The peer's address; behind a proxy that which the proxy was asked to connect to.
    pub peer: SocketAddr,
    /// When it began.
    pub begun: SystemTime,
    /// What was sent and received, in order.
    pub chunks: Vec<WireChunk>,
    /// Bytes that were sent and not kept, for want of room.
    pub sent_lost: usize,
    /// Bytes that were received and not kept, for want of room.
    pub received_lost: usize,
}

impl RecordedConnection {
    /// All bytes that were sent.
    pub fn sent(&self) -> Vec<u8> {
        self.joined(WireDirection::Sent)
    }

    /// All bytes that were received.
    pub fn received(&self) -> Vec<u8> {
        self.joined(WireDirection::Received)
    }

    /// Whether the end of the stream was seen.
    pub fn has_ended(&self, direction: WireDirection) -> bool {
        let mut chunks = self.chunks.iter().rev();
        let last = chunks.find(|chunk| chunk.direction == direction);
        last.is_some_and(|chunk| chunk.bytes.is_empty())
    }

    /// The connection as its peer has it: what a server recorded, from the client's side. As it is
    /// where our address is not known.
    #[must_use]
    pub fn as_peer(mut self) -> Self {
        let Some(local) = self.local else {
            return self;
        };
        self.local = Some(self.peer);
        self.peer = local;
        std::mem::swap(&mut self.sent_lost, &mut self.received_lost);
        for chunk in &mut self.chunks {
            chunk.direction = match chunk.direction {
                WireDirection::Sent => WireDirection::Received,
                WireDirection::Received => WireDirection::Sent,
            };
        }
        self
    }

    fn joined(&self, direction: WireDirection) -> Vec<u8> {
        let chunks = self.chunks.iter().filter(|c| c.direction == direction);
        chunks.flat_map(|chunk| &chunk.bytes).copied().collect()
    }

    fn len(&self, direction: WireDirection) -> usize {
        let chunks = self.chunks.iter().filter(|c| c.direction == direction);
        chunks.map(|chunk| chunk.bytes.len()).sum()
    }
}

/// Shows no bytes: they may hold what a proxy or a server was told.
impl fmt::Debug for RecordedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedConnection")
            .field("peer", &self.peer)
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

/// Bytes that went one way at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WireChunk {
    /// When, counted from the connection's beginning.
    pub at: Duration,
    /// Which way.
    pub direction: WireDirection,
    /// The bytes; none is the end of the stream.
    pub bytes: Vec<u8>,
}

/// Which way bytes went, seen from the side that records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a connection has two directions")]
pub enum WireDirection {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can leave the data half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        ([127, 0, 0, 1], 443).into()
    }

    #[test]
    fn keeps_both_directions_in_order_and_each_end_once() {
        let recorder = WireRecorder::default();
        let tap = recorder.begin("site", None, peer());
        tap.sent(b"one");
        tap.received(b"two");
        tap.sent(b"three");
        tap.received(b"");
        tap.received(b"");
        let recorded = recorder.connections().pop().unwrap();
        let seen: Vec<_> = recorded
            .chunks
            .iter()
            .map(|chunk| (chunk.direction, chunk.bytes.as_slice()))
            .collect();
        use WireDirection::{Received, Sent};
        let expected: [(_, &[u8]); 4] = [
            (Sent, b"one"),
            (Received, b"two"),
            (Sent, b"three"),
            (Received, b""),
        ];
        assert_eq!(seen, expected);
        assert_eq!(
            (recorded.sent(), recorded.received()),
            (b"onethree".to_vec(), b"two".to_vec())
        );
        assert_eq!((recorded.sent_lost, recorded.received_lost), (0, 0));
        assert!(recorded.has_ended(Received) && !recorded.has_ended(Sent));
    }

    #[test]
    fn the_peer_has_sent_what_we_received() {
        let limits = RecorderLimits::default().with_bytes(3);
        let recorder = WireRecorder::with_limits(limits);
        let local: SocketAddr = ([127, 0, 0, 2], 50000).into();
        let tap = recorder.begin("site", Some(local), peer());
        tap.received(b"one");
        tap.sent(b"four");
        let theirs = recorder.connections().pop().unwrap().as_peer();
        assert_eq!((theirs.peer, theirs.local), (local, Some(peer())));
        assert_eq!(
            (theirs.sent(), theirs.received()),
            (b"one".to_vec(), b"fou".to_vec())
        );
        assert_eq!((theirs.sent_lost, theirs.received_lost), (0, 1));
    }

    #[test]
    fn is_bounded_in_bytes_connections_and_lines() {
        let limits = RecorderLimits::default().with_bytes(4).with_connections(2);
        let recorder = WireRecorder::with_limits(limits);
        for label in ["first", "second", "third"] {
            let tap = recorder.begin(label, None, peer());
            tap.sent(b"12");
            tap.sent(b"345");
            tap.sent(b"6");
            tap.received(b"1234");
        }
        let recorded = recorder.connections();
        assert_eq!((recorded.len(), recorder.forgotten()), (2, 1));
        assert_eq!(recorded[0].label, "second");
        assert_eq!(recorded[1].sent(), b"1234");
        assert_eq!(recorded[1].chunks.len(), 3);
        assert_eq!((recorded[1].sent_lost, recorded[1].received_lost), (2, 0));

        for number in 0..=2 * LINES_PER_CONNECTION {
            recorder.log("LABEL", &[number as u8], &[0xab]);
        }
        let log = recorder.key_log();
        assert_eq!(log.lines().count(), 2 * LINES_PER_CONNECTION);
        assert_eq!(log.lines().next(), Some("LABEL 01 ab"));
        assert!(!format!("{recorder:?} {:?}", recorder.connections()).contains("ab"));
        recorder.clear();
        assert!(recorder.connections().is_empty() && recorder.key_log().is_empty());
        assert_eq!(recorder.forgotten(), 0);
    }
}
