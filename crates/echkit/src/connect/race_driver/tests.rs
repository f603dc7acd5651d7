//! Races without a network, on a clock that stands still while something is to be done. The
//! endpoint is fixed and its addresses are known, so that DNS is not asked; attempts are sleeps.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echkit_proto::race::{Failure, MAX_ADDRESSES};

use super::*;
use crate::discover::{DiscoverOptions, FixedAddresses};
use crate::dns::Resolver;
use crate::error::Cause;
use crate::origin::Origin;
use crate::policy::EchMode;
use crate::report::EchReport;

const SECOND: Duration = Duration::from_secs(1);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A race to a host with so many addresses.
async fn race<'a>(
    addresses: u32,
    settings: RaceSettings,
    deadline: Option<Instant>,
) -> RaceDriver<'a, (), &'static str> {
    let origin: Origin = "https://site.test/".parse().unwrap();
    let host = origin.host.name().unwrap().clone();
    let list = (0..addresses).map(|number| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)));
    let options = DiscoverOptions {
        ech: false,
        connect_to: Some((origin.host.clone(), 443)),
        resolve: vec![FixedAddresses {
            host: Some(host),
            port: None,
            addresses: list.collect(),
        }],
        ..DiscoverOptions::default()
    };
    let search = Search::new(&Resolver::system(), &origin, options);
    let mut driver = RaceDriver::new(search, settings, None, Deadline::at(deadline));
    driver.resolve().await.unwrap();
    let planned = driver.planned().to_vec();
    driver.settle(
        planned
            .iter()
            .map(|one| RaceEndpoint::new(one.target, one.endpoint.port, ())),
    );
    driver
}

fn fault(reach: Failure) -> Box<AttemptFault> {
    Box::new(AttemptFault {
        cause: Cause::Tls {
            host: "site.test".to_owned(),
            reason: "as the test wants it".to_owned(),
            source: None,
        },
        reach,
        ech: EchReport::new(EchMode::Prefer),
    })
}

/// Runs a race whose attempts all fail after `each`. Tells when they began.
async fn all_fail(
    driver: &mut RaceDriver<'_, (), &'static str>,
    each: Duration,
) -> (Vec<Duration>, RaceEnd<&'static str>) {
    let begun = Instant::now();
    let mut starts = Vec::new();
    loop {
        match driver.next().await {
            Turn::Start(start) => {
                starts.push(begun.elapsed());
                driver.start(start.attempt, async move {
                    tokio::time::sleep(each).await;
                    Err(fault(Failure::Unreachable))
                });
            }
            Turn::Ended(end) => return (starts, end),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_after_the_deadline_and_the_race_ends_with_it() {
    let begun = Instant::now();
    let mut driver = race(2000, RaceSettings::default(), Some(begun + 3 * SECOND)).await;
    let (starts, end) = all_fail(&mut driver, ms(400)).await;
    assert!(
        matches!(&end, RaceEnd::OutOfTime(faults) if !faults.is_empty()),
        "{end:?}"
    );
    assert_eq!(begun.elapsed(), 3 * SECOND);
    assert!(starts.iter().all(|at| *at < 3 * SECOND), "{starts:?}");
    // Each second one 250 ms after the one before, the others when one has failed.
    let expected = [0, 250, 400, 650, 800, 1050, 1200].map(ms);
    assert_eq!(starts[..expected.len()], expected);
    assert_eq!(starts.len(), 15);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_fail_at_once_are_bounded_without_any_deadline() {
    let begun = Instant::now();
    let mut driver = race(2000, RaceSettings::default(), None).await;
    let (starts, end) = all_fail(&mut driver, Duration::ZERO).await;
    assert_eq!(starts.len(), MAX_ADDRESSES);
    assert!(matches!(&end, RaceEnd::Lost(faults) if faults.len() == MAX_ADDRESSES));
    // The resolution delay is over before it begins: nothing is to be waited for.
    assert!(begun.elapsed() <= ms(50) + ms(2) * MAX_ADDRESSES as u32);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_end_with_the_deadline_have_their_say_and_the_others_are_dropped() {
    struct Counted(Arc<Mutex<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let dropped = Arc::new(Mutex::new(0));
    let until = Instant::now() + SECOND;
    let mut driver = race(3, RaceSettings::default(), Some(until)).await;
    let mut started = 0;
    let end = loop {
        match driver.next().await {
            Turn::Start(start) => {
                started += 1;
                let (number, counted) = (started, Counted(Arc::clone(&dropped)));
                driver.start(start.attempt, async move {
                    let _counted = counted;
                    match number {
                        1 | 2 => tokio::time::sleep_until(until).await,
                        _ => std::future::pending().await,
                    }
                    Err(fault(Failure::Broken))
                });
            }
            Turn::Ended(end) => break end,
        }
    };
    assert_eq!(started, 3);
    assert!(
        matches!(&end, RaceEnd::OutOfTime(faults) if faults.len() == 2),
        "{end:?}"
    );
    assert_eq!(*dropped.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_finishes_with_the_deadline_wins() {
    let until = Instant::now() + SECOND;
    let mut driver = race(1, RaceSettings::default(), Some(until)).await;
    let Turn::Start(start) = driver.next().await else {
        panic!("nothing to start");
    };
    driver.start(start.attempt, async move {
        tokio::time::sleep_until(until).await;
        Ok("the connection")
    });
    let end = driver.next().await;
    assert!(
        matches!(end, Turn::Ended(RaceEnd::Won("the connection"))),
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn delays_past_the_end_of_the_clock_never_come() {
    let mut settings = RaceSettings::default();
    settings.attempt_delay = Duration::MAX;
    settings.resolution_delay = Duration::MAX;
    let until = Instant::now() + SECOND;
    let mut driver = race(2, settings, Some(until)).await;
    let (starts, end) = all_fail(&mut driver, Duration::MAX).await;
    assert_eq!(starts.len(), 1);
    assert!(matches!(end, RaceEnd::OutOfTime(_)), "{end:?}");
}
