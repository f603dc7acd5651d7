//! TCP to the first of several addresses that answers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use echkit_proto::race::RaceSettings;

use crate::keyed_futures::KeyedFutures;

/// Connects by `connect` to the first of `addresses` that answers. The families take turns, that of
/// the first address first (RFC 8305 §4), and an address is given the Connection Attempt Delay before the
/// next one is tried beside it: a family that leads nowhere costs one delay.
pub(super) async fn connect_first<T, F: Future<Output = io::Result<T>> + Send>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut left = in_turns(addresses).into_iter();
    let mut running = KeyedFutures::new();
    let mut failed = None;
    loop {
        match left.next() {
            Some(address) => running.push(address, connect(address)),
            None if running.is_empty() => {
                return Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
            }
            None => {}
        }
        tokio::select! {
            (_, ended) = running.next() => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) => failed = Some(error),
            },
            () = tokio::time::sleep(RaceSettings::ATTEMPT_DELAY), if left.len() > 0 => {}
        }
    }
}

fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_first = |address: &&SocketAddr| address.is_ipv6() == first_is_ipv6;
    let mut first = addresses.iter().filter(of_first);
    let mut other = addresses.iter().filter(|address| !of_first(address));
    let mut turns = Vec::with_capacity(addresses.len());
    while turns.len() < addresses.len() {
        turns.extend(first.next());
        turns.extend(other.next());
    }
    turns
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_leads_nowhere_costs_one_delay() {
        let all = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"]);
        let begun = Instant::now();
        let connected = connect_first(&all, |address| async move {
            match address {
                SocketAddr::V4(_) => Ok(address),
                SocketAddr::V6(_) => std::future::pending().await,
            }
        });
        let connected = tokio::time::timeout(Duration::from_secs(3600), connected).await;
        assert_eq!(connected.unwrap().unwrap(), all[2]);
        assert_eq!(begun.elapsed(), RaceSettings::ATTEMPT_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_followed_at_once_and_the_last_error_is_told() {
        let all = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        let begun = Instant::now();
        let failed = connect_first(&all, |_| async {
            Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
        });
        let error = failed.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let none = connect_first(&[], |_| async { Ok(()) }).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
