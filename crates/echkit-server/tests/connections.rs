//! Bounds on connections, and the orderly end of a server.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use echkit_server::{ConnectionLimits, Drain};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn one_address_is_refused_more_than_its_share() {
    let limits = ConnectionLimits::new(10, 2);
    let a = address("192.0.2.1");
    let first = limits.admit(limits.slot().await, a).unwrap();
    let second = limits.admit(limits.slot().await, a).unwrap();
    assert!(limits.admit(limits.slot().await, a).is_none());
    // The same in IPv6 form, and others.
    assert!(
        limits
            .admit(limits.slot().await, address("::ffff:192.0.2.1"))
            .is_none()
    );
    assert!(
        limits
            .admit(limits.slot().await, address("192.0.2.2"))
            .is_some()
    );
    drop(first);
    assert!(limits.admit(limits.slot().await, a).is_some());
    drop(second);
    assert_eq!(limits.addresses(), 0);
}

#[tokio::test]
async fn an_ipv6_network_counts_as_one_client() {
    let limits = ConnectionLimits::new(10, 1);
    let _held = limits
        .admit(limits.slot().await, address("2001:db8::1"))
        .unwrap();
    assert!(
        limits
            .admit(limits.slot().await, address("2001:db8::2"))
            .is_none()
    );
    assert!(
        limits
            .admit(limits.slot().await, address("2001:db8:0:1::1"))
            .is_some()
    );
}

#[tokio::test]
async fn the_total_makes_wait_and_refusals_take_no_room() {
    let limits = ConnectionLimits::new(2, 1);
    let a = address("192.0.2.1");
    let held = limits.admit(limits.slot().await, a).unwrap();
    for _ in 0..5 {
        assert!(limits.admit(limits.slot().await, a).is_none());
    }
    let other = limits
        .admit(limits.slot().await, address("192.0.2.2"))
        .unwrap();
    let waiting = limits.slot();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(held);
    assert!(futures_util::poll!(&mut waiting).is_ready());
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_listen_are_waited_for_and_others_are_ended() {
    let drain = Drain::new();
    let finished = Arc::new(AtomicBool::new(false));
    let (told, flag) = (drain.clone(), Arc::clone(&finished));
    drain.spawn(async move {
        told.begun().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        flag.store(true, Ordering::SeqCst);
    });
    drain.spawn(std::future::pending());
    assert!(!drain.has_begun());
    assert_eq!(drain.tasks(), 2);
    assert_eq!(drain.finish(Duration::from_secs(10)).await, 1);
    assert!(finished.load(Ordering::SeqCst));
    assert_eq!(drain.tasks(), 0);
}
