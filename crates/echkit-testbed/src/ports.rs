//! Sockets on loopback. Port 0 means any free port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::case::Ipv6;
use crate::error::TestbedError;

/// How often a free port is tried for, when it must be free for two sockets at once.
const TRIES: usize = 32;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Listens for TCP.
pub(crate) async fn tcp(port: u16, what: &str) -> Result<(TcpListener, SocketAddr), TestbedError> {
    let address = SocketAddr::new(V4, port);
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| TestbedError::Bind {
        what: what.to_owned(),
        address,
        error: source,
    })
}

/// Listens on 127.0.0.1 and, where `ipv6` asks for it and the machine has it, on ::1 at the same
/// port; for a black hole with a queue that is short.
pub(crate) async fn tcp_dual(
    port: u16,
    ipv6: Ipv6,
    what: &str,
) -> Result<(Vec<TcpListener>, u16), TestbedError> {
    for tries_left in (0..TRIES).rev() {
        let (v4, address) = tcp(port, what).await?;
        if ipv6 == Ipv6::None {
            return Ok((vec![v4], address.port()));
        }
        let address = SocketAddr::new(V6, address.port());
        let listening = || {
            let socket = TcpSocket::new_v6()?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(if ipv6 == Ipv6::BlackHole { 1 } else { 1024 })
        };
        match listening() {
            Ok(v6) => return Ok((vec![v4, v6], address.port())),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                if port != 0 || tries_left == 0 {
                    return Err(TestbedError::Bind {
                        what: what.to_owned(),
                        address,
                        error: e,
                    });
                }
            }
            // No IPv6 on this machine: the case goes without.
            Err(_) => return Ok((vec![v4], address.port())),
        }
    }
    unreachable!("the last try returns")
}

/// UDP and TCP at the same port.
pub(crate) async fn udp_and_tcp(
    port: u16,
    what: &str,
) -> Result<(UdpSocket, TcpListener, SocketAddr), TestbedError> {
    for tries_left in (0..TRIES).rev() {
        let (tcp, address) = tcp(port, what).await?;
        match UdpSocket::bind(address).await {
            Ok(udp) => return Ok((udp, tcp, address)),
            Err(e) if port == 0 && tries_left > 0 && e.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(TestbedError::Bind {
                    what: what.to_owned(),
                    address,
                    error: source,
                });
            }
        }
    }
    unreachable!("the last try returns")
}

/// Listens for QUIC.
pub(crate) fn quic(
    port: u16,
    tls: Arc<rustls::ServerConfig>,
    what: &str,
) -> Result<(Endpoint, SocketAddr), TestbedError> {
    let address = SocketAddr::new(V4, port);
    let bound = || {
        let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
        let endpoint = Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), address)?;
        let address = endpoint.local_addr()?;
        Ok((endpoint, address))
    };
    bound().map_err(|source| TestbedError::Bind {
        what: what.to_owned(),
        address,
        error: source,
    })
}

/// A listener whose queue is full, so that the system answers no further connection.
pub(crate) struct BlackHole {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

/// Fills the queue of a listener from which nothing is accepted.
pub(crate) async fn fill(listener: TcpListener) -> Result<BlackHole, TestbedError> {
    let error = |source, address| TestbedError::Bind {
        what: "a server that never answers".to_owned(),
        address,
        error: source,
    };
    let address = listener
        .local_addr()
        .map_err(|source| error(source, SocketAddr::new(V6, 0)))?;
    let mut queue = Vec::new();
    // Connections over loopback complete within the call, as long as there is room.
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queue.push(connected.map_err(|source| error(source, address))?);
    }
    Ok(BlackHole {
        _listener: listener,
        _queue: queue,
    })
}

/// A port that is taken and refuses connections, for as long as the socket lives.
pub(crate) fn closed(port: u16) -> Result<(TcpSocket, u16), TestbedError> {
    let address = SocketAddr::new(V4, port);
    let bound = || {
        let socket = TcpSocket::new_v4()?;
        socket.bind(address)?;
        let port = socket.local_addr()?.port();
        Ok((socket, port))
    };
    bound().map_err(|source| TestbedError::Bind {
        what: "a port where connections are refused".to_owned(),
        address,
        error: source,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let (_socket, port) = closed(0).unwrap();
        let error = tokio::net::TcpStream::connect((V4, port))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let (_listener, address) = tcp(0, "one").await.unwrap();
        let error = tcp(address.port(), "another")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_taken_port_says_what_it_was_wanted_for() {
        let (_listener, address) = tcp(0, "one").await.unwrap();
        let error = closed(address.port()).unwrap_err().to_string();
        assert!(error.contains("where connections are refused"), "{error}");
    }

    #[tokio::test]
    async fn a_black_hole_does_not_answer() {
        let (mut listeners, port) = tcp_dual(0, Ipv6::BlackHole, "test").await.unwrap();
        // Without IPv6 there is none.
        let Some(listener) = listeners.drain(1..).next() else {
            return;
        };
        let _hole = fill(listener).await.unwrap();
        let connecting = tokio::net::TcpStream::connect((V6, port));
        assert!(
            timeout(Duration::from_millis(300), connecting)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn two_families_and_two_protocols_share_a_port() {
        let (listeners, port) = tcp_dual(0, Ipv6::Served, "test").await.unwrap();
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap().port(), port);
        }
        let (udp, _, address) = udp_and_tcp(0, "test").await.unwrap();
        assert_eq!(udp.local_addr().unwrap(), address);
    }
}
