//! A backend server: its addresses, and which of them take connections.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};

/// A backend server of split mode, at one address or several.
///
/// Connections take the addresses in turn, and another one where one cannot be connected to.
/// Addresses that a health check has found down come last.
///
/// A backend takes an inner hello for one that ECH protected: only the client-facing server may
/// reach it (RFC 9849 §10.1).
#[derive(Debug)]
pub struct Backend {
    name: String,
    targets: Vec<Target>,
    send_proxy: bool,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Target {
    /// `HOST:PORT`.
    address: String,
    up: AtomicBool,
}

impl Backend {
    /// A backend at each `HOST:PORT` of `addresses`. Host names are looked up for each connection,
    /// by the system's resolver.
    ///
    /// # Errors
    ///
    /// When there is no address, or one has no port.
    pub fn new<A: Into<String>>(
        name: impl Into<String>,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Self, BackendError> {
        let name = name.into();
        let mut targets = Vec::new();
        for address in addresses {
            let address = address.into();
            if !has_host_and_port(&address) {
                return Err(BackendError::Address { name, address });
            }
            targets.push(Target {
                address,
                up: AtomicBool::new(true),
            });
        }
        match targets.is_empty() {
            true => Err(BackendError::NoAddress(name)),
            false => Ok(Self {
                name,
                targets,
                send_proxy: false,
                turn: AtomicUsize::new(0),
            }),
        }
    }

    /// Tells the backend the address of each client in a PROXY protocol header, version 2.
    #[must_use]
    pub fn with_proxy_header(mut self, on: bool) -> Self {
        self.send_proxy = on;
        self
    }

    /// What it is called in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is sent PROXY protocol headers.
    pub fn proxy_header(&self) -> bool {
        self.send_proxy
    }

    /// The addresses, as they were given.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.address.as_str())
    }

    /// Whether the last health check of each address, in the same order, has connected; true where
    /// there was none.
    pub fn health(&self) -> impl Iterator<Item = bool> {
        let up = |target: &Target| target.up.load(Ordering::Relaxed);
        self.targets.iter().map(up)
    }

    /// Notes what a health check of an address found; whether it is news.
    pub(super) fn note_health(&self, index: usize, up: bool) -> bool {
        let target = &self.targets[index];
        target.up.swap(up, Ordering::Relaxed) != up
    }

    /// Connects to an address, each within `limit`.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<TcpStream> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |n: usize| &self.targets[(first.wrapping_add(n)) % self.targets.len()];
        let mut order: Vec<&Target> = (0..self.targets.len()).map(in_turn).collect();
        order.sort_by_key(|target| !target.up.load(Ordering::Relaxed));
        let mut failed = None;
        for target in order {
            match connect(&target.address, limit).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
    }

    /// Connects to one address, for a health check.
    pub(super) async fn probe(&self, index: usize, limit: Duration) -> io::Result<TcpStream> {
        connect(&self.targets[index].address, limit).await
    }
}

async fn connect(address: &str, limit: Duration) -> io::Result<TcpStream> {
    let connecting = async {
        let mut failed = None;
        for address in addresses_of(address).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Whole flights are written at once; waiting for more only delays them.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("the host name has no address")))
    };
    let connected = tokio::time::timeout(limit, connecting).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn addresses_of(address: &str) -> io::Result<Vec<SocketAddr>> {
    match address.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => Ok(lookup_host(address).await?.collect()),
    }
}

fn has_host_and_port(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let in_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let port = port.parse::<u16>().is_ok_and(|port| port != 0);
    port && !host.is_empty() && host.bytes().all(in_host)
}

/// A backend that has no usable address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// There is none.
    #[error("backend {0:?} has no address; give it at least one, as HOST:PORT")]
    NoAddress(String),
    /// One is not an address.
    #[error(
        "backend {name:?}: {address:?} is not HOST:PORT, such as 192.0.2.1:443 or [2001:db8::1]:443"
    )]
    Address {
        /// The backend.
        name: String,
        /// What was given.
        address: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["192.0.2.1:443", "[2001:db8::1]:443", "app-1.internal:8443"] {
            assert!(Backend::new("b", [good]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "app",
            "app:",
            ":443",
            "192.0.2.1:0",
            "2001:db8::1",
            "a:70000",
            "https://a:1",
        ] {
            let error = Backend::new("b", [bad]).unwrap_err();
            assert!(error.to_string().starts_with("backend \"b\": "), "{error}");
        }
        let none: [&str; 0] = [];
        assert!(matches!(
            Backend::new("b", none),
            Err(BackendError::NoAddress(_))
        ));
    }

    #[tokio::test]
    async fn addresses_are_taken_in_turn_and_those_that_refuse_are_passed_over() {
        let listen = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (a, b) = (listen().await.unwrap(), listen().await.unwrap());
        let gone = listen().await.unwrap().local_addr().unwrap();
        let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let backend = Backend::new("b", [at_a, gone, at_b].map(|at| at.to_string())).unwrap();
        let limit = Duration::from_secs(60);
        let mut peers = Vec::new();
        for _ in 0..6 {
            let stream = backend.connect(limit).await.unwrap();
            peers.push(stream.peer_addr().unwrap());
        }
        assert_eq!(peers, [at_a, at_b, at_b, at_a, at_b, at_b]);

        // One that is known to be down comes last, and all the same before none.
        assert!(backend.note_health(2, false) && !backend.note_health(2, false));
        drop(b);
        for _ in 0..3 {
            let stream = backend.connect(limit).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), at_a);
        }
        drop(a);
        assert!(backend.connect(limit).await.is_err());
    }
}
