//! Clocks of tests: they wait for sockets, and what takes the machine long takes no time on them.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::time::Duration;

use echkit_test::clock::{PacedClock, StoppedClock};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_stopped_clock_waits_for_sockets_and_moves_by_hand_alone() {
    let clock = StoppedClock::new();
    let begun = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let mut near = near.await.unwrap();
    let far = listener.accept().await.unwrap().0.into_std().unwrap();
    let writing = std::thread::spawn(move || {
        // A clock that jumps would do it now.
        std::thread::sleep(Duration::from_millis(20));
        (&far).write_all(b"x").unwrap();
        far
    });
    let read = timeout(HOUR, near.read_u8()).await;
    assert_eq!(read.unwrap().unwrap(), b'x');
    drop(writing.join().unwrap());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let sleeping = tokio::spawn(sleep(HOUR));
    tokio::task::yield_now().await;
    // Timers are due at whole milliseconds.
    clock.advance(HOUR + Duration::from_millis(1)).await;
    sleeping.await.unwrap();
}

#[tokio::test]
async fn a_paced_clock_lets_limits_run_out_and_no_work_takes_long() {
    let _clock = PacedClock::new();
    let begun = Instant::now();
    // What takes the machine long takes no time.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let limit = Duration::from_millis(5);
    timeout(limit, std::future::pending::<()>())
        .await
        .unwrap_err();
    assert!((limit..2 * limit).contains(&begun.elapsed()));
}
