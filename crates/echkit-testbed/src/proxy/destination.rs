//! Where a proxy connects to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::habit::ProxyHabit;

/// Why a proxy does not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Anything but loopback: no proxy of a testbed leads out of the machine.
    NotLoopback,
    /// An address, where names alone are allowed.
    NoAddresses,
    /// What [`ProxyHabit::Refuses`] says.
    Always { status: u16, reply: u8 },
}

impl Refusal {
    /// The status of the answer to CONNECT.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::NotLoopback | Self::NoAddresses => 403,
            Self::Always { status, .. } => status,
        }
    }

    /// The reply code (RFC 1928 §6).
    pub(super) fn reply(self) -> u8 {
        match self {
            Self::NotLoopback => 2,
            Self::NoAddresses => 8,
            Self::Always { reply, .. } => reply,
        }
    }
}

/// The place for `host`, a name or an address, at `port`.
pub(super) fn destination(habit: ProxyHabit, host: &str, port: u16) -> Result<SocketAddr, Refusal> {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match (habit, address) {
        (ProxyHabit::Refuses { status, reply }, _) => Err(Refusal::Always { status, reply }),
        (ProxyHabit::LeadsTo(place), _) => Ok(place),
        (ProxyHabit::NamesOnly, Some(_)) => Err(Refusal::NoAddresses),
        (ProxyHabit::LooksUpWrongly(place), None) => Ok(place),
        (_, Some(address)) if !address.is_loopback() => Err(Refusal::NotLoopback),
        (_, Some(address)) => Ok((address, port).into()),
        (_, None) => Ok((Ipv4Addr::LOCALHOST, port).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_lead_to_loopback_alone() {
        let open = |host| destination(ProxyHabit::Open, host, 443);
        assert_eq!(open("127.0.0.2"), Ok(([127, 0, 0, 2], 443).into()));
        assert_eq!(
            open("[::1]"),
            Ok((std::net::Ipv6Addr::LOCALHOST, 443).into())
        );
        assert_eq!(open("a.example"), Ok(([127, 0, 0, 1], 443).into()));
        for host in [
            "192.0.2.1",
            "0.0.0.0",
            "[2001:db8::1]",
            "[::]",
            "::ffff:192.0.2.1",
        ] {
            assert_eq!(open(host), Err(Refusal::NotLoopback), "{host}");
        }
    }
}
