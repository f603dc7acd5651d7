//! The way out of the host, by which one network is told from another (RFC 9460 §12).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses in no network (RFC 5737, RFC 3849): the route to them is the default route.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The servers that are asked in the clear, and the addresses from which the host reaches them and
/// everything else. When any of it changes, the host has changed networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    servers: Vec<SocketAddr>,
    sources: Vec<Option<IpAddr>>,
}

impl Network {
    pub(super) fn towards(servers: Vec<SocketAddr>) -> Self {
        let elsewhere = ELSEWHERE.map(|ip| SocketAddr::new(ip, 53));
        let places = servers.iter().chain(&elsewhere);
        Self {
            sources: places.map(|place| local_address(*place)).collect(),
            servers,
        }
    }
}

/// The address from which the host would send to a place. Nothing is sent.
fn local_address(place: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((source_for(place.ip()), 0)).ok()?;
    socket.connect(place).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Asks from loopback on loopback; elsewhere the system picks.
pub(super) fn source_for(server: IpAddr) -> IpAddr {
    match server {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_towards_a_server_is_that_of_its_network() {
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53);
        assert_eq!(local_address(loopback), Some(Ipv4Addr::LOCALHOST.into()));
        let here = Network::towards(vec![loopback]);
        assert_eq!(here.sources.len(), 3);
        assert_eq!(here, Network::towards(vec![loopback]));
        assert_ne!(here, Network::towards(vec![]));
    }
}
