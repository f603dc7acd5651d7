//! Tokio's clock where real sockets are at work, so that no test depends on the machine's speed.
//!
//! Tokio's paused clock jumps to the next timer as soon as no task can go on, and what the kernel
//! has not delivered yet looks like that: with sockets, limits would run out at random. These clocks
//! do not jump. Both need the current-thread runtime, as `#[tokio::test]` has by default.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc as async_mpsc;
use tokio::task::JoinHandle;

/// A clock that stands still: no limit runs out unless the test lets time pass.
#[must_use = "the clock stands still as long as this lives"]
#[derive(Debug)]
pub struct StoppedClock {
    _held: mpsc::Sender<()>,
}

impl StoppedClock {
    pub fn new() -> Self {
        tokio::time::pause();
        let (held, released) = mpsc::channel();
        // While a blocking task runs, a paused clock does not jump.
        tokio::task::spawn_blocking(move || released.recv());
        Self { _held: held }
    }

    /// Timers are due at whole milliseconds: add one to reach them.
    pub async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}

impl Default for StoppedClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that moves on only as far as the runtime has worked: a millisecond passes for some rounds
/// in which every task went as far as it could and the sockets were asked for news.
///
/// Limits run out as they would, and where the process gets a tenth of the processor, time passes a
/// tenth as fast.
#[must_use = "the clock stands still once this is gone"]
#[derive(Debug)]
pub struct PacedClock {
    pacing: JoinHandle<()>,
    _stopped: StoppedClock,
}

/// A handshake over loopback takes about as many rounds.
const ROUNDS: u32 = 20;

const TICK: Duration = Duration::from_millis(1);

/// Milliseconds that pass at a time, each after its rounds.
const MOST_AT_ONCE: u128 = 10;

impl PacedClock {
    pub fn new() -> Self {
        Self::with_rounds(ROUNDS)
    }

    /// So many rounds for a millisecond: fewer where each of them does the work of hundreds.
    pub fn with_rounds(rounds: u32) -> Self {
        let stopped = StoppedClock::new();
        let (ticks, mut due) = async_mpsc::channel(1);
        // Never faster than real time either: kernels deliver when they like.
        tokio::task::spawn_blocking(move || {
            while ticks.blocking_send(()).is_ok() {
                std::thread::sleep(TICK);
            }
        });
        let pacing = tokio::spawn(async move {
            let mut last = Instant::now();
            while due.recv().await.is_some() {
                // Where the machine is busy, several are due. After a long stop not all of them.
                let passed = last.elapsed().as_millis().clamp(1, MOST_AT_ONCE);
                last = Instant::now();
                for _ in 0..passed {
                    for _ in 0..rounds {
                        tokio::task::yield_now().await;
                    }
                    tokio::time::advance(TICK).await;
                }
            }
        });
        Self {
            pacing,
            _stopped: stopped,
        }
    }
}

impl Default for PacedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PacedClock {
    fn drop(&mut self) {
        self.pacing.abort();
    }
}
