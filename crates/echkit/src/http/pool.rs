//! Connections that wait for their next request.
//!
//! A connection belongs to an origin and to what was wanted of ECH when it was made: one made
//! without ECH is never used where ECH is wanted, nor the other way round. A host's name never
//! decides: connections are not shared between origins (RFC 9113 §9.1.1 allows it; it would tie
//! visits together).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::body::Outgoing;
use super::gate::Gate;
use super::report_recorder::ReportRecorder;
use crate::origin::Origin;
use crate::policy::EchMode;
use crate::proxy::Proxy;

/// Connections over HTTP/1.1 that wait for one origin, at most, unless said otherwise.
pub(super) const DEFAULT_IDLE_PER_ORIGIN: usize = 6;

/// Connections that are kept in all, at most; the one that waits longest goes first.
const MAX_KEPT: usize = 128;

/// How long the rest of a request's body may take once its response has ended, where connections are
/// not kept.
const UPLOAD_LIMIT: Duration = Duration::from_secs(60);

/// The most origins whose gates are kept while no request waits at them.
const MAX_GATES: usize = 128;

/// What a connection may be used for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// As it was asked for: `http` where DNS has upgraded it.
    pub(super) origin: Origin,
    pub(super) ech: EchMode,
    /// Whether an ECHConfigList given by the caller was meant for it.
    pub(super) manual: bool,
}

/// A connection that takes a request.
pub(super) struct Live {
    pub(super) channel: Channel,
    /// The origin that it leads to; `https` where `http` was upgraded.
    pub(super) origin: Origin,
    /// The HTTP proxy that it leads to, where requests are in absolute-form (RFC 9112 §3.2.2).
    pub(super) forward: Option<Proxy>,
    /// The report about the connection.
    pub(super) recorder: Arc<ReportRecorder>,
}

/// How requests get into a connection.
pub(super) enum Channel {
    /// The second value ends the connection.
    Http1(http1::SendRequest<Outgoing>, AbortHandle),
    /// The second value counts who uses it.
    Http2(http2::SendRequest<Outgoing>, Arc<()>),
}

impl Channel {
    fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender, _) => sender.is_ready() && !sender.is_closed(),
            Self::Http2(sender, _) => !sender.is_closed(),
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Http1(..) => true,
            Self::Http2(_, users) => Arc::strong_count(users) == 1,
        }
    }
}

/// The connections of a client.
pub(super) struct Pool {
    /// How long one is kept without a request; `None` keeps none.
    keep: Option<Duration>,
    /// How many over HTTP/1.1 wait for one origin.
    idle_per_origin: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    table: HashMap<Key, Vec<Slot>>,
    gates: HashMap<Key, Arc<Gate>>,
    /// Closes what has waited too long, as long as there is something.
    sweeper: Option<JoinHandle<()>>,
}

struct Slot {
    live: Live,
    used: Instant,
}

impl Pool {
    pub(super) fn new(keep: Option<Duration>, idle_per_origin: usize) -> Arc<Self> {
        Arc::new(Self {
            keep,
            idle_per_origin: idle_per_origin.clamp(1, MAX_KEPT),
            kept: Mutex::default(),
        })
    }

    /// A connection that may be used for `key`. One over HTTP/2 stays for others too.
    pub(super) fn take(&self, key: &Key) -> Option<Live> {
        let keep = self.keep?;
        let mut kept = self.lock();
        let slots = kept.table.get_mut(key)?;
        slots.retain(|slot| {
            let stale = slot.live.channel.is_idle() && slot.used.elapsed() >= keep;
            slot.live.channel.is_open() && !stale
        });
        // The one used last is the least likely to have been closed.
        let slot = slots.last_mut()?;
        match slot.live.share() {
            Some(shared) => {
                slot.used = Instant::now();
                Some(shared)
            }
            None => slots.pop().map(|slot| slot.live),
        }
    }

    /// A connection over HTTP/2 that may be used for `key`.
    pub(super) fn take_http2(&self, key: &Key) -> Option<Live> {
        let mut kept = self.lock();
        let slots = kept.table.get_mut(key)?;
        slots.retain(|slot| slot.live.channel.is_open());
        let shared = |slot: &mut Slot| {
            let shared = slot.live.share()?;
            slot.used = Instant::now();
            Some(shared)
        };
        slots.iter_mut().rev().find_map(shared)
    }

    /// Does not hand out the connection of `recorder` again: it takes no more requests.
    pub(super) fn forget(&self, key: &Key, recorder: &Arc<ReportRecorder>) {
        if let Some(slots) = self.lock().table.get_mut(key) {
            slots.retain(|slot| !Arc::ptr_eq(&slot.live.recorder, recorder));
        }
    }

    /// Who may connect for `key`; `None` where each request has a connection of its own.
    pub(super) fn gate(&self, key: &Key) -> Option<Arc<Gate>> {
        self.keep?;
        let gates = &mut self.lock().gates;
        if gates.len() >= MAX_GATES && !gates.contains_key(key) {
            // Forgetting one costs the next requests to that origin one connection's time.
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        Some(Arc::clone(gates.entry(key.clone()).or_default()))
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(self: &Arc<Self>, key: Key, live: Live) {
        let Some(keep) = self.keep else {
            return;
        };
        if !live.channel.is_open() {
            return;
        }
        let mut kept = self.lock();
        let slots = kept.table.entry(key).or_default();
        if matches!(live.channel, Channel::Http1(..)) && slots.len() >= self.idle_per_origin {
            slots.remove(0);
        }
        let used = Instant::now();
        slots.push(Slot { live, used });
        kept.bound();
        if kept.sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
            let pool = Arc::downgrade(self);
            kept.sweeper = Some(tokio::spawn(sweep(pool, keep)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn bound(&mut self) {
        while self.table.values().map(Vec::len).sum::<usize>() > MAX_KEPT {
            let oldest = self
                .table
                .iter()
                .filter_map(|(key, slots)| Some((slots.first()?.used, key)))
                .min_by_key(|(used, _)| *used)
                .map(|(_, key)| key.clone());
            let Some(key) = oldest else {
                return;
            };
            if let Some(slots) = self.table.get_mut(&key) {
                slots.remove(0);
            }
            self.table.retain(|_, slots| !slots.is_empty());
        }
    }
}

/// Closes connections that have waited for `keep`, until there are none.
async fn sweep(pool: Weak<Pool>, keep: Duration) {
    loop {
        tokio::time::sleep(keep / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut kept = pool.lock();
        for slots in kept.table.values_mut() {
            for slot in &mut *slots {
                if !slot.live.channel.is_idle() {
                    slot.used = Instant::now();
                }
            }
            slots.retain(|slot| slot.live.channel.is_open() && slot.used.elapsed() < keep);
        }
        kept.table.retain(|_, slots| !slots.is_empty());
        if kept.table.is_empty() {
            kept.sweeper = None;
            return;
        }
    }
}

/// The use of a connection, from a request to the end of its response.
pub(super) struct Lease {
    pub(super) pool: Weak<Pool>,
    pub(super) key: Key,
    pub(super) live: Live,
}

impl Lease {
    /// The response has ended: another request may follow. Dropped without this, a connection
    /// over HTTP/1.1 is closed, since a response is still on it.
    pub(super) fn give_back(self) {
        let Self {
            pool,
            key,
            mut live,
        } = self;
        let Channel::Http1(..) = &live.channel else {
            // It never left the pool.
            return;
        };
        let limit = pool.upgrade().and_then(|pool| pool.keep);
        let limit = limit.unwrap_or(UPLOAD_LIMIT);
        tokio::spawn(async move {
            // Until the request's body is out, and unless the server wants no more.
            let Channel::Http1(sender, connection) = &mut live.channel else {
                return;
            };
            match tokio::time::timeout(limit, sender.ready()).await {
                Ok(Ok(())) => {
                    if let Some(pool) = pool.upgrade() {
                        pool.put(key, live);
                    }
                }
                Ok(Err(_)) => {}
                Err(_) => connection.abort(),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::StreamBody;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::body::Body;
    use super::*;
    use crate::connect::ConnectionMeter;
    use crate::report::Report;

    fn key(host: &str, ech: EchMode, manual: bool) -> Key {
        Key {
            origin: Origin::parse(&format!("https://{host}")).unwrap(),
            ech,
            manual,
        }
    }

    /// A connection whose other end stays open.
    async fn live(ends: &mut Vec<tokio::io::DuplexStream>) -> Live {
        let (near, far) = tokio::io::duplex(64);
        ends.push(far);
        let (mut sender, driver) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let connection = tokio::spawn(driver).abort_handle();
        sender.ready().await.unwrap();
        Live {
            channel: Channel::Http1(sender, connection),
            origin: Origin::parse("https://a.example").unwrap(),
            forward: None,
            recorder: Arc::new(ReportRecorder::new(
                Report::new("", EchMode::Prefer),
                ConnectionMeter::start(),
            )),
        }
    }

    #[tokio::test]
    async fn what_was_wanted_of_ech_keeps_connections_apart() {
        let pool = Pool::new(Some(Duration::from_secs(60)), DEFAULT_IDLE_PER_ORIGIN);
        let mut ends = Vec::new();
        let made = key("a.example", EchMode::Prefer, false);
        pool.put(made.clone(), live(&mut ends).await);
        for other in [
            key("a.example", EchMode::Require, false),
            key("a.example", EchMode::Off, false),
            key("a.example", EchMode::Prefer, true),
            key("b.example", EchMode::Prefer, false),
            key("a.example:8443", EchMode::Prefer, false),
        ] {
            assert!(pool.take(&other).is_none(), "{other:?}");
        }
        assert!(pool.take(&made).is_some());
        // It is in use now.
        assert!(pool.take(&made).is_none());
    }

    #[tokio::test]
    async fn the_number_of_waiting_connections_is_bounded() {
        let pool = Pool::new(Some(Duration::from_secs(60)), DEFAULT_IDLE_PER_ORIGIN);
        let mut ends = Vec::new();
        let one = key("a.example", EchMode::Prefer, false);
        for _ in 0..2 * DEFAULT_IDLE_PER_ORIGIN {
            pool.put(one.clone(), live(&mut ends).await);
        }
        assert_eq!(pool.lock().table[&one].len(), DEFAULT_IDLE_PER_ORIGIN);
        for host in 0..MAX_KEPT {
            let key = key(&format!("h{host}.example"), EchMode::Prefer, false);
            pool.put(key, live(&mut ends).await);
        }
        let kept: usize = pool.lock().table.values().map(Vec::len).sum();
        assert_eq!(kept, MAX_KEPT);
        // The oldest went first.
        assert!(pool.take(&one).is_none());
    }

    #[tokio::test]
    async fn one_that_the_server_closed_is_not_handed_out() {
        let pool = Pool::new(Some(Duration::from_secs(60)), DEFAULT_IDLE_PER_ORIGIN);
        let mut ends = Vec::new();
        let key = key("a.example", EchMode::Prefer, false);
        pool.put(key.clone(), live(&mut ends).await);
        ends.clear();
        // The task of the connection sees the end.
        while pool.lock().table[&key][0].live.channel.is_open() {
            tokio::task::yield_now().await;
        }
        assert!(pool.take(&key).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_never_ends_does_not_hold_an_answered_connection() {
        for keep in [Some(Duration::from_secs(5)), None] {
            let pool = Pool::new(keep, DEFAULT_IDLE_PER_ORIGIN);
            let mut ends = Vec::new();
            let mut live = live(&mut ends).await;
            let mut far = ends.pop().unwrap();
            let answered = tokio::spawn(async move {
                assert!(far.read(&mut [0; 64]).await.unwrap() > 0);
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                far.write_all(head).await.unwrap();
                far
            });
            let Channel::Http1(sender, _) = &mut live.channel else {
                panic!("HTTP/1.1 was made");
            };
            let endless = futures_util::stream::pending::<Result<_, std::io::Error>>();
            let mut body = Body::stream(StreamBody::new(endless));
            let request = http::Request::post("/").body(body.send().unwrap()).unwrap();
            sender.send_request(request).await.unwrap();
            let mut far = answered.await.unwrap();
            let lease = Lease {
                pool: Arc::downgrade(&pool),
                key: key("a.example", EchMode::Prefer, false),
                live,
            };
            lease.give_back();
            let closed = async { while far.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} };
            let limit = keep.unwrap_or(UPLOAD_LIMIT) * 2;
            tokio::time::timeout(limit, closed).await.unwrap();
        }
    }
}
