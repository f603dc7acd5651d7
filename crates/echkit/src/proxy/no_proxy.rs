//! Hosts that have no proxy, as `no_proxy` lists them.

use std::net::IpAddr;

use crate::origin::Host;

/// Hosts that have no proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NoProxy {
    all: bool,
    /// In lower case, without a dot at either end.
    names: Vec<String>,
    /// Addresses, and how many of their first bits count.
    networks: Vec<(IpAddr, u32)>,
}

impl NoProxy {
    /// Entries are separated by commas or blanks.
    pub(super) fn parse(list: &str) -> Self {
        let mut parsed = Self {
            all: list.trim() == "*",
            ..Self::default()
        };
        let entries = list.split(|c: char| c == ',' || c.is_ascii_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match network(entry) {
                Some(network) => parsed.networks.push(network),
                None => {
                    let name = entry.strip_prefix('.').unwrap_or(entry);
                    let name = name.strip_suffix('.').unwrap_or(name);
                    parsed.names.push(name.to_ascii_lowercase());
                }
            }
        }
        parsed
    }

    pub(super) fn has(&self, host: &Host) -> bool {
        match host {
            _ if self.all => true,
            Host::Name(name) => {
                let name = name.as_str();
                let below = |parent: &String| {
                    let above = name.strip_suffix(parent.as_str());
                    above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                self.names
                    .iter()
                    .any(|parent| !parent.is_empty() && below(parent))
            }
            Host::Ip(address) => {
                let within = |(network, bits): &(IpAddr, u32)| is_within(*address, *network, *bits);
                self.networks.iter().any(within)
            }
        }
    }
}

/// An address, or a network with the length of its prefix.
fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match entry.split_once('/') {
        Some((address, bits)) => (Host::address(address)?, Some(bits.parse().ok()?)),
        None => (Host::address(entry)?, None),
    };
    let most = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= bits
        }
        _ => false,
    }
}
