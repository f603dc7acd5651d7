//! Reads on for a moment after a failed handshake, so that our alert arrives.
//!
//! A socket that is closed with bytes unread, or that is sent to after it was closed, answers with
//! a reset, and a reset makes the peer's kernel drop what the peer has not read yet: the alert. A
//! server that writes session tickets before it reads would never see `ech_required`, which
//! RFC 9849 §6.1.6 asks for and §7.1 wants servers to count. The connection is therefore
//! half-closed and read on, by a task of its own that delays no caller.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How long: more than a round trip and what a busy server needs to read on.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How many bytes: some session tickets, and a response that was on its way already.
const LINGER_BYTES: usize = 64 * 1024;

/// How many connections at the same time. Beyond them the socket is closed at once.
const MAX_LINGERING: usize = 64;

static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// Takes a connection whose sending side is shut down, and closes it a moment later.
pub(super) fn linger<IO>(io: IO)
where
    IO: AsyncRead + Unpin + Send + 'static,
{
    let Some(place) = Place::take(&LINGERING, MAX_LINGERING) else {
        return;
    };
    tokio::spawn(async move {
        let _place = place;
        read_on(io, LINGER_TIME).await;
    });
}

/// Reads until the end, an error, `time`, or [`LINGER_BYTES`].
async fn read_on<IO: AsyncRead + Unpin>(io: IO, time: Duration) {
    let _ = tokio::time::timeout(time, drain(io)).await;
}

async fn drain<IO: AsyncRead + Unpin>(mut io: IO) {
    let mut buffer = vec![0; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match io.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(len) => left = left.saturating_sub(len),
        }
    }
}

/// One of a bounded number of places, given back on drop.
struct Place(&'static AtomicUsize);

impl Place {
    fn take(taken: &'static AtomicUsize, most: usize) -> Option<Self> {
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            })
            .ok()
            .map(|_| Self(taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncWriteExt;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn reading_ends_with_the_peer_the_time_or_the_bytes() {
        // The peer closes.
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(b"tickets").await.unwrap();
        theirs.shutdown().await.unwrap();
        read_on(ours, NEVER).await;
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);

        // It never does.
        let (ours, mut theirs) = tokio::io::duplex(1024);
        read_on(ours, LINGER_TIME).await;
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);

        // It never stops writing.
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let writing = async {
            let mut written = 0;
            while theirs.write_all(&[0; 1024]).await.is_ok() {
                written += 1024;
            }
            written
        };
        let ((), written) = tokio::join!(read_on(ours, NEVER), writing);
        assert!(written <= LINGER_BYTES + 8192, "{written}");
    }

    #[test]
    fn the_number_of_places_is_bounded_and_they_are_given_back() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let places: Vec<_> = (0..3).filter_map(|_| Place::take(&TAKEN, 2)).collect();
        assert_eq!(places.len(), 2);
        drop(places);
        assert!(Place::take(&TAKEN, 2).is_some());
    }
}
