//! Bytes between two TCP connections, as they are.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::passed::Passed;

/// How much is read at a time.
const BUFFER: usize = 64 * 1024;

/// After so many reads in a row of at least [`BULK_READ`], a direction is bulk data, and moves in
/// the kernel from then on.
const BULK_READS: u32 = 4;
const BULK_READ: usize = 16 * 1024;

thread_local! {
    /// One for each thread, since nothing stays in it: a connection that is idle holds no buffer.
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// How both directions came to their end.
#[derive(Debug)]
pub(super) enum RelayEnd {
    /// Both sides have closed theirs.
    Closed,
    /// The client sends what the server no longer takes; what the server said has been passed on.
    ServerLeft,
    /// No byte has passed for too long.
    Idle,
    /// A connection failed.
    Broken(io::Error),
}

/// Copies both ways until both sides have closed, one fails, or no byte has passed for `idle`. A
/// side that closes its direction keeps the other one.
pub(super) async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    idle: Duration,
    passed: &Passed,
) -> RelayEnd {
    let activity = Activity::new();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = one_way(from_client, to_server, &passed.to_server, &activity);
    let down = one_way(from_server, to_client, &passed.to_client, &activity);
    tokio::select! {
        ended = async { tokio::try_join!(up, down) } => match ended {
            Ok((Direction::Closed, Direction::Closed)) => RelayEnd::Closed,
            Ok((Direction::Refused, _)) => RelayEnd::ServerLeft,
            Ok((_, Direction::Refused)) => RelayEnd::Broken(io::ErrorKind::BrokenPipe.into()),
            Err(error) => RelayEnd::Broken(error),
        },
        () = activity.idle_for(idle) => RelayEnd::Idle,
    }
}

/// How one direction ended.
enum Direction {
    /// Its sender has closed it.
    Closed,
    /// Its receiver takes no more. The other direction may still bring what that has said.
    Refused,
}

async fn one_way(
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    passed: &AtomicU64,
    activity: &Activity,
) -> io::Result<Direction> {
    let mut bulk_reads = 0;
    loop {
        // Two connections that are always ready must not keep a thread to themselves.
        tokio::task::coop::consume_budget().await;
        from.readable().await?;
        let read = match pass_some(from.as_ref(), to.as_ref())? {
            Step::NotReady => continue,
            Step::End => {
                let closed = to.shutdown().await;
                return Ok(match closed {
                    Ok(()) => Direction::Closed,
                    Err(_) => Direction::Refused,
                });
            }
            Step::Refused => return Ok(Direction::Refused),
            Step::Passed { read, left } => {
                if !left.is_empty() && to.write_all(&left).await.is_err() {
                    return Ok(Direction::Refused);
                }
                read
            }
        };
        activity.note();
        Passed::add(passed, read);
        bulk_reads = if read >= BULK_READ { bulk_reads + 1 } else { 0 };
        #[cfg(target_os = "linux")]
        if bulk_reads == BULK_READS
            // Without a descriptor to spare the bytes go through the buffer as before.
            && let Ok(pipe) = super::splice::Pipe::new()
        {
            match pipe
                .pass_all(from.as_ref(), to.as_ref(), passed, || activity.note())
                .await?
            {
                super::splice::SpliceEnd::Closed => {
                    return Ok(match to.shutdown().await {
                        Ok(()) => Direction::Closed,
                        Err(_) => Direction::Refused,
                    });
                }
                super::splice::SpliceEnd::Refused => return Ok(Direction::Refused),
                // The kernel does not do it for these sockets.
                super::splice::SpliceEnd::Unsupported => {}
            }
        }
    }
}

enum Step {
    NotReady,
    End,
    Refused,
    Passed { read: usize, left: Vec<u8> },
}

/// Reads once and writes once. What the receiver does not take at once is left over.
fn pass_some(from: &TcpStream, to: &TcpStream) -> io::Result<Step> {
    SHARED.with_borrow_mut(|buffer| {
        let read = match from.try_read(buffer) {
            Ok(0) => return Ok(Step::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::NotReady),
            Err(error) => return Err(error),
        };
        let written = match to.try_write(&buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Ok(Step::Refused),
        };
        Ok(Step::Passed {
            read,
            left: buffer[written..read].to_vec(),
        })
    })
}

/// When a byte passed last.
struct Activity {
    begun: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let now = self.begun.elapsed().as_millis() as u64;
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has been noted for `limit`.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let Some(until) = (self.begun + last).checked_add(limit) else {
                return std::future::pending().await;
            };
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}
